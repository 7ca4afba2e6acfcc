// The end of a restart in the wrapped mode: what Session::hold() and release() do where there is no
// ptrace. Threads park as if they had been stopped from inside, and the agent stays.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <ranges>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "process/proc_stat.h"
#include "process/remote_memory.h"
#include "resource/regular_file.h"
#include "resource/seccomp.h"
#include "restart/session.h"
#include "restart/stopped_children.h"

namespace torpor::restart {
void Session::identify_by_table() {
  result_.wrapped = wrapped::new_computation(request_.stop_signal);
  result_.ids = std::make_shared<wrapped::IdTableFile>(*result_.wrapped);
  result_.wrapped->ids = result_.ids.get();
  state_.began_monotonic_ns = base::clock_ns();
  state_.began_boottime_ns = base::clock_ns(CLOCK_BOOTTIME);
  result_.ids->set_clocks({model().clocks().monotonic_ns(), model().clocks().boottime_ns()},
                          {state_.began_monotonic_ns, state_.began_boottime_ns});
}

// In the table's computation clock_gettime in it is led to the agent.
void Session::use_vdso(const Husk& husk) {
  for (const snapshot::Area& area : husk.model->areas()) {
    if (area.kind() != snapshot::Area::VDSO) continue;
    husk.agent->call(agent::kUseVdso, {area.start()}, "use the vdso with the program's clocks");
  }
}

bool Session::has_signal_fd(const Husk& husk) const {
  std::set<std::uint64_t> open;
  for (const snapshot::Descriptor& descriptor : husk.model->descriptors()) {
    open.insert(descriptor.open_file());
  }
  return std::ranges::any_of(model().open_files(), [&open](const snapshot::OpenFile& file) {
    return file.has_signal() && open.contains(file.id());
  });
}

// What the agent has to know of the program, and is not in a new husk.
void Session::tell_resident(const Husk& husk) const {
  const pid_t pid = husk.held.pid;
  const base::RemotePtr area(agent::kResidentData);
  std::string path = husk.model->layout().executable();
  path.resize(std::min(path.size(), sizeof(agent::Resident::executable) - 1) + 1);
  process::write_memory(pid, area + offsetof(agent::Resident, executable),
                        std::as_bytes(std::span(path)));
  process::write_value<std::uint64_t>(
      pid, area + offsetof(agent::Resident, record) + offsetof(agent::ExecRecord, no_new_privs),
      husk.model->credentials().no_new_privs() ? 1 : 0);
}

void Session::hold_inside() {
  wrapped::Listener listener(*result_.wrapped);
  for (auto& [pid, husk] : tree_->husks()) {
    if (husk.model->state() == snapshot::Process::ZOMBIE) continue;
    tell_resident(husk);
    process::Batch batch(*husk.agent);
    resource::restore_seccomp(batch, *husk.model);
    batch.run();
    built_.push_back(std::make_unique<BuiltProcess>(husk, *result_.wrapped, listener));
  }
  for (const auto& built : built_) {
    std::map<pid_t, pid_t> originals;
    for (const pid_t tid : built->thread_ids()) {
      originals[tid] = result_.ids->seen(tid);
    }
    built->give_registers(originals, elapsed_ns(), result_.waits);
    built->agent().call(SYS_munmap, {hole_->vdso_parking(), Hole::kParkingBytes},
                        "unmap where the vdso was kept");
  }
}

void Session::release_inside() {
  for (const auto& built : built_) built->arm();
  // From here on our death would only let all go on. Children first: what their stops tell is taken
  // back in their parents.
  for (const auto& built : std::views::reverse(built_)) {
    StoppedChildren children = stopped_children_of(model(), built->model());
    for (pid_t& child : children.collected) child = tree_->husks().at(child).held.pid;
    built->forget_stops(children);
    built->release();
  }
  built_.clear();
}

}  // namespace torpor::restart
