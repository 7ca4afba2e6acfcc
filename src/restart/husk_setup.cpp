#include "restart/husk_setup.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "agent/blob.h"
#include "process/proc_maps.h"

namespace torpor::restart {
namespace {

using base::RemotePtr;
constexpr std::uint64_t kFirstAddress = 0x10000;  // vm.mmap_min_addr
constexpr std::uint64_t kEndOfUserSpace = 0x7ffffffff000;
constexpr int kFixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

void copy_agent(process::AgentClient& agent, const Hole& hole) {
  const std::uint64_t code_bytes = hole.context() - hole.code();
  agent::Context context{};
  context.code = hole.code();
  context.code_bytes = code_bytes;
  context.socket = agent::kHuskSocket;
  process::Batch batch(agent);
  const RemotePtr head =
      batch.data(std::as_bytes(std::span(&context, 1)).first(offsetof(agent::Context, message)));
  batch.call(SYS_mmap, {hole.code(), code_bytes, PROT_READ | PROT_WRITE, kFixed, -1, 0},
             "map the agent's code");
  batch.call(SYS_mmap,
             {hole.context(), agent::kContextBytes, PROT_READ | PROT_WRITE, kFixed, -1, 0},
             "map the agent's context");
  batch.call(agent::kStore, {hole.code(), agent.code(), agent::agent_blob().size()},
             "copy the agent");
  batch.call(agent::kStore, {hole.context(), head, offsetof(agent::Context, message)},
             "copy the agent's context");
  batch.call(SYS_mprotect, {hole.code(), code_bytes, PROT_READ | PROT_EXEC},
             "make the agent executable");
  batch.call(agent::kMoveTo, {hole.context()}, "move the agent");
  batch.run();
  agent.moved_to(RemotePtr(hole.context()), RemotePtr(hole.code()));
}

std::vector<ParkedArea> park_vdso(process::AgentClient& agent, const Hole& hole) {
  std::vector<process::Mapping> maps = process::read_maps(agent.pid());
  std::erase_if(maps, [](const process::Mapping& m) {
    return m.path != "[vdso]" && m.path != "[vvar]" && m.path != "[vvar_vclock]";
  });
  std::vector<ParkedArea> parked;
  if (maps.empty()) return parked;
  process::Batch batch(agent);
  for (const process::Mapping& mapping : maps) {
    // Together, at the distances that they had: the vdso's code reaches its data relative to rip.
    const std::uint64_t place = hole.vdso_parking() + (mapping.start - maps.front().start);
    batch.call(
        SYS_mremap,
        {mapping.start, mapping.size(), mapping.size(), MREMAP_MAYMOVE | MREMAP_FIXED, place},
        "move " + mapping.path);
    parked.push_back({mapping.path, place, mapping.size()});
  }
  batch.run();
  return parked;
}

}  // namespace

std::vector<ParkedArea> move_into_hole(process::AgentClient& agent, const Hole& hole) {
  if (!hole.is_resident()) copy_agent(agent, hole);
  std::vector<ParkedArea> parked = park_vdso(agent, hole);
  process::Batch batch(agent);
  batch.call(SYS_munmap, {kFirstAddress, hole.start() - kFirstAddress}, "unmap the husk");
  batch.call(SYS_munmap, {hole.end(), kEndOfUserSpace - hole.end()}, "unmap the husk");
  batch.run();
  return parked;
}

}  // namespace torpor::restart
