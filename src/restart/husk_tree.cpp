#include "restart/husk_tree.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>

#include "base/error.h"
#include "restart/init_husk.h"

namespace torpor::restart {
namespace {

constexpr std::uint64_t kMaskBytes = 8;

bool leads_session(const snapshot::Process& process) { return process.session() == process.pid(); }

void start_session(process::AgentClient& agent) {
  agent.call(SYS_setsid, {}, "become the leader of its session");
}

}  // namespace

HuskTree::HuskTree(const snapshot::Computation& model, process::AgentClient& init)
    : model_(model), init_(init) {
  for (const snapshot::Process& process : model.processes()) {
    children_.emplace(process.parent(), &process);
    highest_pid_ = std::max({highest_pid_, process.pid(), process.session(), process.group()});
    for (const snapshot::Thread& thread : process.threads()) {
      highest_pid_ = std::max(highest_pid_, thread.tid());
    }
  }
}

// For helpers: one that the kernel chose could be one that the image needs.
pid_t HuskTree::unused_pid() { return ++highest_pid_; }

void HuskTree::grow() {
  grow_reaper();
  for (const snapshot::Process& process : model_.processes()) {
    if (process.parent() == model_.reaper_pid()) grow_process(process, creator_for(process));
  }
  for (const snapshot::Process& process : model_.processes()) {
    if (!husks_.contains(process.pid())) {
      throw base::Error(base::ErrorCode::bad_image,
                        fmt::format("process {} of the image has no parent", process.pid()));
    }
  }
  join_groups();
}

// Who stands for the parent that the root had (a supervisor, a shell), under the same id.
void HuskTree::grow_reaper() {
  if (model_.reaper_pid() <= 1) {
    reaper_ = &init_;
  } else {
    own_reaper_ =
        std::make_unique<process::AgentClient>(fork_husk(init_, model_.reaper_pid(), SIGCHLD));
    reaper_ = own_reaper_.get();
  }
  reaper_->call(SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0}, "become the reaper");
  start_session(*reaper_);
}

// Where a child of the reaper has to be born to get its session.
process::AgentClient& HuskTree::creator_for(const snapshot::Process& process) {
  if (leads_session(process) || process.session() == model_.reaper_pid() ||
      process.session() == 0) {
    return *reaper_;
  }
  return session_stand_in(process.session());
}

// The leader of a session that is dead, or that lives elsewhere in the tree. In the second case the
// leader has forked the process through a parent that is gone; so do we.
process::AgentClient& HuskTree::session_stand_in(pid_t session) {
  const auto known = session_stand_ins_.find(session);
  if (known != session_stand_ins_.end()) return *known->second;
  const auto leader = husks_.find(session);
  const bool alive = leader != husks_.end();
  process::AgentClient& parent = alive ? *leader->second.agent : *reaper_;
  auto stand_in = std::make_unique<process::AgentClient>(
      fork_husk(parent, alive ? unused_pid() : session, SIGCHLD));
  if (!alive) start_session(*stand_in);
  return *session_stand_ins_.emplace(session, std::move(stand_in)).first->second;
}

void HuskTree::grow_process(const snapshot::Process& process, process::AgentClient& creator) {
  Husk& husk = husks_[process.pid()];
  husk.model = &process;
  husk.agent = std::make_unique<process::AgentClient>(
      fork_husk(creator, process.pid(), process.exit_signal()));
  husk.held.pid = husk.agent->pid();
  husk.held.seen_pid = process.pid();
  husk.held.agent = husk.agent.get();
  if (leads_session(process)) {
    grow_children(process, true);
    start_session(*husk.agent);
  }
  grow_children(process, false);
}

// A child that is in another session than its parent was born before the parent left that session.
void HuskTree::grow_children(const snapshot::Process& parent, bool before_new_session) {
  const auto [first, last] = children_.equal_range(parent.pid());
  for (auto it = first; it != last; ++it) {
    const snapshot::Process& child = *it->second;
    if (husks_.contains(child.pid())) continue;
    const bool older = child.session() != parent.session() && !leads_session(child);
    if (older && !leads_session(parent)) {
      throw base::Error(
          base::ErrorCode::refused,
          fmt::format("process {} is in session {}, its parent {} in session {}: torpor cannot "
                      "bring that about",
                      child.pid(), child.session(), parent.pid(), parent.session()));
    }
    if (older == before_new_session) grow_process(child, *husks_.at(parent.pid()).agent);
  }
}

