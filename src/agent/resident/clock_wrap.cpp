#include "agent/resident/clock_wrap.h"

#include <asm/errno.h>
#include <asm/unistd.h>

#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {
namespace {

using sys::raw_syscall;

struct TimerTimes {  // struct itimerspec
  ClockTime interval;
  ClockTime value;
};

template <typename T>
bool read_given(std::uint64_t address, T& value) {
  if (!can_read(address, sizeof(T))) return false;
  __builtin_memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
  return true;
}

bool is_zero(const ClockTime& time) { return time.seconds == 0 && time.nanoseconds == 0; }

// The lines of a file of /proc, of which few are read.
class Lines {
 public:
  explicit Lines(const char* path)
      : file_(raw_syscall(__NR_open, address_of_id(path), 02000000 /* O_CLOEXEC */, 0)) {}
  ~Lines() {
    if (file_ >= 0) raw_syscall(__NR_close, static_cast<std::uint64_t>(file_));
  }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  // The number behind `key` in the next line that begins with it; false: there is none.
  bool find(const char* key, std::int32_t* number) {
    while (next_line()) {
      std::size_t at = 0;
      while (key[at] != '\0' && line_[at] == key[at]) ++at;
      if (key[at] != '\0') continue;
      *number = parse(line_ + at);
      return true;
    }
    return false;
  }

 private:
  static std::int32_t parse(const char* text) {
    while (*text == ' ' || *text == '\t') ++text;
    const bool negative = *text == '-';
    if (negative) ++text;
    std::int32_t number = 0;
    for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + (*text - '0');
    return negative ? -number : number;
  }

  // Longer ones are cut.
  bool next_line() {
    std::size_t length = 0;
    for (char c = 0; next(&c);) {
      if (c == '\n') {
        line_[length] = '\0';
        return true;
      }
      if (length < sizeof(line_) - 1) line_[length++] = c;
    }
    return false;
  }

  bool next(char* c) {
    if (at_ == end_) {
      const std::int64_t got = file_ < 0 ? 0
                                         : raw_syscall(__NR_read, static_cast<std::uint64_t>(file_),
                                                       address_of_id(&room_[0]), sizeof(room_));
      if (got <= 0) return false;
      at_ = 0;
      end_ = static_cast<std::size_t>(got);
    }
    *c = room_[at_++];
    return true;
  }

  std::int64_t file_;
  char room_[256];
  char line_[48];
  std::size_t at_ = 0;
  std::size_t end_ = 0;
};

void append_number(char* text, std::uint32_t number) {
  while (*text != '\0') ++text;
  std::size_t digits = 1;
  for (std::uint32_t rest = number; rest >= 10; rest /= 10) ++digits;
  text[digits] = '\0';
  for (; digits > 0; number /= 10) text[--digits] = static_cast<char>('0' + number % 10);
}

}  // namespace

std::int32_t clock_of_timer(std::int32_t timer) {
  Lines lines("/proc/self/timers");
  std::int32_t number = 0;
  while (lines.find("ID:", &number)) {
    if (number == timer && lines.find("ClockID:", &number)) return number;
  }
  return -1;
}

std::int32_t clock_of_timer_fd(std::int32_t descriptor) {
  if (descriptor < 0) return -1;
  char path[40] = "/proc/self/fdinfo/";
  append_number(path, static_cast<std::uint32_t>(descriptor));
  std::int32_t clock = -1;
  Lines lines(path);
  return lines.find("clockid:", &clock) ? clock : -1;
}

std::int64_t ClockCaller::call(const ClockCall& row, const IdRequest& request) {
  const auto timer = static_cast<std::int32_t>(request.args[0]);
  switch (row.how) {
    case ClockHow::kTold: return tell(row, request);
    case ClockHow::kDeadline: return wait_until(row, request);
    case ClockHow::kTimer: return arm(row, request, clock_of_timer(timer));
    case ClockHow::kTimerFd: return arm(row, request, clock_of_timer_fd(timer));
    case ClockHow::kUptime: return tell_uptime(request);
    case ClockHow::kTicks: return tell_ticks(request);
    default: return make(request);
  }
}

std::int64_t ClockCaller::tell(const ClockCall& row, const IdRequest& request) {
  const std::int64_t result = make(request);
  if (result < 0) return result;
  auto* told = reinterpret_cast<ClockTime*>(request.args[row.time]);
  *told = time_of_program(*told, *offset_of(offsets_, row.clock));
  return result;
}

std::int64_t ClockCaller::wait_until(const ClockCall& row, IdRequest request) {
  ClockTime deadline{};
  if (read_given(request.args[row.time], deadline)) {
    deadline = time_of_host(deadline, *offset_of(offsets_, row.clock));
    request.args[row.time] = address_of_id(&deadline);
  }
  return make(request);
}

// A time of 0 disarms; one that was before the host's beginning is over.
std::int64_t ClockCaller::arm(const ClockCall& row, IdRequest request, std::int32_t clock) {
  const ClockTime* offset = offset_of(offsets_, clock);
  TimerTimes times{};
  if (offset != nullptr && read_given(request.args[row.time], times) && !is_zero(times.value)) {
    times.value = time_of_host(times.value, *offset);
    if (is_zero(times.value)) times.value.nanoseconds = 1;
    request.args[row.time] = address_of_id(&times);
  }
  return make(request);
}

// As the kernel counts it: what has begun is a second.
std::int64_t ClockCaller::tell_uptime(const IdRequest& request) {
  constexpr std::uint64_t kBootTime = 7;
  const std::int64_t result = make(request);
  if (result < 0) return result;
  ClockTime now{};
  raw_syscall(__NR_clock_gettime, kBootTime, address_of_id(&now));
  now = time_of_program(now, offsets_.boottime);
  *reinterpret_cast<std::int64_t*>(request.args[0]) = now.seconds + (now.nanoseconds != 0 ? 1 : 0);
  return result;
}

std::int64_t ClockCaller::tell_ticks(const IdRequest& request) {
  constexpr std::int64_t kTickNs = 10000000;  // USER_HZ
  const std::int64_t result = make(request);
  if (result == -EFAULT) return result;
  return result + offsets_.monotonic.seconds * (kNanoseconds / kTickNs) +
         offsets_.monotonic.nanoseconds / kTickNs;
}

}  // namespace torpor::agent
