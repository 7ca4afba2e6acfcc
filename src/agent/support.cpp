// The few things that a freestanding program has to bring itself.
#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/time_types.h>

#include "agent/agent.h"

namespace torpor::agent {

void copy_bytes(void* destination, const void* source, std::size_t bytes) {
  asm volatile("rep movsb" : "+D"(destination), "+S"(source), "+c"(bytes) : : "memory");
}

std::uint32_t load(const std::uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

void store(std::uint32_t* word, std::uint32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

void futex_wait(const std::uint32_t* word, std::uint32_t while_value, std::int64_t timeout_ns) {
  const __kernel_timespec timeout{timeout_ns / 1000000000, timeout_ns % 1000000000};
  raw_syscall(__NR_futex, address_of(word), FUTEX_WAIT, while_value,
              timeout_ns < 0 ? 0 : address_of(&timeout));
}

void futex_wake(const std::uint32_t* word) {
  raw_syscall(__NR_futex, address_of(word), FUTEX_WAKE, 0x7fffffff);
}

// ppoll, because it is one of the few waits with a timeout that leave the thread's restart block
// alone: the thread may be in the middle of an interrupted nanosleep whose remaining time stands
// there.
bool readable_within(int fd, std::int64_t nanoseconds) {
  struct {
    std::int32_t fd;
    std::int16_t events;
    std::int16_t revents;
  } wait{fd, 1 /* POLLIN */, 0};
  const __kernel_timespec limit{0, nanoseconds};
  return raw_syscall(__NR_ppoll, address_of(&wait), 1, address_of(&limit)) > 0;
}

}  // namespace torpor::agent

// The compiler may call these even in freestanding code.
extern "C" void* memcpy(void* destination, const void* source, std::size_t bytes) {
  torpor::agent::copy_bytes(destination, source, bytes);
  return destination;
}

extern "C" void* memset(void* destination, int value, std::size_t bytes) {
  void* cursor = destination;
  asm volatile("rep stosb" : "+D"(cursor), "+c"(bytes) : "a"(value) : "memory");
  return destination;
}
