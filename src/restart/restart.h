// Brings a checkpointed computation back: the sequence of docs/restart-sequence.md.
#pragma once

#include <sys/types.h>

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/resident/resident_abi.h"
#include "base/progress.h"
#include "base/unique_fd.h"
#include "resource/interrupted_calls.h"
#include "wrapped/id_table_file.h"

namespace torpor::restart {

// How the program gets its ids back: `table`: the wrapped mode (docs/wrapped-mode.md), in which it
// has others on this host.
enum class Identity { automatic, host, name_space, table };

struct Request {
  std::filesystem::path image;  // directory of one generation
  Identity identity = Identity::automatic;
  // What the program gets for standard streams that led outside; duplicated, not taken.
  std::array<int, 3> streams{0, 1, 2};
  // A pseudo terminal for a program that had one (its slave side), or -1.
  int terminal = -1;
  bool accept_changed_files = false;
  int stop_signal = agent::kDefaultStopSignal;  // in the wrapped mode
};

// A running restored computation.
struct Restarted {
  pid_t child = 0;      // our direct child: init of the namespace, or the reaper
  pid_t reaper = 0;     // parent of the program's root, for checkpoint::Request::reaper
  pid_t root = 0;       // of the program, in our own pid namespace
  pid_t root_seen = 0;  // the same as the program sees it
  // Gives {int32 pid as the program sees it, int32 status} of every child of the reaper that
  // changes state, in the encoding of wait(2); ends with the computation.
  base::UniqueFd reports;
  std::vector<pid_t> not_ours;  // our own helpers below `child`
  resource::WaitLog waits;      // calls that were begun again, for checkpoint::Request::waits
  std::vector<std::string> warnings;
  // In the wrapped mode: by what its processes know each other.
  std::optional<wrapped::Computation> wrapped;
  std::shared_ptr<wrapped::IdTableFile> ids;
};

// Returns when every process of the image runs again. Throws base::Error; then nothing of it runs
// and the image is untouched.
Restarted run(const Request& request, base::Progress& progress);

// What `wanted` comes to on this host: where nobody may be traced, automatic is the table. Where it
// stays automatic it becomes the table when namespaces turn out not to be had.
Identity chosen_identity(Identity wanted);

struct Finding {
  bool fatal = true;
  std::string what;
  std::string reason;
  std::string remedy;
};

// The dry pass alone: can this image be restarted on this host?
std::vector<Finding> check(const Request& request);

}  // namespace torpor::restart
