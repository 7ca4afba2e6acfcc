#include "restart/husk_tree.h"

#include <signal.h>
#include <sys/ioctl.h>
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

HuskTree::HuskTree(const snapshot::Computation& model, process::AgentClient& init,
                   std::map<pid_t, int> terminals)
    : model_(model), init_(init), terminals_(std::move(terminals)) {
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
    if (process.parent() != model_.reaper_pid()) continue;
    if (leads_session(process) || session_of(process) == model_.reaper_pid()) {
      grow_process(process, *reaper_, model_.reaper_pid());
    } else {
      put_off_.push_back(&process);
    }
  }
  grow_adopted();
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

// A session that lies outside, and so has no id, was that of the reaper for all we know.
pid_t HuskTree::session_of(const snapshot::Process& process) const {
  return process.session() == 0 ? model_.reaper_pid() : process.session();
}

HuskTree::Birth HuskTree::birth_of(const snapshot::Process& child, const Husk& parent) const {
  const pid_t session = session_of(child);
  if (leads_session(child) || session == session_of(*parent.model)) return Birth::ordinary;
  const bool older = leads_session(*parent.model) && session == parent.born_in;
  return older ? Birth::before_new_session : Birth::adopted;
}

void HuskTree::grow_process(const snapshot::Process& process, process::AgentClient& creator,
                            pid_t session) {
  auto agent = std::make_unique<process::AgentClient>(
      fork_husk(creator, process.pid(), process.exit_signal()));
  Husk& husk = husks_[process.pid()];
  husk.model = &process;
  husk.born_in = session;
  husk.agent = std::move(agent);
  husk.held.pid = husk.agent->pid();
  husk.held.seen_pid = process.pid();
  husk.held.agent = husk.agent.get();
  if (leads_session(process)) {
    grow_children(husk, Birth::before_new_session);
    start_session(*husk.agent);
    if (terminals_.contains(process.pid())) ask_of_terminal(process.pid(), TIOCSCTTY, 0);
  }
  grow_children(husk, Birth::ordinary);
  put_off_adopted(husk);
}

void HuskTree::grow_children(const Husk& parent, Birth birth) {
  const auto [first, last] = children_.equal_range(parent.model->pid());
  for (auto it = first; it != last; ++it) {
    if (birth_of(*it->second, parent) != birth) continue;
    const bool before = birth == Birth::before_new_session;
    grow_process(*it->second, *parent.agent, before ? parent.born_in : session_of(*parent.model));
  }
}

// Orphans from another session, whose leader may have to be grown first.
void HuskTree::put_off_adopted(const Husk& parent) {
  const auto [first, last] = children_.equal_range(parent.model->pid());
  for (auto it = first; it != last; ++it) {
    const snapshot::Process& child = *it->second;
    if (birth_of(child, parent) != Birth::adopted) continue;
    if (!parent.model->attributes().child_subreaper()) {
      throw base::Error(
          base::ErrorCode::refused,
          fmt::format("process {} is in session {}, its parent {} in session {}: torpor cannot "
                      "bring that about",
                      child.pid(), child.session(), parent.model->pid(), parent.model->session()));
    }
    put_off_.push_back(&child);
  }
}

void HuskTree::grow_adopted() {
  const auto leader_is_ready = [this](const snapshot::Process* process) {
    const auto& all = model_.processes();
    return husks_.contains(process->session()) ||
           std::none_of(all.begin(), all.end(), [process](const snapshot::Process& other) {
             return other.pid() == process->session();
           });
  };
  while (!put_off_.empty()) {
    const auto next = std::find_if(put_off_.begin(), put_off_.end(), leader_is_ready);
    if (next == put_off_.end()) {
      throw base::Error(base::ErrorCode::refused,
                        fmt::format("process {} is in session {}, which cannot be made before it",
                                    put_off_.front()->pid(), put_off_.front()->session()));
    }
    const snapshot::Process& process = **next;
    put_off_.erase(next);
    grow_process(process, session_stand_in(process), process.session());
    adopted_.push_back(process.pid());
  }
}

process::AgentClient& HuskTree::adopter_of(const snapshot::Process& process) {
  if (process.parent() == model_.reaper_pid()) return *reaper_;
  process::AgentClient& adopter = *husks_.at(process.parent()).agent;
  adopter.call(SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0}, "become a subreaper");
  return adopter;
}

