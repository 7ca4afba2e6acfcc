#include "restart/address_space.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.h"
#include "image/verify.h"
#include "process/batch_runner.h"
#include "process/remote_memory.h"

namespace torpor::restart {
namespace {

using base::RemotePtr;
using process::BatchRunner;
using process::ResultOf;
using snapshot::Area;

std::string describe(const Area& area, const char* verb) {
  return fmt::format("{} {:x}-{:x} {}", verb, area.start(), area.end(), area.path());
}

bool is_vdso_area(const Area& area) {
  return area.kind() == Area::VDSO || area.kind() == Area::VVAR || area.kind() == Area::VVAR_VCLOCK;
}

bool gets_pages(const Area& area) { return !area.shared() && !is_vdso_area(area); }

bool has_extents(const Area& area, const image::ExtentTable& table) {
  const auto first = std::ranges::lower_bound(table.extents, area.start(), {},
                                              [](const image::PageExtent& e) { return e.vaddr; });
  return first != table.extents.end() && first->vaddr < area.end();
}

// What can once be written is accounted for ever, and the kernel keeps it apart from neighbours
// that are not: so only what has pages.
std::uint64_t mapping_protection(const Area& area, bool has_pages) {
  return has_pages ? area.protection() | PROT_WRITE | PROT_READ : area.protection();
}

std::uint64_t mapping_flags(const Area& area) {
  std::uint64_t flags = MAP_FIXED_NOREPLACE;
  flags |= area.shared() ? MAP_SHARED : MAP_PRIVATE;
  const bool anonymous = area.kind() == Area::ANONYMOUS || area.kind() == Area::SAVED_FILE;
  if (anonymous) flags |= MAP_ANONYMOUS;
  if (area.grows_down()) flags |= MAP_GROWSDOWN;
  if (area.no_reserve()) flags |= MAP_NORESERVE;
  return flags;
}

void move_vdso(BatchRunner& runner, const snapshot::Process& process,
               const std::vector<ParkedArea>& parked) {
  for (const ParkedArea& from : parked) {
    const Area* target = nullptr;
    for (const Area& area : process.areas()) {
      if (is_vdso_area(area) && area.path() == from.path) target = &area;
    }
    if (target == nullptr) {
      runner.call(SYS_munmap, {from.start, from.size}, "unmap " + from.path);
      continue;
    }
    if (target->end() - target->start() != from.size) {
      throw base::Error(
          base::ErrorCode::host_lacks,
          fmt::format("this kernel's {} has another size than the image's", from.path),
          "restart on a host with the kernel on which the image was taken");
    }
    runner.call(SYS_mremap,
                {from.start, from.size, from.size, MREMAP_MAYMOVE | MREMAP_FIXED, target->start()},
                describe(*target, "move"));
  }
}

// Descriptors that the husk has open while it maps, by file.
class MappedFiles {
 public:
  MappedFiles(BatchRunner& runner, process::AgentClient& agent, resource::RestoreState& state)
      : runner_(runner), agent_(agent), state_(state) {}

  int of_shared_memory(std::uint64_t id) {
    const auto known = memories_.find(id);
    if (known != memories_.end()) return known->second;
    runner_.flush();
    return memories_[id] = agent_.give_fd_anywhere(state_.shared_memories.at(id).get());
  }

  int of_path(const std::string& path, bool writable) {
    const auto key = std::pair(path, writable);
    const auto known = paths_.find(key);
    if (known != paths_.end()) return known->second;
    runner_.flush();
    process::Batch batch(agent_);
    batch.call(SYS_openat,
               {AT_FDCWD, batch.text(path), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0},
               fmt::format("open {}", path));
    batch.run();
    return paths_[key] = static_cast<int>(batch.result(0));
  }

  void close_all() {
    for (const auto& [id, fd] : memories_) runner_.call(SYS_close, {fd}, "close");
    for (const auto& [key, fd] : paths_) runner_.call(SYS_close, {fd}, "close");
  }

