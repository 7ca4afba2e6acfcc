#include "process/detour.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "agent/agent_abi.h"
#include "agent/blob.h"
#include "base/error.h"
#include "process/proc_maps.h"
#include "process/remote_memory.h"

namespace torpor::process {
namespace {

using agent::DetourData;

constexpr std::uint64_t kPlainFlags = 0x202;  // interrupts are on (bit 9), bit 1 is always set
constexpr std::uint64_t kNoRestart = ~std::uint64_t{0};  // in orig_rax
constexpr std::uint64_t kAlignment = 64;
constexpr int kStepMs = 30000;  // on a starved machine even a ready thread waits for seconds

constexpr std::int64_t kRestartBlock = -516;  // ERESTART_RESTARTBLOCK
constexpr std::int64_t kRestartFirst = -514;  // ERESTARTNOHAND
constexpr std::int64_t kRestartLast = -512;   // ERESTARTSYS

std::span<const std::byte> detour_bytes() {
  const agent::BlobHeader header = agent::blob_header();
  return agent::agent_blob().subspan(header.detour_begin, header.detour_end - header.detour_begin);
}

std::optional<base::RemotePtr> find_in(pid_t pid, const Mapping& mapping) {
  constexpr std::size_t kMost = 1 << 20;
  std::vector<std::byte> text(std::min<std::size_t>(mapping.size(), kMost));
  try {
    read_memory(pid, base::RemotePtr(mapping.start), text);
  } catch (const base::Error&) {
    return std::nullopt;
  }
  const auto at = syscall_in(text);
  if (!at) return std::nullopt;
  return base::RemotePtr(mapping.start + *at);
}

// How much of the vdso's end is looked at, and how far before it the detour begins.
std::size_t bytes_at_end() {
  return (detour_bytes().size() + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
}

// The same place each time: as far behind as can be.
std::optional<base::RemotePtr> place_in_vdso(pid_t pid, const std::vector<Mapping>& maps) {
  const auto vdso = std::ranges::find(maps, "[vdso]", &Mapping::path);
  if (vdso == maps.end()) return std::nullopt;
  const std::size_t bytes = bytes_at_end();
  if (vdso->size() < bytes) return std::nullopt;
  const base::RemotePtr at(vdso->end - bytes + kAlignment);
  std::vector<std::byte> there(bytes);
  read_memory(pid, base::RemotePtr(vdso->end - bytes), there);
  if (read_value<DetourData>(pid, at).magic == agent::kDetourMagic) return at;
  // Free is what is zero, and a little before it, where something may end with zeros.
  if (std::ranges::any_of(there, [](std::byte b) { return b != std::byte{0}; }))
    return std::nullopt;
  return at;
}

bool is_agent_code(pid_t pid, const Mapping& mapping) {
  if (!mapping.exec || mapping.write || mapping.shared || mapping.inode != 0) return false;
  if (mapping.path.starts_with("[v")) return false;
  return read_value<std::uint64_t>(pid, base::RemotePtr(mapping.start)) == agent::kBlobMagic;
}

// The agent's own thread is one of those, too.
void expect_nobody_in(pid_t pid, std::span<const Tracee> threads, const std::vector<Mapping>& maps,
                      base::RemotePtr detour) {
  for (const Tracee& thread : threads) {
    const std::uint64_t rip = thread.registers().rip;
    const auto mapping = std::ranges::find_if(
        maps, [rip](const Mapping& m) { return m.start <= rip && rip < m.end; });
    const bool inside = rip - detour.address() < detour_bytes().size() ||
                        (mapping != maps.end() && is_agent_code(pid, *mapping));
    if (!inside) continue;
    throw StillLeaving(base::ErrorCode::timeout,
                       fmt::format("thread {} of process {} is still on its way back from a "
                                   "checkpoint that was killed",
                                   thread.tid(), thread.pid()),
                       "try again in a moment; the program was not changed");
  }
}

}  // namespace

Registers able_to_return(Registers registers) {
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (static_cast<std::int64_t>(registers.orig_rax) < 0) return registers;
  if (result == kRestartBlock) {
    registers.rax = SYS_restart_syscall;
    registers.rip -= 2;
  } else if (result >= kRestartFirst && result <= kRestartLast) {
    registers.rax = registers.orig_rax;
    registers.rip -= 2;
  }
  return registers;
}

Registers plain(Registers registers) {
  registers.orig_rax = kNoRestart;
  registers.eflags = kPlainFlags;
  return registers;
}

void erase_detour(std::span<std::byte> vdso) {
  if (vdso.size() < bytes_at_end()) return;
  const auto place = vdso.last(bytes_at_end() - kAlignment).first(detour_bytes().size());
  std::uint64_t magic = 0;
  std::memcpy(&magic, place.data(), sizeof(magic));
  if (magic == agent::kDetourMagic) std::ranges::fill(place, std::byte{0});
}

Detour Detour::enter(pid_t memory_pid, std::span<const Tracee> threads) {
  const std::vector<Mapping> maps = read_maps(memory_pid);
  const auto place = place_in_vdso(memory_pid, maps);
  expect_nobody_in(memory_pid, threads, maps, place.value_or(base::RemotePtr()));
  if (!place) return bare(find_syscall_instruction(memory_pid));
  auto data = read_value<DetourData>(memory_pid, *place);
  const std::uint64_t users = data.magic == agent::kDetourMagic ? data.users : 0;
  try {
    write_memory(memory_pid, *place, detour_bytes());
    write_value(memory_pid, *place + offsetof(DetourData, users), users + 1);
  } catch (const base::Error&) {  // forbidden on this host (proc_mem.force_override)
    return bare(find_syscall_instruction(memory_pid));
  }
  return {memory_pid, *place, true};
}

base::RemotePtr Detour::entry(std::uint64_t offset_in_blob) const {
  return at_ + (offset_in_blob - agent::blob_header().detour_begin);
}

base::RemotePtr Detour::call_entry() const {
  return leads_back_ ? entry(agent::blob_header().detour_call) : at_;
}

base::RemotePtr Detour::back_entry() const {
  return leads_back_ ? entry(agent::blob_header().detour_back) : base::RemotePtr();
}

base::RemotePtr Detour::end_thread_entry() const {
  return leads_back_ ? entry(agent::blob_header().detour_end_thread) : base::RemotePtr();
}

void Detour::prepare(const Registers& back, std::uint64_t mask, Unmap unmap) const {
  if (!leads_back_) return;
  auto data = read_value<DetourData>(pid_, at_);
  data.unmap_start = unmap.start;
  data.unmap_bytes = unmap.bytes;
  data.saved_mask = mask;
  const Registers registers = able_to_return(back);
  static_assert(sizeof(registers) == sizeof(data.saved_registers));
  std::memcpy(&data.saved_registers, &registers, sizeof(registers));
  write_value(pid_, at_, data);
}

void Detour::leave() const {
  if (!leads_back_) return;
  const auto users = read_value<DetourData>(pid_, at_).users;
  if (users > 1) {
    write_value(pid_, at_ + offsetof(DetourData, users), users - 1);
  } else {
    write_memory(pid_, at_, std::vector<std::byte>(detour_bytes().size()));
  }
}

// ------------------------------------------------------------------------------- threads

BorrowedThread::BorrowedThread(Tracee& thread, const Detour& detour, Detour::Unmap unmap)
    : thread_(thread),
      detour_(detour),
      unmap_(unmap),
      own_(thread.registers()),
      mask_(thread.signal_mask()) {}

BorrowedThread::~BorrowedThread() {
  try {
    give_back();
  } catch (const base::Error&) {
    // It was killed.
  }
}

// From where it is sent it finds its way back alone, so that comes before the mask.
void BorrowedThread::set(const Registers& registers) {
  if (!held_) detour_.prepare(own_, mask_, unmap_);
  thread_.set_registers(registers);
  if (!held_) thread_.set_signal_mask(kAllSignals);
  held_ = true;
}

std::int64_t BorrowedThread::finish(const Registers& registers) {
  set(registers);
  thread_.make_call(kStepMs);
  const auto result = static_cast<std::int64_t>(thread_.registers().rax);
  // Without a way back: in place before the thread leaves the call, so that it returns straight to
  // where the program was.
  if (!detour_.leads_back()) thread_.set_registers(own_);
  thread_.finish_call();
  if (!detour_.leads_back()) give_back();
  return result;
}

std::int64_t BorrowedThread::call(std::int64_t number, std::span<const std::uint64_t> arguments) {
  Registers registers = plain(own_);
  registers.rip = detour_.call_entry().address();
  registers.rax = static_cast<std::uint64_t>(number);
  const std::array<unsigned long long*, 6> slots{&registers.rdi, &registers.rsi, &registers.rdx,
                                                 &registers.r10, &registers.r8,  &registers.r9};
  for (std::size_t i = 0; i < arguments.size() && i < slots.size(); ++i) *slots[i] = arguments[i];
  return finish(registers);
}

std::int64_t BorrowedThread::unmap() {
  if (!detour_.leads_back()) {
    const std::array<std::uint64_t, 2> range{unmap_.start, unmap_.bytes};
    return call(SYS_munmap, range);
  }
  Registers registers = plain(own_);
  registers.rip = detour_.back_entry().address();
  return finish(registers);
}

void BorrowedThread::set_unmap(Detour::Unmap unmap) {
  unmap_ = unmap;
  if (held_) detour_.prepare(own_, mask_, unmap_);
}

void BorrowedThread::send(base::RemotePtr to, std::uint64_t argument) {
  Registers registers = plain(own_);
  registers.rip = to.address();
  registers.rdi = argument;
  set(registers);
  thread_.resume();
}

void BorrowedThread::give_back() {
  if (!held_) return;
  held_ = false;
  thread_.set_signal_mask(mask_);
  thread_.set_registers(own_);
}

std::optional<std::size_t> syscall_in(std::span<const std::byte> text) {
  constexpr std::array<std::byte, 2> kSyscall{std::byte{0x0f}, std::byte{0x05}};
  const auto found = std::search(text.begin(), text.end(), kSyscall.begin(), kSyscall.end());
  if (found == text.end()) return std::nullopt;
  return static_cast<std::size_t>(found - text.begin());
}

base::RemotePtr find_syscall_instruction(pid_t pid, std::uint64_t not_from, std::uint64_t not_to) {
  std::vector<Mapping> maps = read_maps(pid);
  std::stable_partition(maps.begin(), maps.end(),
                        [](const Mapping& m) { return m.path == "[vdso]"; });
  for (const Mapping& mapping : maps) {
    if (!mapping.exec || mapping.path == "[vsyscall]") continue;
    if (mapping.start >= not_from && mapping.start < not_to) continue;
    if (const auto found = find_in(pid, mapping)) return *found;
  }
  throw base::Error(
      base::ErrorCode::refused,
      fmt::format("process {} has no system call instruction that could be borrowed", pid));
}

std::int64_t borrow_thread(Tracee& thread, base::RemotePtr syscall_instruction, std::int64_t number,
                           std::span<const std::uint64_t> arguments) {
  return BorrowedThread(thread, Detour::bare(syscall_instruction)).call(number, arguments);
}

}  // namespace torpor::process