// The leader of a session that is dead, or a child of the leader, which lives elsewhere in the
// tree: the process was forked through a parent that is gone; so do we.
process::AgentClient& HuskTree::session_stand_in(const snapshot::Process& process) {
  const pid_t session = process.session();
  process::AgentClient& adopter = adopter_of(process);
  StandIn& stand_in = session_stand_ins_[session];
  if (stand_in.agent) {
    if (stand_in.adopter == &adopter) return *stand_in.agent;
    throw base::Error(base::ErrorCode::refused,
                      fmt::format("process {} is one of several orphans of session {} that have "
                                  "different parents: torpor cannot bring that about",
                                  process.pid(), session));
  }
  const auto leader = husks_.find(session);
  const bool alive = leader != husks_.end();
  stand_in.adopter = &adopter;
  stand_in.parent = alive ? leader->second.agent.get() : &adopter;
  stand_in.pid = alive ? unused_pid() : session;
  stand_in.agent =
      std::make_unique<process::AgentClient>(fork_husk(*stand_in.parent, stand_in.pid, SIGCHLD));
  if (!alive) start_session(*stand_in.agent);
  return *stand_in.agent;
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
  StandIn& stand_in = group_stand_ins_[group];
  if (!stand_in.agent) {
    stand_in.agent =
        std::make_unique<process::AgentClient>(fork_husk(*member.agent, group, SIGCHLD));
    stand_in.parent = member.agent.get();
    stand_in.pid = group;
    stand_in.agent->call(SYS_setpgid, {0, 0}, "lead a process group");
  }
  return *stand_in.agent;
}

// The leader of the session asks. `group` is for the requests that point to one.
void HuskTree::ask_of_terminal(pid_t session, unsigned long request, pid_t group) {
  process::AgentClient& agent = *husks_.at(session).agent;
  const int fd = agent.give_fd_anywhere(terminals_.at(session));
  process::Batch batch(agent);
  const std::int32_t wanted = group;
  const process::Argument argument =
      group == 0 ? process::Argument(0) : process::Argument(batch.value(wanted));
  const std::size_t asked = batch.try_call(SYS_ioctl, {fd, request, argument});
  batch.try_call(SYS_close, {fd});
  batch.run();
  if (request == TIOCSCTTY && batch.result(asked) < 0) {
    base::throw_errno(static_cast<int>(-batch.result(asked)),
                      fmt::format("session {} cannot have its terminal", session));
  }
}

void HuskTree::set_foreground_groups(const std::map<pid_t, pid_t>& group_of_session) {
  for (const auto& [session, group] : group_of_session) {
    if (terminals_.contains(session) && husks_.contains(session) && group > 0) {
      ask_of_terminal(session, TIOCSPGRP, group);
    }
  }
}

void HuskTree::give_terminals_up() {
  for (const auto& [session, terminal] : terminals_) {
    const auto leader = husks_.find(session);
    if (leader == husks_.end() || !leader->second.agent) continue;
    try {
      ask_of_terminal(session, TIOCNOTTY, 0);
    } catch (const base::Error&) {
      // It has ended already.
    }
  }
}

void HuskTree::settle() {
  end_helpers();
  check_parents();
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
  for (auto* stand_ins : {&group_stand_ins_, &session_stand_ins_}) {
    for (auto& [id, stand_in] : *stand_ins) {
      process::Batch end(*stand_in.agent);
      end.call(SYS_exit_group, {0}, "end");
      end.start();
      stand_in.parent->call(SYS_wait4, {stand_in.pid, 0, 0, 0}, "reap a helper");
    }
    stand_ins->clear();
  }
}

// The kernel, not we, has given them their parents.
void HuskTree::check_parents() {
  for (const pid_t pid : adopted_) {
    const Husk& husk = husks_.at(pid);
    const std::int64_t parent = husk.agent->call(SYS_getppid, {}, "ask for the parent");
    if (parent == husk.model->parent() || husk.model->parent() <= 1) continue;
    throw base::Error(
        base::ErrorCode::refused,
        fmt::format("process {} has become a child of {} and not of {}: torpor cannot "
                    "bring that about",
                    pid, parent, husk.model->parent()));
  }
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
