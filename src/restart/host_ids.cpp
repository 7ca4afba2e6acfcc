#include "restart/host_ids.h"

#include <linux/capability.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <set>

#include "process/proc_status.h"

namespace torpor::restart {
namespace {

// As the id of a process, a thread or a process group. 1 is never free, and -1 would mean all.
bool is_free(pid_t id) {
  if (id == 1) return false;
  return std::ranges::all_of(std::array{id, -id},
                             [](pid_t target) { return ::kill(target, 0) != 0 && errno == ESRCH; });
}

std::set<pid_t> ids_of(const snapshot::Computation& model) {
  std::set<pid_t> ids{model.reaper_pid()};
  for (const snapshot::Process& process : model.processes()) {
    ids.insert({process.pid(), process.session(), process.group()});
    for (const snapshot::Thread& thread : process.threads()) ids.insert(thread.tid());
  }
  ids.erase(0);  // outside of what was looked at
  return ids;
}

}  // namespace

bool may_choose_ids() {
  const std::uint64_t effective = process::read_status(::getpid()).cap_eff;
  const auto has = [effective](unsigned capability) { return (effective >> capability & 1) != 0; };
  return has(CAP_SYS_ADMIN) || has(CAP_CHECKPOINT_RESTORE);
}

std::optional<pid_t> find_taken_id(const snapshot::Computation& model) {
  const std::set<pid_t> ids = ids_of(model);
  const auto taken = std::ranges::find_if_not(ids, is_free);
  return taken == ids.end() ? std::nullopt : std::optional(*taken);
}

}  // namespace torpor::restart
