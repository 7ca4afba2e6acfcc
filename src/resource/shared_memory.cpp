#include "resource/shared_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "process/remote_memory.h"

namespace torpor::resource {
namespace {

constexpr std::uint64_t kChunk = 1 << 20;

bool has_content(const CaptureState& state, std::uint64_t id) {
  return std::any_of(
      state.contents.begin(), state.contents.end(),
      [id](const CaptureState::Content& c) { return c.shared_memory && c.id == id; });
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

bool host_swaps() {
  struct sysinfo info {};
  return ::sysinfo(&info) != 0 || info.totalswap != 0;
}

// Which pages of [start, end) are in memory; all, where the host might have swapped some out.
// Looking spares the holes: reading them would allocate them.
std::vector<bool> pages_to_read(process::HeldProcess& held, std::uint64_t start,
                                std::uint64_t end) {
  const std::size_t pages = (end - start) / base::page_size;
  if (host_swaps()) return std::vector<bool>(pages, true);
  std::vector<bool> wanted(pages, false);
  constexpr std::size_t kPagesPerCall = 32768;
  for (std::size_t first = 0; first < pages; first += kPagesPerCall) {
    const std::size_t count = std::min(kPagesPerCall, pages - first);
    process::Batch batch(*held.agent);
    const base::RemotePtr resident = batch.space(count);
    batch.call(SYS_mincore, {start + first * base::page_size, count * base::page_size, resident},
               "ask which pages are in memory");
    batch.run_and_fetch();
    const auto answer = batch.fetched(resident, count);
    for (std::size_t i = 0; i < count; ++i) {
      wanted[first + i] = (answer[i] & std::byte{1}) != std::byte{0};
    }
  }
  return wanted;
}

void copy_pages(const process::RemoteMemory& memory, std::uint64_t address, std::uint64_t bytes,
                int into, std::uint64_t offset) {
  std::vector<std::byte> buffer(bytes);
  memory.read(base::RemotePtr(address), buffer);
  for (std::uint64_t at = 0; at < bytes; at += base::page_size) {
    const auto page = std::span(buffer).subspan(at, base::page_size);
    if (all_zero(page)) continue;
    if (::pwrite(into, page.data(), page.size(), static_cast<off_t>(offset + at)) !=
        static_cast<ssize_t>(page.size())) {
      base::throw_system("cannot copy shared memory");
    }
  }
}

void copy_area(process::HeldProcess& held, const snapshot::Area& area, int into,
               std::vector<bool>& done) {
  const process::RemoteMemory memory(held.memory_pid());
  const std::vector<bool> wanted = pages_to_read(held, area.start(), area.end());
  const std::uint64_t first = area.offset() / base::page_size;
  if (done.size() < first + wanted.size()) done.resize(first + wanted.size());
  for (std::size_t i = 0; i < wanted.size();) {
    std::size_t end = i;
    while (end < wanted.size() && wanted[end] && !done[first + end] &&
           (end - i) * base::page_size < kChunk) {
      done[first + end++] = true;
    }
    if (end == i) {
      ++i;
      continue;
    }
    copy_pages(memory, area.start() + i * base::page_size, (end - i) * base::page_size, into,
               area.offset() + i * base::page_size);
    i = end;
  }
}

}  // namespace

std::uint64_t shared_memory_id(CaptureState& state, std::uint64_t device, std::uint64_t inode,
                               const std::string& name, bool is_memfd, std::uint64_t size) {
  std::uint64_t& id = state.shared_memories[{device, inode}];
  if (id == 0) {
    snapshot::SharedMemory& memory = *state.model->add_shared_memories();
    id = static_cast<std::uint64_t>(state.model->shared_memories_size());
    memory.set_id(id);
    memory.set_name(name);
    memory.set_is_memfd(is_memfd);
  }
  snapshot::SharedMemory& memory = *state.model->mutable_shared_memories(static_cast<int>(id) - 1);
  memory.set_size(std::max(memory.size(), size));
  return id;
}

void copy_mapped_shared_memories(CaptureState& state) {
  for (snapshot::SharedMemory& memory : *state.model->mutable_shared_memories()) {
    if (has_content(state, memory.id())) continue;
    CaptureState::Content content;
    content.id = memory.id();
    content.shared_memory = true;
    content.size = memory.size();
    content.fd = make_shared_memory(memory);
    std::vector<bool> done;
    for (const snapshot::Process& process : state.model->processes()) {
      for (const snapshot::Area& area : process.areas()) {
        if (area.kind() != snapshot::Area::SHARED_MEMORY || area.shared_memory() != memory.id()) {
          continue;
        }
        for (auto& [pid, held] : state.processes) {
          if (held->seen_pid == process.pid()) copy_area(*held, area, content.fd.get(), done);
        }
      }
    }
    state.contents.push_back(std::move(content));
  }
}

base::UniqueFd make_shared_memory(const snapshot::SharedMemory& memory) {
  const std::string name = memory.is_memfd() ? memory.name() : "shared";
  base::UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(memory.size())) != 0) {
    base::throw_system("cannot make a shared memory of {} bytes", memory.size());
  }
  return fd;
}

}  // namespace torpor::resource
