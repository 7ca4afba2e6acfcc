// Takes a checkpoint of a tree of processes: the sequence of docs/checkpoint-sequence.md.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "resource/interrupted_calls.h"
#include "wrapped/call_log.h"
#include "wrapped/computation.h"

namespace torpor::checkpoint {

struct Request {
  pid_t root = 0;  // of the tree, in our own pid namespace
  // Whose descendants all belong to the computation (the supervisor itself, or the reaper of a
  // restored one): orphans too. 0: only the root and what is below it.
  pid_t reaper = 0;
  std::string name;                 // of the computation
  std::filesystem::path directory;  // of the image store
  bool kill = false;                // end the program once the image is durable; it does not run on
  unsigned keep = 3;                // generations
  // What stands for "outside" when descriptors are classified: device:inode of every file that the
  // launcher handed to the program as its standard streams.
  struct OutsideStream {
    unsigned stream = 0;  // 0, 1, 2
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
  };
  std::vector<OutsideStream> outside;
  // Held from before the first thread is stopped until all run again. Whoever waits for the
  // program's processes in another thread must hold it too, or would take the stops away.
  std::mutex* wait_lock = nullptr;
  // Processes of ours below the root's parent that are not part of the program (by pid).
  std::vector<pid_t> not_ours;
  // How the processes know us if they have resident agents; nothing in the external mode.
  std::optional<wrapped::Computation> wrapped;
  // Kept by a supervisor from one checkpoint to the next; null for a single one.
  resource::WaitLog* waits = nullptr;
  wrapped::CallLog* calls = nullptr;
};

struct Outcome {
  std::filesystem::path image;
  std::uint64_t generation = 0;
  std::chrono::nanoseconds pause{};
  std::chrono::nanoseconds total{};
  std::uint64_t bytes = 0;
  std::uint32_t processes = 0;
  std::uint32_t threads = 0;
  std::vector<std::string> warnings;
};

// Runs the whole sequence and returns when the image is durable. All ptrace calls come from the
// calling thread, which must not be used for other waiting meanwhile. Throws base::Error; the
// program then runs on unharmed and no generation has appeared.
// `resumed` is called when the program runs again (the pause is over), before writing.
Outcome run(const Request& request, base::Progress& progress,
            const std::function<void()>& resumed = {});

// One thing that stands in the way of a checkpoint (I5).
struct Finding {
  bool fatal = true;
  pid_t pid = 0;
  std::string what;  // the descriptor or mapping, and its path
  std::string reason;
  std::string remedy;
  // Not fatal: a checkpoint looks again with everything stopped, and then knows.
  bool decided_later = false;
};

// The dry pass alone: looks at a running tree without stopping it.
std::vector<Finding> check(const Request& request);

}  // namespace torpor::checkpoint
