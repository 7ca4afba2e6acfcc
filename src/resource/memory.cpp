#include "resource/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "process/detour.h"
#include "process/guard_regions.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_tree.h"
#include "process/remote_memory.h"
#include "process/stopped_tree.h"
#include "resource/file_facts.h"
#include "resource/shared_memory.h"

namespace torpor::resource {
namespace {

using process::Mapping;
using process::VmFlag;
using snapshot::Area;

constexpr std::string_view kDeleted = " (deleted)";

bool starts_with(std::string_view text, std::string_view head) {
  return text.substr(0, head.size()) == head;
}

bool is_deleted(const Mapping& mapping) {
  return mapping.path.size() > kDeleted.size() && mapping.path.ends_with(kDeleted);
}

std::string describe(const Mapping& mapping) {
  return fmt::format("mapping {:x}-{:x} {}", mapping.start, mapping.end, mapping.path);
}

// The kernel's own areas that are not memory of the program and come back by themselves.
bool is_kernels(const Mapping& mapping) {
  return mapping.path == "[vsyscall]" || mapping.path == "[uprobes]";
}

// Of the wrapped mode.
bool is_resident(const Mapping& mapping) {
  return mapping.start - agent::kResidentBase < agent::kResidentSpan;
}

bool is_anonymous(const Mapping& mapping) {
  return mapping.inode == 0 && !mapping.shared &&
         (mapping.path.empty() || mapping.path == "[heap]" || mapping.path == "[stack]" ||
          starts_with(mapping.path, "[anon") || starts_with(mapping.path, "[stack:"));
}

bool is_shared_anonymous(const Mapping& mapping) {
  return mapping.path == "/dev/zero (deleted)" || starts_with(mapping.path, "[anon_shmem");
}

bool is_memfd(const Mapping& mapping) { return starts_with(mapping.path, "/memfd:"); }

std::optional<Area::Kind> kind_of_mapping(const Mapping& mapping) {
  if (mapping.path == "[vdso]") return Area::VDSO;
  if (mapping.path == "[vvar]") return Area::VVAR;
  if (mapping.path == "[vvar_vclock]") return Area::VVAR_VCLOCK;
  if (is_anonymous(mapping)) return Area::ANONYMOUS;
  if (mapping.path == "/dev/zero" && !mapping.shared) return Area::ANONYMOUS;
  if (is_shared_anonymous(mapping) || is_memfd(mapping)) return Area::SHARED_MEMORY;
  if (starts_with(mapping.path, "/SYSV")) return std::nullopt;
  if (starts_with(mapping.path, "/anon_hugepage")) return std::nullopt;
  if (starts_with(mapping.path, "anon_inode:") || starts_with(mapping.path, "socket:")) {
    return std::nullopt;
  }
  if (!starts_with(mapping.path, "/")) return std::nullopt;
  if (is_deleted(mapping)) return mapping.shared ? Area::SHARED_MEMORY : Area::SAVED_FILE;
  return Area::FILE;
}

std::string why_unsupported(const Mapping& mapping) {
  if (starts_with(mapping.path, "/SYSV")) return "System V shared memory is not supported yet";
  if (starts_with(mapping.path, "/[aio]")) {
    return "a context of asynchronous I/O (io_setup(2)) is not supported yet";
  }
  if (mapping.kernel_page_size > base::page_size) return "hugetlb pages are not supported yet";
  if (mapping.has(VmFlag::io) || mapping.has(VmFlag::pf)) return "it is memory of a device";
  if (mapping.has(VmFlag::um) || mapping.has(VmFlag::uw) || mapping.has(VmFlag::ui)) {
    return "it is registered with a userfaultfd";
  }
  if (mapping.has(VmFlag::ss)) return "shadow stacks are not supported yet";
  if (!kind_of_mapping(mapping)) return "this kind of mapping is not supported";
  return {};
}

bool has_trouble(const Mapping& mapping) {
  const bool kernels = mapping.path == "[vvar]" || mapping.path == "[vvar_vclock]";
  return !kernels && !why_unsupported(mapping).empty();
}

std::vector<Mapping> without(std::vector<Mapping> mappings, AddressRange ours) {
  std::vector<Mapping> rest;
  for (const Mapping& mapping : mappings) {
    if (is_kernels(mapping)) continue;
    // The kernel merges areas: ours may be a part of a larger one.
    const auto keep = [&rest, &mapping](std::uint64_t start, std::uint64_t end) {
      if (start >= end) return;
      Mapping part = mapping;
      part.offset += start - mapping.start;
      part.start = start;
      part.end = end;
      rest.push_back(part);
    };
    if (mapping.end <= ours.start || mapping.start >= ours.end) {
      rest.push_back(mapping);
      continue;
    }
    keep(mapping.start, ours.start);
    keep(ours.end, mapping.end);
  }
  return rest;
}

std::uint32_t protection_of(const Mapping& mapping) {
  unsigned protection = PROT_NONE;
  if (mapping.read) protection |= PROT_READ;
  if (mapping.write) protection |= PROT_WRITE;
  if (mapping.exec) protection |= PROT_EXEC;
  return protection;
}

void copy_flags(const Mapping& mapping, Area& area) {
  area.set_grows_down(mapping.has(VmFlag::gd));
  area.set_dont_fork(mapping.has(VmFlag::dc) && area.kind() != Area::VVAR &&
                     area.kind() != Area::VVAR_VCLOCK);
  area.set_wipe_on_fork(mapping.has(VmFlag::wf));
  area.set_dont_dump(mapping.has(VmFlag::dd));
  area.set_locked(mapping.has(VmFlag::lo));
  area.set_lock_on_fault(mapping.has(VmFlag::lf));
  area.set_huge_page(mapping.has(VmFlag::hg));
  area.set_no_huge_page(mapping.has(VmFlag::nh));
  area.set_mergeable(mapping.has(VmFlag::mg));
  area.set_sealed(mapping.has(VmFlag::sl));
  area.set_no_reserve(mapping.has(VmFlag::nr));
  area.set_droppable(mapping.has(VmFlag::dp));
  area.set_sequential(mapping.has(VmFlag::sr));
  area.set_random(mapping.has(VmFlag::rr));
}

void add_backing(pid_t pid, const Mapping& mapping, CaptureState& state, Area& area) {
  if (area.kind() == Area::SHARED_MEMORY) {
    const std::string name = is_memfd(mapping)
                                 ? mapping.path.substr(7, mapping.path.size() - 7 - kDeleted.size())
                                 : std::string();
    area.set_shared_memory(shared_memory_id(state, makedev(mapping.dev_major, mapping.dev_minor),
                                            mapping.inode, name, is_memfd(mapping),
                                            mapping.offset + mapping.size()));
  } else if (area.kind() == Area::FILE) {
    *area.mutable_file() = file_facts_of(pid, mapping.path);
    area.set_writable_file(mapping.shared && mapping.has(VmFlag::mw));
  }
}

void add_guards(int pagemap, Area& area) {
  if (area.shared()) return;
  for (const base::PageRun& run : process::guard_regions(pagemap, area.start(), area.end())) {
    snapshot::PageRange* guard = area.add_guards();
    guard->set_start(run.start);
    guard->set_end(run.end);
  }
}

void capture_layout(const process::HeldProcess& held, snapshot::Process& process) {
  const pid_t pid = held.memory_pid();
  const process::Stat stat = process::read_stat(pid);
  snapshot::MemoryLayout& layout = *process.mutable_layout();
  layout.set_start_code(stat.start_code);
  layout.set_end_code(stat.end_code);
  layout.set_start_data(stat.start_data);
  layout.set_end_data(stat.end_data);
  layout.set_start_brk(stat.start_brk);
  layout.set_start_stack(stat.start_stack);
  layout.set_arg_start(stat.arg_start);
  layout.set_arg_end(stat.arg_end);
  layout.set_env_start(stat.env_start);
  layout.set_env_end(stat.env_end);
  layout.set_auxv(process::read_proc_file(pid, "auxv"));
  layout.set_executable(held.resident != nullptr
                            ? held.resident->executable()
                            : process::read_link(fmt::format("/proc/{}/exe", pid)));
}

// What an agent has led elsewhere is put back: an image holds the kernel's own.
void put_back(const process::ResidentView& resident, const Area& area,
              std::vector<std::byte>& vdso) {
  const auto& was = resident.overwritten_vdso();
  if (was.address < area.start() || was.address + was.bytes.size() > area.end()) return;
  std::ranges::copy(was.bytes,
                    vdso.begin() + static_cast<std::ptrdiff_t>(was.address - area.start()));
}

void capture_vdso(const process::HeldProcess& held, const Area& area,
                  snapshot::MemoryLayout& layout) {
  layout.set_vdso(area.start());
  std::vector<std::byte> content(area.end() - area.start());
  process::read_memory(held.memory_pid(), base::RemotePtr(area.start()), content);
  process::erase_detour(content);
  if (held.resident != nullptr) put_back(*held.resident, area, content);
  layout.set_vdso_content(content.data(), content.size());
}

}  // namespace

std::vector<MemoryFinding> check_memory(pid_t pid) {
  std::vector<MemoryFinding> findings;
  for (const Mapping& mapping : process::read_smaps(process::living_thread(pid))) {
    if (is_kernels(mapping) || is_resident(mapping) || !has_trouble(mapping)) continue;
    findings.push_back({describe(mapping), why_unsupported(mapping),
                        "let the program unmap it before the checkpoint"});
  }
  return findings;
}

void capture_memory(const process::HeldProcess& held, AddressRange agent, CaptureState& state,
                    snapshot::Process& process) {
  const base::UniqueFd pagemap(
      ::open(fmt::format("/proc/{}/pagemap", held.memory_pid()).c_str(), O_RDONLY | O_CLOEXEC));
  capture_layout(held, process);
  process.mutable_layout()->set_brk(
      static_cast<std::uint64_t>(held.agent->call(SYS_brk, {0}, "read the program break")));
  for (const Mapping& mapping : without(process::read_smaps(held.memory_pid()), agent)) {
    if (has_trouble(mapping)) {
      throw base::Error(base::ErrorCode::refused,
                        fmt::format("process {}: {}: {}", held.seen_pid, describe(mapping),
                                    why_unsupported(mapping)));
    }
    Area& area = *process.add_areas();
    area.set_start(mapping.start);
    area.set_end(mapping.end);
    area.set_protection(protection_of(mapping));
    area.set_shared(mapping.shared);
    area.set_offset(mapping.offset);
    area.set_kind(*kind_of_mapping(mapping));
    area.set_path(mapping.path);
    copy_flags(mapping, area);
    add_backing(held.memory_pid(), mapping, state, area);
    add_guards(pagemap.get(), area);
    if (area.kind() == Area::VDSO) capture_vdso(held, area, *process.mutable_layout());
  }
}

bool must_copy_in_pause(const snapshot::Area& area) {
  return !area.shared() && (area.dont_fork() || area.wipe_on_fork());
}

}  // namespace torpor::resource
