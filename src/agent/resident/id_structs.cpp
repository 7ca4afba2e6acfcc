#include "agent/resident/id_structs.h"

#include <linux/capability.h>
#include <linux/fcntl.h>

#include <type_traits>

namespace torpor::agent {
namespace {

// Layouts: include/uapi/asm-generic/siginfo.h, shmbuf.h, msgbuf.h, fcntl.h; linux/pidfd.h,
// signalfd.h.
constexpr std::uint32_t kInfoBytes = 128;
constexpr std::uint32_t kInfoSignal = 0;
constexpr std::uint32_t kInfoCode = 8;
constexpr std::uint32_t kInfoPid = 16;
constexpr std::uint32_t kEventNotify = 12;
constexpr std::uint32_t kEventThread = 16;
constexpr std::uint32_t kEventBytes = 64;
constexpr std::uint32_t kLockBytes = 32;
constexpr std::uint32_t kLockPid = 24;
constexpr std::uint32_t kSegmentCreator = 80;
constexpr std::uint32_t kQueueSender = 96;
constexpr std::uint32_t kCapabilityPid = 4;
constexpr std::uint32_t kRecordPid = 12;
constexpr std::uint32_t kRecordCode = 8;

template <typename T>
T get(const void* place, std::uint32_t offset) {
  T value{};
  __builtin_memcpy(&value, static_cast<const char*>(place) + offset, sizeof(T));
  return value;
}

template <typename T>
void put(void* place, std::uint32_t offset, T value) {
  __builtin_memcpy(static_cast<char*>(place) + offset, &value, sizeof(T));
}

void translate_at(const IdTable& table, Way way, Id kind, void* place, std::uint32_t offset) {
  put(place, offset, translate_id(table, way, kind, get<std::int32_t>(place, offset)));
}

std::int32_t translate_positive(const IdTable& table, Way way, std::int32_t id) {
  const auto number = static_cast<std::uint32_t>(id);
  return static_cast<std::int32_t>(way == Way::kToKernel ? current_of(table, number)
                                                         : original_of(table, number));
}

// What a tracer is told of a stop that no signal made (ptrace_notify()): names who has stopped.
bool is_stop_of_tracee(std::int32_t signal, std::int32_t code) {
  constexpr std::int32_t kTrap = 5;
  constexpr std::int32_t kFirstEvent = 0x100;
  return (code & 0x7f) == signal && (signal == kTrap || code >= kFirstEvent);
}

// Does a signal's code say that a process sent it, or that a child has changed?
bool names_process(std::int32_t signal, std::int32_t code) {
  constexpr std::int32_t kChildSignal = 17;
  constexpr std::int32_t kFromKernel = 0x80;
  constexpr std::int32_t kTimer = -2;
  constexpr std::int32_t kInputOutput = -5;
  if (code == kTimer || code == kInputOutput || code == kFromKernel) return false;
  return code <= 0 || (signal == kChildSignal && code < kFromKernel) ||
         is_stop_of_tracee(signal, code);
}

void translate_event(const IdTable& table, Way way, void* event) {
  constexpr std::int32_t kToThread = 4;  // SIGEV_THREAD_ID
  if ((get<std::int32_t>(event, kEventNotify) & kToThread) == 0) return;
  translate_at(table, way, Id::kThread, event, kEventThread);
}

// What is locked by nobody names nobody: there the kernel leaves what the program has written.
void translate_lock(const IdTable& table, Way way, void* lock) {
  if (get<std::int16_t>(lock, 0) == F_UNLCK) return;
  translate_at(table, way, Id::kProcess, lock, kLockPid);
}

void translate_owner(const IdTable& table, Way way, void* owner) {
  translate_at(table, way, Id::kProcess, owner, 4);
}

// struct pidfd_info: which fields there are is in `mask`; all four are in its first version.
void translate_pidfd_info(const IdTable& table, Way way, void* info) {
  constexpr std::uint64_t kHasPid = 1;
  if ((get<std::uint64_t>(info, 0) & kHasPid) == 0) return;
  for (std::uint32_t offset = 16; offset < 28; offset += 4) {
    translate_at(table, way, Id::kProcess, info, offset);
  }
}

void translate_two(const IdTable& table, Way way, void* place, std::uint32_t offset) {
  translate_at(table, way, Id::kProcess, place, offset);
  translate_at(table, way, Id::kProcess, place, offset + 4);
}

}  // namespace

std::int32_t translate_id(const IdTable& table, Way way, Id kind, std::int32_t id) {
  if (id > 0) return translate_positive(table, way, id);
  if (kind != Id::kSigned || id >= -1 || id < -static_cast<std::int32_t>(kNobody)) return id;
  const std::int32_t group = translate_positive(table, way, -id);
  return -group;
}

std::int32_t translate_clock(const IdTable& table, Way way, std::int32_t clock) {
  constexpr std::int32_t kKind = 7;
  constexpr std::int32_t kOfDescriptor = 3;  // in the lower two bits
  if (clock >= 0 || (clock & 3) == kOfDescriptor) return clock;
  const std::int32_t id = ~(clock >> 3);
  // As many bits as there are: nobody stays nobody.
  constexpr std::uint32_t kHighest = 0x0fffffff;
  auto other = static_cast<std::uint32_t>(translate_id(table, way, Id::kThread, id));
  if (other > kHighest) other = kHighest;
  const std::uint32_t shifted = ~other << 3;
  return static_cast<std::int32_t>(shifted | static_cast<std::uint32_t>(clock & kKind));
}

std::uint32_t bytes_of(Id kind) {
  switch (kind) {
    case Id::kInfoIn:
    case Id::kInfoOut: return kInfoBytes;
    case Id::kEventIn: return kEventBytes;
    case Id::kWordIn:
    case Id::kWordOut: return 4;
    case Id::kOwnerIn:
    case Id::kOwnerOut:
    case Id::kCapability: return 8;
    case Id::kLockOut: return kLockBytes;
    case Id::kSegmentOut: return kSegmentCreator + 8;
    case Id::kQueueOut: return kQueueSender + 8;
    case Id::kPeer: return 4;
    case Id::kPidfdInfo: return 28;
    default: return 0;
  }
}

bool is_given(Id kind) {
  return kind == Id::kInfoIn || kind == Id::kEventIn || kind == Id::kWordIn ||
         kind == Id::kOwnerIn || kind == Id::kCapability;
}

bool is_returned(Id kind) { return bytes_of(kind) != 0 && !is_given(kind); }

void translate_struct(const IdTable& table, Way way, Id kind, void* place) {
  switch (kind) {
    case Id::kInfoIn:
    case Id::kInfoOut: return translate_info(table, way, place);
    case Id::kEventIn: return translate_event(table, way, place);
    case Id::kWordIn:
    case Id::kWordOut: return translate_at(table, way, Id::kSigned, place, 0);
    case Id::kOwnerIn:
    case Id::kOwnerOut: return translate_owner(table, way, place);
    case Id::kCapability: return translate_at(table, way, Id::kProcess, place, kCapabilityPid);
    case Id::kLockOut: return translate_lock(table, way, place);
    case Id::kSegmentOut: return translate_two(table, way, place, kSegmentCreator);
    case Id::kQueueOut: return translate_two(table, way, place, kQueueSender);
    case Id::kPeer: return translate_at(table, way, Id::kProcess, place, 0);
    case Id::kPidfdInfo: return translate_pidfd_info(table, way, place);
    default: return;
  }
}

void translate_info(const IdTable& table, Way way, void* info) {
  const auto signal = get<std::int32_t>(info, kInfoSignal);
  if (!names_process(signal, get<std::int32_t>(info, kInfoCode))) return;
  translate_at(table, way, Id::kProcess, info, kInfoPid);
}

void translate_signal_record(const IdTable& table, void* record) {
  const auto signal = get<std::int32_t>(record, 0);
  if (!names_process(signal, get<std::int32_t>(record, kRecordCode))) return;
  translate_at(table, Way::kToProgram, Id::kProcess, record, kRecordPid);
}

void translate_control(const IdTable& table, Way way, void* control, std::uint64_t bytes) {
  constexpr std::uint64_t kHeader = 16;  // struct cmsghdr: length, level, type
  constexpr std::int32_t kSocketLevel = 1;
  constexpr std::int32_t kCredentials = 2;
  constexpr std::uint64_t kCredentialBytes = 12;
  auto* at = static_cast<char*>(control);
  while (bytes >= kHeader) {
    const auto length = get<std::uint64_t>(at, 0);
    if (length < kHeader || length > bytes) return;
    const bool ours = get<std::int32_t>(at, 8) == kSocketLevel &&
                      get<std::int32_t>(at, 12) == kCredentials &&
                      length >= kHeader + kCredentialBytes;
    if (ours) translate_at(table, way, Id::kProcess, at, kHeader);
    const std::uint64_t step = (length + 7) / 8 * 8;
    if (step >= bytes) return;
    at += step;
    bytes -= step;
  }
}

}  // namespace torpor::agent
