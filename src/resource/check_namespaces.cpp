// Which namespaces a process is in, and its threads and children will be.
#include <algorithm>
#include <array>
#include <functional>

#include "base/error.h"
#include "process/kcmp.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_tree.h"
#include "process/sharing.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using process::Shareable;
using Refuse = std::function<void(const std::string&)>;

constexpr const char* kOwnDirectory = "it has a working directory of its own";

struct Namespace {
  const char* link;
  const char* name;
};

constexpr std::array<Namespace, 8> kNamespaces{{{"mnt", "mount"},
                                                {"net", "network"},
                                                {"pid", "pid"},
                                                {"user", "user"},
                                                {"ipc", "ipc"},
                                                {"uts", "host name"},
                                                {"time", "time"},
                                                {"cgroup", "cgroup"}}};

// Of a single thread (setns(2), unshare(2)); the others are always those of the process.
constexpr std::array<Namespace, 4> kThreadNamespaces{
    {{"mnt", "mount"}, {"net", "network"}, {"ipc", "ipc"}, {"uts", "host name"}}};

// Empty where the kernel has no such namespace.
std::string namespace_of(pid_t pid, const char* link) {
  return process::try_read_link(fmt::format("/proc/{}/ns/{}", pid, link)).value_or("");
}

std::string namespace_of(pid_t pid, pid_t tid, const char* link) {
  return process::try_read_link(fmt::format("/proc/{}/task/{}/ns/{}", pid, tid, link)).value_or("");
}

void check_against(pid_t pid, pid_t surroundings, std::vector<Obstacle>& obstacles) {
  for (const Namespace& ns : kNamespaces) {
    const std::string theirs = namespace_of(pid, ns.link);
    if (theirs.empty() || theirs == namespace_of(surroundings, ns.link)) continue;
    obstacles.push_back({true, pid, theirs,
                         fmt::format("it is in a {} namespace of its own", ns.name),
                         "start torpor inside of that namespace (nsenter(1)), or the program "
                         "outside of it"});
  }
}

void check_for_children(pid_t pid, const char* link, const char* own, const char* name,
                        std::vector<Obstacle>& obstacles) {
  const std::string children = namespace_of(pid, link);
  if (children.empty() || children == namespace_of(pid, own)) return;
  obstacles.push_back({true, pid, children,
                       fmt::format("its children will be in another {} namespace", name),
                       "let the program not unshare it"});
}

std::string directories_of(pid_t pid, pid_t tid) {
  const auto link = [&](const char* name) {
    return process::try_read_link(fmt::format("/proc/{}/task/{}/{}", pid, tid, name)).value_or("");
  };
  return fmt::format("{}\n{}\n{}", link("cwd"), link("root"), process::read_status(pid, tid).umask);
}

// The program may change its directory between two looks.
bool directories_differ_for_long(pid_t pid, pid_t first, pid_t tid) {
  constexpr int kLooks = 3;
  for (int look = 0; look < kLooks; ++look) {
    if (directories_of(pid, first) == directories_of(pid, tid)) return false;
  }
  return process::read_stat(pid, tid).state != 'Z';
}

// As far as it can be told without kcmp(2). Descriptors change all the time: they are compared when
// everything is stopped (descriptor_scan.cpp).
void check_visible_differences(pid_t pid, pid_t first, pid_t tid, const Refuse& refuse) {
  if (directories_differ_for_long(pid, first, tid)) refuse(kOwnDirectory);
}

bool differs(Shareable what, pid_t pid, pid_t tid) {
  // A thread that is exiting has let go of both.
  if (process::compare_shareable(what, pid, tid).value_or(0) == 0) return false;
  const auto memory = process::compare_shareable(Shareable::memory, pid, tid);
  return memory.has_value() && *memory == 0;
}

void check_thread(pid_t pid, pid_t first, pid_t tid, std::vector<Obstacle>& obstacles) {
  const Refuse refuse = [&](const std::string& reason) {
    obstacles.push_back({true, pid, fmt::format("thread {}", tid), reason,
                         "threads have to share what unshare(2) can separate"});
  };
  if (process::is_kcmp_allowed()) {
    if (differs(Shareable::descriptors, first, tid)) refuse("it has descriptors of its own");
    if (differs(Shareable::directories, first, tid)) refuse(kOwnDirectory);
  } else {
    check_visible_differences(pid, first, tid, refuse);
  }
  for (const Namespace& ns : kThreadNamespaces) {
    // One that is exiting has none any more.
    const std::string own = namespace_of(pid, first, ns.link);
    const std::string theirs = namespace_of(pid, tid, ns.link);
    if (!own.empty() && !theirs.empty() && theirs != own) {
      refuse(fmt::format("it is in a {} namespace of its own", ns.name));
    }
  }
}

// The leader, unless it has exited.
pid_t first_living(pid_t pid, std::vector<pid_t> threads) {
  // Its id need not be the lowest.
  std::stable_partition(threads.begin(), threads.end(), [pid](pid_t tid) { return tid == pid; });
  for (const pid_t tid : threads) {
    try {
      if (process::read_stat(pid, tid).state != 'Z') return tid;
    } catch (const base::Error&) {
      continue;
    }
  }
  return threads.empty() ? 0 : threads.front();
}

}  // namespace

void check_namespaces(pid_t pid, pid_t surroundings, std::vector<Obstacle>& obstacles) {
  check_against(pid, surroundings, obstacles);
  check_for_children(pid, "pid_for_children", "pid", "pid", obstacles);
  check_for_children(pid, "time_for_children", "time", "time", obstacles);
  const std::vector<pid_t> threads = process::list_threads(pid);
  if (threads.size() < 2) return;
  const pid_t first = first_living(pid, threads);
  for (const pid_t tid : threads) {
    if (tid != first) check_thread(pid, first, tid, obstacles);
  }
}

}  // namespace torpor::resource