void HuskTree::join_groups() {
  for (auto& [pid, husk] : husks_) {
    if (husk.model->group() == pid && !leads_session(*husk.model)) {
      husk.agent->call(SYS_setpgid, {0, 0}, "lead its process group");
    }
  }
  for (auto& [pid, husk] : husks_) {
    const pid_t group = husk.model->group();
    if (group == pid || group == 0) continue;
    const bool led = husks_.contains(group) || group == model_.reaper_pid() ||
                     session_stand_ins_.contains(group);
    if (!led) group_stand_in(group, husk);
    husk.agent->call(SYS_setpgid, {0, group}, fmt::format("join process group {}", group));
  }
}

// A process group outlives its leader: somebody with its id has to make it.
process::AgentClient& HuskTree::group_stand_in(pid_t group, Husk& member) {
  GroupStandIn& stand_in = group_stand_ins_[group];
  if (!stand_in.agent) {
    stand_in.agent =
        std::make_unique<process::AgentClient>(fork_husk(*member.agent, group, SIGCHLD));
    stand_in.parent = member.agent.get();
    stand_in.pid = group;
    stand_in.agent->call(SYS_setpgid, {0, 0}, "lead a process group");
  }
  return *stand_in.agent;
}

void HuskTree::settle() {
  end_helpers();
  for (auto& [pid, husk] : husks_) {
    if (husk.model->state() != snapshot::Process::ZOMBIE) continue;
    const int status = husk.model->exit_status();
    process::Batch end(*husk.agent);
    if (WIFSIGNALED(status)) {
      const rlimit no_core{0, 0};
      const std::uint64_t none = 0;
      end.call(SYS_prlimit64, {0, RLIMIT_CORE, end.value(no_core), 0}, "forbid a core file");
      end.call(SYS_rt_sigprocmask, {SIG_SETMASK, end.value(none), 0, kMaskBytes},
               "unblock signals");
      end.call(SYS_kill, {pid, WTERMSIG(status)}, "end by a signal");
    } else {
      end.call(SYS_exit_group, {WEXITSTATUS(status)}, "end");
    }
    end.start();
    husk.agent->await_end();
    husk.agent.reset();
    husk.held.agent = nullptr;
  }
}

void HuskTree::end_helpers() {
  for (auto& [group, stand_in] : group_stand_ins_) {
    process::Batch end(*stand_in.agent);
    end.call(SYS_exit_group, {0}, "end");
    end.start();
    stand_in.parent->call(SYS_wait4, {stand_in.pid, 0, 0, 0}, "reap a helper");
  }
  group_stand_ins_.clear();
  for (auto& [session, agent] : session_stand_ins_) {
    process::Batch end(*agent);
    end.call(SYS_exit_group, {0}, "end");
    end.start();
    agent->await_end();
    const auto leader = husks_.find(session);
    if (leader != husks_.end()) {  // it was forked there
      leader->second.agent->call(SYS_wait4, {agent->pid_there(), 0, 0, 0}, "reap a helper");
    }
  }
  session_stand_ins_.clear();
}

void forget_child_signals(process::AgentClient& agent) {
  // Its default is to be ignored: delivered once, a pending SIGCHLD is gone.
  const std::uint64_t child_signal = std::uint64_t{1} << (SIGCHLD - 1);
  process::Batch batch(agent);
  const base::RemotePtr mask = batch.value(child_signal);
  batch.call(SYS_rt_sigprocmask, {SIG_UNBLOCK, mask, 0, kMaskBytes}, "unblock SIGCHLD");
  batch.call(SYS_rt_sigprocmask, {SIG_BLOCK, mask, 0, kMaskBytes}, "block SIGCHLD");
  batch.run();
}

}  // namespace torpor::restart
