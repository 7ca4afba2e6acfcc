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
};

class HuskTree {
 public:
  // `init`: the first husk, already in its hole.
  HuskTree(const snapshot::Computation& model, process::AgentClient& init);

  // Grows the whole tree. Throws Error: conflict when an id is taken, refused when the sessions
  // cannot be brought about by forking.
  void grow();
  // Lets zombies end with their status and the helpers of dead sessions and groups go.
  void settle();

  [[nodiscard]] std::map<pid_t, Husk>& husks() { return husks_; }
  [[nodiscard]] process::AgentClient& reaper() { return *reaper_; }
  [[nodiscard]] bool reaper_is_init() const { return reaper_ == &init_; }

 private:
  void grow_reaper();
  void grow_process(const snapshot::Process& process, process::AgentClient& creator);
  void grow_children(const snapshot::Process& parent, bool before_new_session);
  process::AgentClient& creator_for(const snapshot::Process& process);
  process::AgentClient& session_stand_in(pid_t session);
  pid_t unused_pid();
  void join_groups();
  process::AgentClient& group_stand_in(pid_t group, Husk& member);
  void end_helpers();

  const snapshot::Computation& model_;
  process::AgentClient& init_;
  process::AgentClient* reaper_ = nullptr;
  std::unique_ptr<process::AgentClient> own_reaper_;
  std::map<pid_t, Husk> husks_;                              // by pid as the program sees it
  std::multimap<pid_t, const snapshot::Process*> children_;  // by parent
  std::map<pid_t, std::unique_ptr<process::AgentClient>> session_stand_ins_;
  struct GroupStandIn {
    std::unique_ptr<process::AgentClient> agent;
    process::AgentClient* parent = nullptr;
    pid_t pid = 0;
  };
  std::map<pid_t, GroupStandIn> group_stand_ins_;
  pid_t highest_pid_ = 1;
};

// Forgets signals that arrived while the husk was one (SIGCHLD of helpers and zombies): all that it
// has then is what the image gives it.
void forget_child_signals(process::AgentClient& agent);

}  // namespace torpor::restart
