// Classic BPF as far as seccomp(2) admits it: Documentation/userspace-api/seccomp_filter.rst and
// networking/filter.rst of the kernel.
#include "agent/resident/own_filters.h"

namespace torpor::agent {
namespace {

struct Machine {
  std::uint32_t a = 0;
  std::uint32_t x = 0;
  std::uint32_t memory[BPF_MEMWORDS]{};
};

std::uint32_t word_of(const seccomp_data& call, std::uint32_t offset) {
  if (offset > sizeof(call) - sizeof(std::uint32_t)) return 0;
  return *reinterpret_cast<const std::uint32_t*>(reinterpret_cast<const char*>(&call) + offset);
}

std::uint32_t loaded(const Machine& machine, const sock_filter& code, const seccomp_data& call) {
  switch (BPF_MODE(code.code)) {
    case BPF_ABS: return word_of(call, code.k);
    case BPF_LEN: return sizeof(call);
    case BPF_MEM: return machine.memory[code.k % BPF_MEMWORDS];
    default: return code.k;
  }
}

std::uint32_t computed(std::uint32_t a, std::uint16_t operation, std::uint32_t value) {
  constexpr std::uint32_t kShifts = 31;
  switch (operation) {
    case BPF_ADD: return a + value;
    case BPF_SUB: return a - value;
    case BPF_MUL: return a * value;
    case BPF_DIV: return a / value;
    case BPF_OR: return a | value;
    case BPF_AND: return a & value;
    case BPF_XOR: return a ^ value;
    case BPF_LSH: return a << (value & kShifts);
    case BPF_RSH: return a >> (value & kShifts);
    default: return 0 - a;  // BPF_NEG
  }
}

bool holds(std::uint32_t a, std::uint16_t test, std::uint32_t value) {
  switch (test) {
    case BPF_JEQ: return a == value;
    case BPF_JGT: return a > value;
    case BPF_JGE: return a >= value;
    default: return (a & value) != 0;  // BPF_JSET
  }
}

void move(Machine& machine, const sock_filter& code) {
  if (BPF_MISCOP(code.code) == BPF_TAX) {
    machine.x = machine.a;
  } else {
    machine.a = machine.x;
  }
}

// How many instructions are passed over.
std::uint32_t jump(const Machine& machine, const sock_filter& code, std::uint32_t value) {
  if (BPF_OP(code.code) == BPF_JA) return code.k;
  return holds(machine.a, BPF_OP(code.code), value) ? code.jt : code.jf;
}

std::int32_t restriction(std::uint32_t answer) {
  return static_cast<std::int32_t>(answer & SECCOMP_RET_ACTION_FULL);
}

}  // namespace

std::uint32_t run_filter(const sock_filter* code, std::uint32_t length, const seccomp_data& call) {
  Machine machine;
  for (std::uint32_t at = 0; at < length; ++at) {
    const sock_filter& now = code[at];
    const std::uint32_t value = BPF_SRC(now.code) == BPF_X ? machine.x : now.k;
    switch (BPF_CLASS(now.code)) {
      case BPF_LD: machine.a = loaded(machine, now, call); break;
      case BPF_LDX: machine.x = loaded(machine, now, call); break;
      case BPF_ST: machine.memory[now.k % BPF_MEMWORDS] = machine.a; break;
      case BPF_STX: machine.memory[now.k % BPF_MEMWORDS] = machine.x; break;
      case BPF_ALU:
        if (BPF_OP(now.code) == BPF_DIV && value == 0) return SECCOMP_RET_KILL_THREAD;
        machine.a = computed(machine.a, BPF_OP(now.code), value);
        break;
      case BPF_JMP: at += jump(machine, now, value); break;
      case BPF_RET: return BPF_RVAL(now.code) == BPF_A ? machine.a : now.k;
      default: move(machine, now); break;
    }
  }
  return SECCOMP_RET_KILL_THREAD;
}

std::uint32_t run_filters(const OwnFilters& filters, const seccomp_data& call) {
  std::uint32_t strictest = SECCOMP_RET_ALLOW;
  for (std::uint32_t i = __atomic_load_n(&filters.count, __ATOMIC_ACQUIRE); i > 0; --i) {
    const OwnFilter& filter = filters.filters[i - 1];
    const std::uint32_t answer = run_filter(filters.code + filter.first, filter.length, call);
    if (restriction(answer) < restriction(strictest)) strictest = answer;
  }
  return strictest;
}

}  // namespace torpor::agent