 private:
  BatchRunner& runner_;
  process::AgentClient& agent_;
  resource::RestoreState& state_;
  std::map<std::uint64_t, int> memories_;
  std::map<std::pair<std::string, bool>, int> paths_;
};

int file_for(const Area& area, MappedFiles& files) {
  if (area.kind() == Area::SHARED_MEMORY) return files.of_shared_memory(area.shared_memory());
  if (area.kind() == Area::FILE) return files.of_path(area.path(), area.writable_file());
  return -1;
}

// Pages of areas that may not be touched at all (PROT_NONE) need it for the moment.
void open_closed_areas(process::AgentClient& agent, const snapshot::Process& process,
                       const image::ExtentTable& table) {
  BatchRunner runner(agent);
  for (const Area& area : process.areas()) {
    if (area.protection() != PROT_NONE || !has_extents(area, table)) continue;
    runner.call(SYS_mprotect, {area.start(), area.end() - area.start(), PROT_READ | PROT_WRITE},
                describe(area, "open"));
  }
  runner.flush();
}

// The pages of some extents, of which neighbours in the file often are neighbours in memory too.
void put_pages(const process::RemoteMemory& memory, const image::PageBatch& batch) {
  std::vector<iovec> places;
  std::uint64_t end = 0;
  for (const image::PageExtent& extent : batch.extents) {
    if (!places.empty() && extent.vaddr == end) {
      places.back().iov_len += extent.size();
    } else {
      places.push_back({reinterpret_cast<void*>(extent.vaddr), extent.size()});
    }
    end = extent.end();
  }
  memory.scatter(batch.bytes, places);
}

void advise(BatchRunner& runner, const Area& area, bool wanted, int advice, const char* name) {
  if (!wanted) return;
  runner.call(SYS_madvise, {area.start(), area.end() - area.start(), advice}, describe(area, name));
}

constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13
constexpr std::int64_t kMseal = 462;

void finish_area(BatchRunner& runner, const Area& area) {
  const std::uint64_t length = area.end() - area.start();
  advise(runner, area, area.dont_fork(), MADV_DONTFORK, "keep from forks");
  advise(runner, area, area.wipe_on_fork(), MADV_WIPEONFORK, "wipe on fork");
  advise(runner, area, area.dont_dump(), MADV_DONTDUMP, "keep from core files");
  advise(runner, area, area.huge_page(), MADV_HUGEPAGE, "ask for huge pages for");
  advise(runner, area, area.no_huge_page(), MADV_NOHUGEPAGE, "ask for no huge pages for");
  advise(runner, area, area.mergeable(), MADV_MERGEABLE, "make mergeable");
  advise(runner, area, area.sequential(), MADV_SEQUENTIAL, "announce sequential use of");
  advise(runner, area, area.random(), MADV_RANDOM, "announce random use of");
  if (area.locked()) {
    runner.call(SYS_mlock2, {area.start(), length, area.lock_on_fault() ? 1 : 0},
                describe(area, "lock"));
  }
  for (const snapshot::PageRange& guard : area.guards()) {
    runner.call(SYS_madvise, {guard.start(), guard.end() - guard.start(), kGuardInstall},
                describe(area, "install guards in"));
  }
}

prctl_mm_map layout_of(const snapshot::MemoryLayout& layout) {
  prctl_mm_map map{};
  map.start_code = layout.start_code();
  map.end_code = layout.end_code();
  map.start_data = layout.start_data();
  map.end_data = layout.end_data();
  map.start_brk = layout.start_brk();
  map.brk = layout.brk();
  map.start_stack = layout.start_stack();
  map.arg_start = layout.arg_start();
  map.arg_end = layout.arg_end();
  map.env_start = layout.env_start();
  map.env_end = layout.env_end();
  map.auxv_size = static_cast<std::uint32_t>(layout.auxv().size());
  map.exe_fd = ~0U;
  return map;
}

// prctl(2) PR_SET_MM_MAP.
bool set_map(process::AgentClient& agent, const snapshot::MemoryLayout& layout, std::int64_t exe) {
  process::Batch batch(agent);
  prctl_mm_map map = layout_of(layout);
  map.auxv =
      reinterpret_cast<__u64*>(batch.data(std::as_bytes(std::span(layout.auxv()))).address());
  if (exe >= 0) map.exe_fd = static_cast<std::uint32_t>(exe);
  const auto call =
      batch.try_call(SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, batch.value(map), sizeof(map), 0});
  batch.run();
  if (batch.result(call) < 0 && exe < 0) {
    base::throw_errno(static_cast<int>(-batch.result(call)),
                      fmt::format("process {}: cannot set the memory layout", agent.pid()));
  }
  return batch.result(call) >= 0;
}

// The program's path needs privilege in the user namespace; without it /proc/PID/exe names the
// husk.
void set_layout(process::AgentClient& agent, const snapshot::MemoryLayout& layout,
                std::vector<std::string>& warnings) {
  process::Batch open(agent);
  open.try_call(SYS_openat, {AT_FDCWD, open.text(layout.executable()), O_RDONLY | O_CLOEXEC, 0});
  open.run();
  const std::int64_t exe = open.result(0);
  const bool with_exe = exe >= 0 && set_map(agent, layout, exe);
  if (exe >= 0) agent.call(SYS_close, {exe}, "close");
  if (with_exe) return;
  set_map(agent, layout, -1);
  warnings.push_back(fmt::format("/proc/PID/exe will not name {}", layout.executable()));
}

}  // namespace

