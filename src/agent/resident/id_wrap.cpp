#include "agent/resident/id_wrap.h"

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/mman.h>

#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {
namespace {

using sys::raw_syscall;

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kLongestPath = 4096;
constexpr std::uint64_t kStructBytes = 128;

std::uint64_t extended(std::int32_t number) {
  return static_cast<std::uint64_t>(std::int64_t{number});
}

bool is_number(Id kind) {
  return kind == Id::kProcess || kind == Id::kThread || kind == Id::kGroup ||
         kind == Id::kSession || kind == Id::kSigned;
}

bool is_path(Id kind) { return kind == Id::kPath || kind == Id::kPathAt; }

// A path as the kernel is to get it. Long ones get memory of their own for the time of the call.
class KernelPath {
 public:
  KernelPath() = default;
  KernelPath(const KernelPath&) = delete;
  KernelPath& operator=(const KernelPath&) = delete;
  ~KernelPath() {
    if (mapped_ != 0) raw_syscall(__NR_munmap, mapped_, 2 * kLongestPath);
  }

  std::uint64_t translate(const IdTable& table, std::int32_t directory, std::uint64_t path) {
    if (path == 0 || text_length(path) < 0) return path;
    const auto* text = reinterpret_cast<const char*>(path);
    if (!may_lead_to_id(text)) return path;
    const Place from = text[0] == '/' ? Place::kRoot : place_of_directory(directory);
    const std::size_t length =
        translate_path(table, Way::kToKernel, from, text, short_, sizeof(short_));
    if (length == 0) return path;
    if (length < sizeof(short_)) return address_of_id(&short_[0]);
    return in_memory_of_its_own(table, from, text, path);
  }

 private:
  std::uint64_t in_memory_of_its_own(const IdTable& table, Place from, const char* text,
                                     std::uint64_t path) {
    const std::int64_t place = raw_syscall(__NR_mmap, 0, 2 * kLongestPath, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0);
    if (place < 0 && place >= -4095) return path;
    mapped_ = static_cast<std::uint64_t>(place);
    translate_path(table, Way::kToKernel, from, text, reinterpret_cast<char*>(mapped_),
                   2 * kLongestPath);
    return mapped_;
  }

  char short_[128];
  std::uint64_t mapped_ = 0;
};

// Is the result of getsockopt(2) the one that is meant, and whole?
bool is_peer(const IdRequest& request) {
  constexpr std::uint32_t kSocketLevel = 1;
  if (static_cast<std::uint32_t>(request.args[1]) != kSocketLevel) return false;
  std::uint32_t length = 0;
  __builtin_memcpy(&length, reinterpret_cast<const void*>(request.args[4]), sizeof(length));
  return length >= 4;
}

void translate_returned(const IdTable& table, const IdCall& row, const IdRequest& request) {
  for (std::size_t i = 0; i < 6; ++i) {
    const Id kind = row.args[i];
    if (!is_returned(kind) || request.args[i] == 0) continue;
    if (kind == Id::kPeer && !is_peer(request)) continue;
    translate_struct(table, Way::kToProgram, kind, reinterpret_cast<void*>(request.args[i]));
  }
}

std::int32_t directory_of(const IdCall& row, const IdRequest& request, std::size_t path) {
  if (row.args[path] == Id::kPath) return kWorkingDirectory;
  return static_cast<std::int32_t>(request.args[path - 1]);
}

}  // namespace

bool can_read(std::uint64_t address, std::uint64_t bytes) {
  constexpr std::uint64_t kNoChange = 99;  // no way to change a mask
  constexpr std::uint64_t kWord = 8;       // aligned, and so all on one page
  if (bytes == 0) return true;
  const std::uint64_t last = (address + bytes - 1) / kPageBytes;
  for (std::uint64_t page = address / kPageBytes; page <= last; ++page) {
    const std::uint64_t at = page * kPageBytes > address ? page * kPageBytes : address;
    if (raw_syscall(__NR_rt_sigprocmask, kNoChange, at / kWord * kWord, 0, 8) == -EFAULT) {
      return false;
    }
  }
  return address + bytes > address;
}

