// Processes that have something in common which only threads usually have.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <set>
#include <thread>

#include "base/error.h"
#include "process/kcmp.h"
#include "process/proc_stat.h"
#include "process/proc_tree.h"
#include "process/sharing.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using Clock = std::chrono::steady_clock;
using process::Shareable;

constexpr std::chrono::milliseconds kPatience{300};
constexpr std::chrono::milliseconds kNap{10};

struct Kind {
  Shareable what;
  const char* name;
};
constexpr std::array<Kind, 4> kKinds{{{Shareable::memory, "its memory"},
                                      {Shareable::descriptors, "its descriptors"},
                                      {Shareable::directories, "its working directory"},
                                      {Shareable::actions, "its signal actions"}}};

struct Pair {
  Kind kind;
  pid_t a = 0;
  pid_t b = 0;
};

// Processes that have ended, or are about to, have nothing that could be shared.
bool alive(pid_t pid) {
  try {
    const process::Stat stat = process::read_stat(pid);
    constexpr std::uint32_t kExiting = 0x4;  // PF_EXITING
    return stat.state != 'Z' && stat.state != 'X' && (stat.flags & kExiting) == 0;
  } catch (const base::Error&) {
    return false;
  }
}

std::optional<int> compare(Shareable what, pid_t a, pid_t b) {
  try {
    return process::compare_shareable(what, a, b);
  } catch (const base::Error& error) {
    // A stranger (a parent outside), or one that has just become another user's.
    if (error.code() != base::ErrorCode::permission) throw;
    return std::nullopt;
  }
}

bool still_shared(const Pair& pair) {
  return compare(pair.kind.what, pair.a, pair.b) == 0 && alive(pair.a) && alive(pair.b);
}

// Processes in the kernel's order, so that each new one is compared with few of the others.
class Sorted {
 public:
  explicit Sorted(Kind kind) : kind_(kind) {}

  void add(pid_t pid, std::vector<Pair>& pairs) {
    std::size_t low = 0;
    std::size_t high = pids_.size();
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      const std::optional<int> order = compare(kind_.what, pid, pids_[middle]);
      if (!order) {
        if (!alive(pid)) return;
        pids_.erase(pids_.begin() + static_cast<std::ptrdiff_t>(middle));
        --high;
      } else if (*order == 0) {
        pairs.push_back({kind_, pids_[middle], pid});
        return;
      } else if (*order < 0) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    pids_.insert(pids_.begin() + static_cast<std::ptrdiff_t>(low), pid);
  }

 private:
  Kind kind_;
  std::vector<pid_t> pids_;
};

std::vector<pid_t> with_outside_parents(std::span<const pid_t> pids) {
  std::set<pid_t> all(pids.begin(), pids.end());
  for (const pid_t pid : pids) {
    try {
      const pid_t parent = process::read_stat(pid).ppid;
      if (parent > 0) all.insert(parent);
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::program_gone) throw;
    }
  }
  return {all.begin(), all.end()};
}

// Waits as long as a pair may still be between vfork() and exec().
void drop_passing(std::vector<Pair>& pairs) {
  const auto deadline = Clock::now() + kPatience;
  for (;;) {
    std::erase_if(pairs, [](const Pair& pair) { return !still_shared(pair); });
    if (pairs.empty() || Clock::now() > deadline) return;
    std::this_thread::sleep_for(kNap);
  }
}

// What check_stopped_sharing() cannot find out either.
void warn_of_unseen_sharing(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles) {
  const auto has_threads = [](pid_t pid) { return process::list_threads(pid).size() > 1; };
  if (pids.size() < 2 && std::ranges::none_of(pids, has_threads)) return;
  obstacles.push_back(
      {false, pids.front(), "kcmp(2)",
       "the host refuses it, so nobody can tell whether processes or threads whose tables of "
       "descriptors look the same have one in common (clone(2), CLONE_FILES): threads are taken to "
       "share it, processes not",
       "allow kcmp in the container's seccomp profile (CAP_SYS_PTRACE does it)"});
}

}  // namespace

void check_sharing(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles) {
  if (!process::is_kcmp_allowed()) return warn_of_unseen_sharing(pids, obstacles);
  std::vector<pid_t> all = with_outside_parents(pids);
  std::erase_if(all, [](pid_t pid) { return !alive(pid); });
  std::vector<Pair> pairs;
  for (const Kind& kind : kKinds) {
    Sorted sorted(kind);
    for (const pid_t pid : all) sorted.add(pid, pairs);
  }
  drop_passing(pairs);
  for (const Pair& pair : pairs) {
    obstacles.push_back({true, pair.b, fmt::format("process {}", pair.b),
                         fmt::format("it shares {} with process {}", pair.kind.name, pair.a),
                         "processes made with clone(2) that share such things are not supported"});
  }
}

}  // namespace torpor::resource
