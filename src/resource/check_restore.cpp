// The dry pass of a restart: what the new surroundings do not allow.
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_limits.h"
#include "process/proc_scan.h"
#include "process/proc_status.h"
#include "process/thread_facts.h"
#include "resource/limits.h"
#include "resource/refusals.h"
#include "resource/scheduling.h"
#include "resource/seccomp.h"

namespace torpor::resource {
namespace {

using Obstacles = std::vector<Obstacle>;

// What we are allowed: husks inherit it, except for capabilities, which in a user namespace are
// worth nothing here.
struct Own {
  bool admin = false;     // CAP_SYS_ADMIN in the first user namespace, and so on
  bool nice = false;      // CAP_SYS_NICE
  bool resource = false;  // CAP_SYS_RESOURCE
  std::vector<process::Limit> limits;
  process::SchedulingFacts scheduling;
  std::vector<std::byte> affinity;
  int oom_score_adj = 0;
};

Own look_at_ourselves() {
  const process::Status status = process::read_status(::getpid());
  const bool first = in_first_user_namespace();
  const auto has = [&](unsigned capability) {
    return first && (status.cap_eff >> capability & 1) != 0;
  };
  const std::string oom = process::read_proc_file(::getpid(), "oom_score_adj");
  return {.admin = has(CAP_SYS_ADMIN),
          .nice = has(CAP_SYS_NICE),
          .resource = has(CAP_SYS_RESOURCE),
          .limits = process::read_limits(::getpid()),
          .scheduling = process::read_scheduling(0),
          .affinity = widest_affinity(),
          .oom_score_adj = process::Scanner(oom, "oom_score_adj").number<int>()};
}

class Check {
 public:
  Check(const snapshot::Process& process, const PresentCredentials& present, const Own& own,
        Obstacles& obstacles)
      : process_(process), present_(present), own_(own), obstacles_(obstacles) {}

  void all() {
    who(process_.credentials());
    for (const snapshot::Thread& thread : process_.threads()) {
      if (thread.dead()) continue;
      if (thread.has_credentials()) who(thread.credentials());
      policy(thread);
      io_priority(thread);
      processors(thread);
    }
    limits();
    oom_score();
    directory("working directory", process_.context().working_directory());
    directory("root directory", process_.context().root_directory());
    filters();
  }

 private:
  void add(std::string what, std::string reason, std::string remedy, bool fatal = true) {
    obstacles_.push_back(
        {fatal, process_.pid(), std::move(what), std::move(reason), std::move(remedy)});
  }

  void who(const snapshot::Credentials& wanted) {
    const std::string obstacle = credentials_obstacle(wanted, present_);
    if (!obstacle.empty()) add("credentials", obstacle, "restart as root or as the same user");
    if (!wanted.no_new_privs() && present_.credentials.no_new_privs()) {
      add("no_new_privs", "it is in force here and cannot be taken back", "", false);
    }
  }

  void policy(const snapshot::Thread& thread) {
    if (own_.nice) return;
    const snapshot::Scheduling& wanted = thread.scheduling();
    const bool fair = wanted.policy() == SCHED_NORMAL || wanted.policy() == SCHED_BATCH ||
                      wanted.policy() == SCHED_IDLE;
    const std::string name = fmt::format("thread {}", thread.tid());
    if (!fair && (wanted.policy() == SCHED_DEADLINE ||
                  wanted.priority() > own_.limits.at(RLIMIT_RTPRIO).soft)) {
      add(name,
          fmt::format("scheduling policy {} with priority {} may not be set here", wanted.policy(),
                      wanted.priority()),
          "restart as root, or with a sufficient RLIMIT_RTPRIO");
    }
    // RLIMIT_NICE: 20 - nice (getrlimit(2)).
    const auto needed = static_cast<std::uint64_t>(20 - wanted.nice());
    if (wanted.nice() < own_.scheduling.nice && needed > own_.limits.at(RLIMIT_NICE).soft) {
      add(name, fmt::format("its nice value {} may not be set here", wanted.nice()),
          "restart as root, or with a sufficient RLIMIT_NICE");
    }
  }

  void io_priority(const snapshot::Thread& thread) {
    if (IOPRIO_PRIO_CLASS(thread.io_priority()) != IOPRIO_CLASS_RT || own_.admin || own_.nice) {
      return;
    }
    add(fmt::format("thread {}", thread.tid()), "its real-time I/O priority may not be set here",
        "restart as root");
  }

  void processors(const snapshot::Thread& thread) {
    const std::string& wanted = thread.affinity();
    if (wanted.empty()) return;
    for (std::size_t i = 0; i < std::min(wanted.size(), own_.affinity.size()); ++i) {
      if ((static_cast<std::byte>(wanted[i]) & own_.affinity[i]) != std::byte{0}) return;
    }
    add(fmt::format("thread {}", thread.tid()),
        "none of the processors that it was bound to is there for us",
        "restart on a host with as many processors");
  }

  void limits() {
    if (own_.resource) return;
    for (const snapshot::Limit& wanted : process_.limits()) {
      if (wanted.resource() >= own_.limits.size()) continue;
      const std::uint64_t ours = own_.limits[wanted.resource()].hard;
      if (wanted.hard() <= ours) continue;
      add(limit_name(wanted.resource()),
          fmt::format("its hard limit was {}, and ours is {}", wanted.hard(), ours),
          "restart from a session with that limit, or as root");
    }
  }

  void oom_score() {
    const int wanted = process_.attributes().oom_score_adj();
    // Above 0 it depends on who set it last (proc_pid_oom_score_adj(5)): the kernel will say.
    if (own_.resource || wanted >= std::min(own_.oom_score_adj, 0)) return;
    add("oom_score_adj",
        fmt::format("it was {}, and may not be set below {} here", wanted, own_.oom_score_adj),
        "restart as root");
  }

  void directory(const char* what, const std::string& path) {
    if (path.empty()) return;
    struct ::stat status {};
    if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return;
    add(fmt::format("{} {}", what, path), "there is no such directory here", "create it");
  }

  void filters() {
    if (process_.seccomp_filters().empty() || own_.admin || present_.may_install_filters) return;
    add("seccomp", "its filters can only be given back by root", "restart as root");
  }

  const snapshot::Process& process_;
  const PresentCredentials& present_;
  const Own& own_;
  Obstacles& obstacles_;
};

}  // namespace

void check_restore(const snapshot::Process& process, const PresentCredentials& present,
                   std::vector<Obstacle>& obstacles) {
  if (process.state() == snapshot::Process::ZOMBIE) return;
  const Own own = look_at_ourselves();
  Check(process, present, own, obstacles).all();
}

}  // namespace torpor::resource
