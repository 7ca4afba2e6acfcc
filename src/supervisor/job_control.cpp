#include "supervisor/job_control.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_text.h"
#include "supervisor/pty.h"

namespace torpor::supervisor {
namespace {

std::optional<process::Stat> try_read_stat(pid_t pid) {
  try {
    return process::read_stat(pid);
  } catch (const base::Error&) {
    return std::nullopt;  // it has just ended
  }
}

std::vector<process::Stat> members_of(pid_t group) {
  std::vector<process::Stat> members;
  for (const pid_t pid : process::list_numbers("/proc")) {
    std::optional<process::Stat> stat = try_read_stat(pid);
    if (stat && stat->pgrp == group && stat->state != 'Z') members.push_back(std::move(*stat));
  }
  return members;
}

bool is_watched(const process::Stat& member) {
  const std::optional<process::Stat> parent = try_read_stat(member.ppid);
  return parent && parent->session == member.session && parent->pgrp != member.pgrp;
}

// A shell blocks everything while it starts a command: who only blocks the signal is asked again
// for a moment, as the signal itself would have waited.
bool has_default_action(pid_t pid, int signal) {
  constexpr int kLooks = 100;
  constexpr std::chrono::milliseconds kBetween{1};
  const std::uint64_t bit = std::uint64_t{1} << (signal - 1);
  try {
    for (int look = 0; look < kLooks; ++look) {
      const process::Status status = process::read_status(pid);
      if (((status.sig_ign | status.sig_cgt) & bit) != 0) return false;
      if ((status.sig_blk & bit) == 0) return true;
      std::this_thread::sleep_for(kBetween);
    }
  } catch (const base::Error&) {
    // It has just ended.
  }
  return false;
}

}  // namespace

bool stop_orphaned_group(pid_t group, pid_t root) {
  const std::vector<process::Stat> members = members_of(group);
  if (std::ranges::any_of(members, is_watched)) return false;
  bool root_stopped = false;
  for (const process::Stat& member : members) {
    if (!has_default_action(member.pid, SIGTSTP)) continue;
    const bool stopped = ::kill(member.pid, SIGSTOP) == 0;
    root_stopped = root_stopped || (stopped && member.pid == root);
  }
  return root_stopped;
}

std::size_t SuspendKey::find(int fd, std::string_view typed) {
  const std::optional<termios> modes = terminal_modes(fd);
  if (!modes || (modes->c_lflag & ISIG) == 0) return std::string_view::npos;
  const bool quoting = (modes->c_lflag & ICANON) != 0 && (modes->c_lflag & IEXTEN) != 0;
  for (std::size_t i = 0; i < typed.size(); ++i) {
    const auto key = static_cast<cc_t>(typed[i]);
    const bool literal = std::exchange(quoted_, false);
    if (literal || key == _POSIX_VDISABLE) continue;
    if (key == modes->c_cc[VSUSP]) return i + 1;
    quoted_ = quoting && key == modes->c_cc[VLNEXT];
  }
  return std::string_view::npos;
}

}  // namespace torpor::supervisor
