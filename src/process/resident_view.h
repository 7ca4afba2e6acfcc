// What of a process in the wrapped mode is ours all the time (agent/resident/resident_abi.h), and
// what the program sees, and an image holds, in its place.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/resident/resident_abi.h"
#include "process/stopped_thread.h"

namespace torpor::process {

class ResidentView {
 public:
  // Reads it from the memory of a stopped process. Throws Error internal if there is none.
  explicit ResidentView(pid_t pid);

  [[nodiscard]] const std::string& executable() const { return executable_; }
  [[nodiscard]] bool no_new_privs() const { return head_.record.no_new_privs != 0; }
  // The mask of a thread that has these of our signals blocked (ResidentThread::blocked).
  [[nodiscard]] std::uint64_t mask(std::uint64_t real, std::uint32_t blocked) const;
  // What stood in the vdso before it was led to the agent; at no address if it is as the kernel
  // made it.
  struct Overwritten {
    std::uint64_t address = 0;
    std::array<std::byte, sizeof(agent::Resident::clock_head)> bytes{};
  };
  [[nodiscard]] const Overwritten& overwritten_vdso() const { return overwritten_; }
  [[nodiscard]] const agent::ExecRecord& record() const { return head_.record; }

 private:
  struct Head {  // struct Resident up to its processes and threads
    std::uint64_t magic;
    agent::ExecRecord record;
    std::array<agent::VirtualAction, 2> actions;
    std::uint32_t pending, unused;
    std::array<std::uint8_t, 72> action_masks;
    std::array<std::uint8_t, sizeof(agent::Resident::pending_info)> pending_info;
  };
  static_assert(sizeof(Head) == offsetof(agent::Resident, executable));

  Head head_{};
  Overwritten overwritten_;
  std::string executable_;
};

// Whether the process has one. True also of one that is ending, which has no program any more.
bool has_resident_agent(pid_t pid);

// How many of the seccomp filters in force there are its agent's. Nothing while it is in the midst
// of an exec, or ends.
std::optional<std::uint32_t> resident_filters(pid_t pid);

// The program's own seccomp filters as its agent has noted them, oldest first; and how many.
std::vector<SeccompProgram> read_noted_filters(pid_t pid);
std::uint32_t count_noted_filters(pid_t pid);

// What the agent has noted of a thread that has made a wrapped call.
std::optional<agent::ResidentThread> read_resident_thread(pid_t pid, pid_t seen_tid);

}  // namespace torpor::process