void map_areas(process::HeldProcess& husk, const snapshot::Process& process,
               const image::ExtentTable& table, resource::RestoreState& state,
               const std::vector<ParkedArea>& parked) {
  BatchRunner runner(*husk.agent);
  MappedFiles files(runner, *husk.agent, state);
  move_vdso(runner, process, parked);
  for (const Area& area : process.areas()) {
    if (is_vdso_area(area)) continue;
    const int fd = file_for(area, files);
    const bool written =
        gets_pages(area) && area.protection() != PROT_NONE && has_extents(area, table);
    runner.call(SYS_mmap,
                {area.start(), area.end() - area.start(), mapping_protection(area, written),
                 mapping_flags(area), fd, fd < 0 ? 0 : area.offset()},
                describe(area, "map"));
  }
  files.close_all();
  runner.flush();
}

void load_pages(process::HeldProcess& husk, const snapshot::Process& process,
                const image::Image& image, image::ExtentTable table, base::Progress& progress,
                unsigned workers) {
  open_closed_areas(*husk.agent, process, table);
  const process::RemoteMemory memory(husk.memory_pid());
  image::read_pages(image, process, std::move(table.extents), progress, workers,
                    [&memory](const image::PageBatch& batch) { put_pages(memory, batch); });
}

void finish_areas(process::HeldProcess& husk, const snapshot::Process& process, bool keeps_program,
                  std::vector<std::string>& warnings) {
  BatchRunner runner(*husk.agent);
  for (const Area& area : process.areas()) {
    if (is_vdso_area(area)) continue;
    if (gets_pages(area)) {
      runner.call(SYS_mprotect, {area.start(), area.end() - area.start(), area.protection()},
                  describe(area, "protect"));
    }
    finish_area(runner, area);
  }
  runner.flush();
  if (keeps_program) {
    set_map(*husk.agent, process.layout(), -1);
  } else {
    set_layout(*husk.agent, process.layout(), warnings);
  }
}

void seal_areas(process::HeldProcess& husk, const snapshot::Process& process) {
  BatchRunner runner(*husk.agent);
  for (const Area& area : process.areas()) {
    if (!area.sealed() || is_vdso_area(area)) continue;
    runner.call(kMseal, {area.start(), area.end() - area.start(), 0}, describe(area, "seal"));
  }
  runner.flush();
}

}  // namespace torpor::restart
