// Children of a program that knows its own ids for them: each has its pair before it runs.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "agent/resident/ids.h"

namespace torpor::agent {

// A child that shares our memory, on its own stack: what it needs to become what the program asked
// for.
struct Birth {
  std::uint32_t ticket;
  std::uint32_t* is_there;  // futex of the parent's
  std::uint64_t flags, parent_word, child_word;
  Frame frame;
};

namespace {

constexpr std::uint64_t kRedZone = 128;
constexpr std::uint64_t kChildSignal = 17;
constexpr std::uint64_t kWordFlags =
    CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_SETTLS | CLONE_PIDFD;

bool failed(std::int64_t result) { return result < 0 && result >= -4095; }

void write_word(std::uint64_t address, std::uint32_t id) {
  if (address != 0 && can_read(address, 4)) *reinterpret_cast<std::uint32_t*>(address) = id;
}

// Words that the kernel has written, with its own id.
void write_words(std::uint64_t flags, std::uint64_t parent_word, std::uint64_t child_word,
                 std::uint32_t id) {
  const bool is_id = (flags & CLONE_PARENT_SETTID) != 0 && (flags & CLONE_PIDFD) == 0;
  if (is_id) write_word(parent_word, id);
  if ((flags & CLONE_CHILD_SETTID) != 0) write_word(child_word, id);
}

// How much extended state the kernel has put behind the registers (struct _fpx_sw_bytes).
std::uint64_t extended_bytes(const Frame& frame) {
  constexpr std::uint64_t kLegacy = 512;
  constexpr std::uint32_t kMagic = 0x46505853;
  if (frame.extended == 0) return 0;
  std::uint32_t words[2];
  copy_bytes(words, reinterpret_cast<const void*>(frame.extended + 464), sizeof(words));
  return words[0] == kMagic ? words[1] : kLegacy;
}

// Our frame again, below the child's stack.
Birth* lay_out(const Frame& frame, std::uint64_t stack, std::uint64_t flags) {
  constexpr std::uint64_t kNoAlternateStack = 2;
  const std::uint64_t bytes = extended_bytes(frame);
  const std::uint64_t extended = (stack - kRedZone - bytes) / 64 * 64;
  auto* birth = reinterpret_cast<Birth*>((extended - sizeof(Birth)) / 16 * 16);
  copy_bytes(&birth->frame, &frame, sizeof(frame));
  copy_bytes(reinterpret_cast<void*>(extended), reinterpret_cast<const void*>(frame.extended),
             bytes);
  birth->frame.extended = bytes == 0 ? 0 : extended;
  birth->frame.rsp = stack;
  birth->frame.rax = 0;
  if ((flags & CLONE_VFORK) == 0) {
    birth->frame.stack[0] = 0;
    birth->frame.stack[1] = kNoAlternateStack;
    birth->frame.stack[2] = 0;
  }
  return birth;
}

// It may have been killed on the way.
void wait_until_there(const std::uint32_t* is_there, std::int64_t child) {
  constexpr std::int64_t kLook = 100000000;
  while (load(is_there) == 0) {
    futex_wait(is_there, 0, kLook);
    if (raw_syscall(__NR_kill, static_cast<std::uint64_t>(child), 0) == -ESRCH) return;
  }
}

std::uint32_t adopt(std::uint32_t current, std::uint32_t ticket) {
  IdTable& table = id_table();
  if (is_time_to_sweep(table)) sweep_ids(table, id_is_used);
  return adopt_child(table, current, ticket, id_is_used);
}

std::int64_t bear_sharing_memory(const Trap& trap) {
  const auto& a = trap.args;
  const std::uint64_t flags = a[0];
  std::uint32_t is_there = 0;
  Birth* birth = lay_out(*trap.frame, a[1], flags);
  birth->ticket = draw_ticket(id_table());
  birth->is_there = &is_there;
  birth->flags = flags;
  birth->parent_word = a[2];
  birth->child_word = a[3];
  const std::uint32_t ticket = birth->ticket;
  const std::int64_t child = clone_from_trap(flags, birth, a[2], a[3], a[4]);
  if (child < 0) return child;
  if ((flags & CLONE_VFORK) == 0) wait_until_there(&is_there, child);
  return adopt(static_cast<std::uint32_t>(child), ticket);
}

// The child goes on where the program stands, on the same stack, and destroys what is below: our
// frames. Neither it nor we need them until it is done.
std::int64_t bear_on_our_stack(const Trap& trap) {
  constexpr std::uint64_t kForChild = 0x10000;
  const Frame& frame = *trap.frame;
  const std::uint64_t flags =
      trap.number == __NR_vfork ? CLONE_VM | CLONE_VFORK | kChildSignal : trap.args[0];
  const std::uint64_t behind_registers = address_of(trap.frame + 1) + sizeof(SignalInfo);
  const std::uint64_t behind_extended = frame.extended + extended_bytes(frame);
  const std::uint64_t end = behind_extended > behind_registers ? behind_extended : behind_registers;
  const std::uint64_t bytes = (end - address_of(&end) + 2 * kPage + kForChild) / kPage * kPage;
  const std::int64_t place = raw_syscall(__NR_mmap, 0, bytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0);
  if (failed(place)) return -ENOMEM;
  const auto room = static_cast<std::uint64_t>(place);
  Birth* birth = lay_out(frame, room + bytes, flags);
  birth->frame.rsp = frame.rsp;
  birth->ticket = draw_ticket(id_table());
  birth->flags = flags & ~kWordFlags;
  const std::uint32_t ticket = birth->ticket;
  const std::int64_t child =
      vfork_from_trap(flags & ~kWordFlags, birth, end, reinterpret_cast<void*>(room));
  raw_syscall(__NR_munmap, room, bytes);
  return failed(child) ? child : adopt(static_cast<std::uint32_t>(child), ticket);
}

// With a copy of our memory.
std::int64_t bear_copy(Trap& trap) {
  const bool has_flags = trap.number == __NR_clone;
  const std::uint64_t flags = has_flags ? trap.args[0] : 0;
  const std::uint32_t ticket = draw_ticket(id_table());
  const std::int64_t child = wrap_fork(trap);
  if (child < 0) return child;
  if (child == 0) {
    const std::uint32_t id = adopt_self(ticket);
    write_words(flags & ~std::uint64_t{CLONE_PARENT_SETTID}, 0, trap.args[3], id);
    return 0;
  }
  const std::uint32_t id = adopt(static_cast<std::uint32_t>(child), ticket);
  write_words(flags & ~std::uint64_t{CLONE_CHILD_SETTID}, trap.args[2], 0, id);
  return id;
}

}  // namespace

bool id_is_used(std::uint32_t current) {
  const std::uint64_t group = ~std::uint64_t{current} + 1;
  return raw_syscall(__NR_kill, current, 0) != -ESRCH || raw_syscall(__NR_kill, group, 0) != -ESRCH;
}

std::uint32_t adopt_self(std::uint32_t ticket) {
  return adopt_child(id_table(), static_cast<std::uint32_t>(raw_syscall(__NR_gettid)), ticket,
                     id_is_used);
}

void child_of_trap(Birth* birth) {
  const std::uint32_t id = adopt_self(birth->ticket);
  write_words(birth->flags, birth->parent_word, birth->child_word, id);
  if ((birth->flags & CLONE_VFORK) == 0) {
    store(birth->is_there, 1);
    futex_wake(birth->is_there);
  }
  return_from_signal(&birth->frame);
}

std::int64_t wrap_birth(Trap& trap) {
  if (trap.number == __NR_vfork) return bear_on_our_stack(trap);
  const std::uint64_t flags = trap.number == __NR_clone ? trap.args[0] : 0;
  if ((flags & CLONE_VM) == 0) return bear_copy(trap);
  if (trap.args[1] != 0) return bear_sharing_memory(trap);
  return (flags & CLONE_VFORK) != 0 ? bear_on_our_stack(trap) : -EINVAL;
}

}  // namespace torpor::agent