std::int64_t text_length(std::uint64_t address) {
  const auto* text = reinterpret_cast<const char*>(address);
  for (std::uint64_t i = 0; i < kLongestPath; ++i) {
    const bool new_page = i == 0 || (address + i) % kPageBytes == 0;
    if (new_page && !can_read(address + i, 1)) return -1;
    if (text[i] == '\0') return static_cast<std::int64_t>(i);
  }
  return -1;
}

std::int64_t link_of_descriptor(std::int32_t descriptor, char* text, std::uint64_t room) {
  char link[32] = "/proc/self/cwd";
  if (descriptor != kWorkingDirectory) {
    if (descriptor < 0) return -EBADF;
    constexpr std::size_t kPrefix = 14;
    __builtin_memcpy(link, "/proc/self/fd/", kPrefix);
    std::size_t end = kPrefix + 1;
    for (std::int32_t rest = descriptor; rest >= 10; rest /= 10) ++end;
    link[end] = '\0';
    for (std::int32_t rest = descriptor; end > kPrefix; rest /= 10) {
      link[--end] = static_cast<char>('0' + rest % 10);
    }
  }
  return raw_syscall(__NR_readlink, address_of_id(&link[0]), address_of_id(text), room);
}

Place place_of_directory(std::int32_t directory) {
  char path[64];
  const std::int64_t length = link_of_descriptor(directory, path, sizeof(path));
  if (length <= 0 || length == sizeof(path)) return Place::kElsewhere;
  return place_of(path, static_cast<std::size_t>(length));
}

std::int64_t IdCaller::seen(Id kind, std::int64_t result) const {
  if (!is_number(kind) || result <= 0) return result;
  return translate_id(table_, Way::kToProgram, kind, static_cast<std::int32_t>(result));
}

std::int64_t IdCaller::by_columns(const IdCall& row, IdRequest request) {
  const IdRequest given = request;
  alignas(8) char copy[kStructBytes];
  KernelPath paths[2];
  std::size_t path = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    const Id kind = row.args[i];
    std::uint64_t& argument = request.args[i];
    if (is_number(kind)) argument = extended(to_kernel(kind, argument));
    if (kind == Id::kClock) {
      const auto clock = static_cast<std::int32_t>(argument);
      argument = extended(translate_clock(table_, Way::kToKernel, clock));
    }
    if (is_path(kind)) {
      argument = paths[path++].translate(table_, directory_of(row, given, i), argument);
    }
    if (is_given(kind) && argument != 0 && can_read(argument, bytes_of(kind))) {
      __builtin_memcpy(copy, reinterpret_cast<const void*>(argument), bytes_of(kind));
      translate_struct(table_, Way::kToKernel, kind, copy);
      argument = address_of_id(&copy[0]);
    }
  }
  const std::int64_t result = make(request);
  if (result < 0) return result;
  translate_returned(table_, row, given);
  return seen(row.result, result);
}

std::int64_t IdCaller::call(const IdCall& row, const IdRequest& request) {
  switch (row.how) {
    case How::kColumns:
    case How::kExec: return by_columns(row, request);
    case How::kWait: return wait(row, request);
    case How::kExit: return leave(request);
    case How::kSetsid: return start_session(request);
    case How::kEverybody: return signal_everybody(request);
    case How::kOwner: return owner(request);
    case How::kMessages: return message(request);
    case How::kRead: return read_signals(request);
    case How::kListing: return list(request);
    case How::kLink: return read_link(row, request);
    case How::kPriority: return lock_with_priority(request);
    case How::kEvent: return event_message(request);
    case How::kPeek: return peek(request);
    default: return make(request);
  }
}

}  // namespace torpor::agent
