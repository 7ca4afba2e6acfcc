// The tree of husks: every process of the image, with its id, parent, session and process group.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "process/agent_client.h"
#include "process/held_process.h"
#include "proto/snapshot.pb.h"

namespace torpor::restart {

struct Husk {
  std::unique_ptr<process::AgentClient> agent;
  process::HeldProcess held;
  const snapshot::Process* model = nullptr;
  pid_t born_in = 0;  // the session of who forked it, at that time
};

class HuskTree {
 public:
  // `init`: the first husk, already in its hole. `terminals`: descriptors of ours, by the session
  // that has them. A process has the controlling terminal that its parent had when it was forked,
  // so the leaders take them before they fork.
  HuskTree(const snapshot::Computation& model, process::AgentClient& init,
           std::map<pid_t, int> terminals = {});

  // Grows the whole tree. Throws Error: conflict when an id is taken, refused when the sessions
  // cannot be brought about by forking.
  void grow();
  // Gives them to the groups that had them; one that has ended cannot have it.
  void set_foreground_groups(const std::map<pid_t, pid_t>& group_of_session);
  // Before the tree is killed: a leader that ended with its terminal would hang it up for all.
  void give_terminals_up();
  // Lets zombies end with their status and the helpers of dead sessions and groups go.
  void settle();

  [[nodiscard]] std::map<pid_t, Husk>& husks() { return husks_; }
  [[nodiscard]] process::AgentClient& reaper() { return *reaper_; }
  [[nodiscard]] bool reaper_is_init() const { return reaper_ == &init_; }

 private:
  void grow_reaper();
  // How a process came to be the child of its parent, as far as sessions tell.
  enum class Birth { ordinary, before_new_session, adopted };
  [[nodiscard]] Birth birth_of(const snapshot::Process& child, const Husk& parent) const;
  void grow_process(const snapshot::Process& process, process::AgentClient& creator, pid_t session);
  void grow_children(const Husk& parent, Birth birth);
  void put_off_adopted(const Husk& parent);
  void grow_adopted();
  process::AgentClient& adopter_of(const snapshot::Process& process);
  process::AgentClient& session_stand_in(const snapshot::Process& process);
  [[nodiscard]] pid_t session_of(const snapshot::Process& process) const;
  pid_t unused_pid();
  void join_groups();
  process::AgentClient& group_stand_in(pid_t group, Husk& member);
  void ask_of_terminal(pid_t session, unsigned long request, pid_t group);
  void end_helpers();
  void check_parents();

  const snapshot::Computation& model_;
  process::AgentClient& init_;
  std::map<pid_t, int> terminals_;
  process::AgentClient* reaper_ = nullptr;
  std::unique_ptr<process::AgentClient> own_reaper_;
  std::map<pid_t, Husk> husks_;                              // by pid as the program sees it
  std::multimap<pid_t, const snapshot::Process*> children_;  // by parent
  std::vector<const snapshot::Process*> put_off_;            // adopted, and not grown yet
  std::vector<pid_t> adopted_;
  struct StandIn {
    std::unique_ptr<process::AgentClient> agent;
    process::AgentClient* parent = nullptr;   // who has to reap it
    process::AgentClient* adopter = nullptr;  // who gets its children
    pid_t pid = 0;
  };
  std::map<pid_t, StandIn> session_stand_ins_;
  std::map<pid_t, StandIn> group_stand_ins_;
  pid_t highest_pid_ = 1;
};

// Forgets signals that arrived while the husk was one (SIGCHLD of helpers and zombies): all that it
// has then is what the image gives it.
void forget_child_signals(process::AgentClient& agent);

}  // namespace torpor::restart
