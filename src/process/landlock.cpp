#include "process/landlock.h"

#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::process {
namespace {

constexpr unsigned kMostLayers = 16;  // LANDLOCK_MAX_NUM_LAYERS of the kernel

// Something that nobody does, because a ruleset has to forbid something.
constexpr std::uint64_t kForbidden = LANDLOCK_ACCESS_FS_MAKE_BLOCK;

std::uint64_t kernel_version_of_landlock() {
  const long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? static_cast<std::uint64_t>(version) : 0;
}

unsigned count_by_adding() {
  const landlock_ruleset_attr attributes{.handled_access_fs = kForbidden};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const base::UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  unsigned added = 0;
  while (added < kMostLayers && ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) == 0) {
    ++added;
  }
  return kMostLayers - added;
}

}  // namespace

unsigned landlock_layers(AgentClient& agent) {
  if (kernel_version_of_landlock() == 0) return 0;
  Batch batch(agent);
  const landlock_ruleset_attr attributes{.handled_access_fs = kForbidden};
  batch.call(SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0}, "look for a Landlock domain");
  const std::size_t ruleset =
      batch.call(SYS_landlock_create_ruleset, {batch.value(attributes), sizeof(attributes), 0},
                 "look for a Landlock domain");
  std::size_t first = 0;
  for (unsigned i = 0; i < kMostLayers; ++i) {
    const std::size_t call = batch.try_call(SYS_landlock_restrict_self, {ResultOf{ruleset}, 0});
    if (i == 0) first = call;
  }
  batch.call(SYS_close, {ResultOf{ruleset}}, "close a Landlock ruleset");
  batch.run();
  unsigned added = 0;
  while (added < kMostLayers && batch.result(first + added) == 0) ++added;
  return kMostLayers - added;
}

unsigned own_landlock_layers() {
  if (kernel_version_of_landlock() == 0) return 0;
  unsigned layers = 0;
  // Domains and no_new_privs are of a thread: those that this one gets end with it.
  std::thread([&layers] { layers = count_by_adding(); }).join();
  return layers;
}

}  // namespace torpor::process
