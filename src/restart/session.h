// One restart while it is being done. The steps are member functions, called in their order by
// run(); their names are those of docs/restart-sequence.md and of the fault points.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <vector>

#include "image/image_reader.h"
#include "process/stopped_tree.h"
#include "resource/credentials.h"
#include "resource/file_kind.h"
#include "restart/built_process.h"
#include "restart/hole.h"
#include "restart/husk_setup.h"
#include "restart/husk_tree.h"
#include "restart/init_husk.h"
#include "restart/restart.h"

namespace torpor::restart {

class Session {
 public:
  Session(const Request& request, base::Progress& progress);
  // Kills whatever has been built, unless release() was reached.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void look();          // 1 the image, and whether this host can do it
  void identify();      // 2 namespaces, and the first husk
  void grow();          // 3 the tree of husks
  void open();          // 4 what processes share: files, pipes, memory
  void load();          // 5 memory of each
  void describe();      // 6 descriptors of each
  void thread();        // 7 threads of each
  void finish();        // 8 signals, timers, limits, locks, the terminal
  void drop();          // 9 privileges
  void hold();          // 10 every thread stopped, with its registers; the agents gone
  Restarted release();  // 11 everything goes on

  // This host refuses the namespaces that were wanted; nothing has been built.
  [[nodiscard]] bool lacks_namespaces() const { return !init_ && !is_wrapped(); }
  // It was our choice to do without a pid namespace, and another restart can make one.
  [[nodiscard]] bool may_take_namespace() const {
    return request_.identity == Identity::automatic && !own_pid_namespace_ && !released_;
  }

 private:
  const snapshot::Computation& model() const { return image_->manifest().computation(); }
  std::int64_t elapsed_ns() const;
  // session_inside.cpp
  [[nodiscard]] bool is_wrapped() const { return result_.wrapped.has_value(); }
  void identify_by_table();
  [[nodiscard]] bool has_signal_fd(const Husk& husk) const;
  void tell_resident(const Husk& husk) const;
  static void use_vdso(const Husk& husk);
  void hold_inside();
  void release_inside();
  void for_each_living(const std::function<void(Husk&)>& work);
  [[nodiscard]] bool takes_host_ids() const;
  void describe_thread(process::CallList& calls, const snapshot::Thread& thread,
                       const snapshot::Process& process) const;
  void clear_descriptor_table(Husk& husk);
  [[nodiscard]] std::map<pid_t, int> terminals_of_sessions();
  void restore_foreground_groups();
  void hold_process(process::StoppedProcess& stopped, Husk& husk);
  void vacate(process::StoppedProcess& stopped, Husk& husk);
  void install_filters(process::StoppedProcess& stopped, const Husk& husk);
  void forget_stops(process::StoppedProcess& parent, const Husk& husk);
  void start_reapers();
  void kill_everything();

  const Request& request_;
  base::Progress& progress_;
  std::optional<image::Image> image_;
  std::future<void> verification_;
  base::Progress verify_progress_;
  std::optional<InitHusk> init_;
  bool own_pid_namespace_ = true;
  std::optional<Hole> hole_;
  std::vector<ParkedArea> parked_;
  std::optional<HuskTree> tree_;
  resource::RestoreState state_;
  resource::PresentCredentials present_;
  std::map<pid_t, int> agent_sockets_;  // number of the agent's socket, by pid in our namespace
  std::unique_ptr<process::StoppedTree> held_;
  std::vector<std::unique_ptr<BuiltProcess>> built_;  // instead, in the wrapped mode
  Restarted result_;
  bool released_ = false;
};

}  // namespace torpor::restart
