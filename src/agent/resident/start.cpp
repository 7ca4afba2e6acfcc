// The resident agent's own start, by exec.
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kWipeOnFork = 18;  // MADV_WIPEONFORK, Linux 4.14

[[noreturn]] void end(std::uint64_t status) {
  for (;;) raw_syscall(__NR_exit_group, status);
}

bool read_record(const char* text, ExecRecord& record) {
  auto* fields = reinterpret_cast<std::uint64_t*>(&record);
  for (std::size_t i = 0; i < kRecordFields; ++i) {
    if (*text == '\0') return false;
    text = take_hex(text, &fields[i]);
  }
  return *text == '\0';
}

}  // namespace

std::int64_t set_up(const ExecRecord& record) {
  Resident& own = resident();
  own.magic = kResidentMagic;
  own.record = record;
  own.actions[0].handler = (record.ignored & 1) != 0 ? kIgnore : kDefaultAction;
  own.actions[1].handler = (record.ignored & 2) != 0 ? kIgnore : kDefaultAction;
  raw_syscall(__NR_madvise, address_of(&own.process),
              address_of(&own.context) - address_of(&own.process), kWipeOnFork);
  claim_memory();
  install_handlers();
  own.record.own_filters = 0;
  const std::int64_t error = take_own_filters(record.own_filters);
  return error < 0 ? error : map_ids(record);
}

std::int64_t install_filters() {
  std::int64_t error = install_filter();
  if (error >= 0 && has_ids()) error = install_id_filter();
  if (error >= 0 && has_clocks()) error = install_clock_filter();
  resident().record.filters = has_clocks() ? 3 : has_ids() ? 2 : 1;
  return error;
}

namespace {

// The whole state of a new program at once, its signal mask included: nothing may come in between.
[[noreturn]] void start_program(std::uint64_t entry, const std::uint64_t* stack,
                                std::uint64_t mask) {
  constexpr std::uint64_t kNoAlternateStack = 2;
  Frame frame{};
  frame.flags = kStrictSegments;
  frame.stack[1] = kNoAlternateStack;
  frame.rip = entry;
  frame.rsp = address_of(stack);
  frame.eflags = kPlainFlags;
  frame.cs = 0x33;
  frame.ss = 0x2b;
  frame.signal_mask = mask & ~our_signals();
  const std::uint32_t blocked = blocked_bits(mask);
  if (blocked != 0) this_thread().blocked = blocked;
  return_from_signal(&frame);
}

// The beginning of a computation.
[[noreturn]] void run(ExecRecord record, char** arguments, char** environment) {
  constexpr std::uint64_t kCloseOnExec = 1;
  std::uint64_t mask = 0;
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&kAllSignals), address_of(&mask),
              8);
  raw_syscall(__NR_fcntl, record.descriptor, F_SETFD, kCloseOnExec);
  std::int64_t error = set_up(record);
  if (error >= 0) enter_own_ids(record);
  if (error >= 0) error = install_filters();
  if (error >= 0) {
    const Trap none{__NR_execve, {}, nullptr};
    error = execute(none, static_cast<std::uint64_t>(AT_FDCWD), arguments[1],
                    arguments + kOwnArguments, environment, 0, mask);
  }
  const auto told = static_cast<std::int32_t>(-error);
  raw_syscall(__NR_write, record.descriptor, address_of(&told), sizeof(told));
  end(127);
}

}  // namespace

void resident_main(std::uint64_t* stack) {
  constexpr std::uint64_t kNotOurs = 127;
  auto** arguments = reinterpret_cast<char**>(stack + 1);
  const std::uint64_t count = stack[0];
  ExecRecord record{};
  if (count <= kOwnArguments || !read_record(arguments[0], record)) end(kNotOurs);
  if (record.task == kHusk) start_husk(record);
  if (record.task == kRun) run(record, arguments, arguments + count + 1);
  if (set_up(record) < 0) end(kNotOurs);
  const char* name = arguments[1];
  std::uint64_t* program_stack = stack + kOwnArguments;
  *program_stack = count - kOwnArguments;
  const std::int64_t entry = load_program(record.descriptor, name, program_stack);
  raw_syscall(__NR_close, record.descriptor);
  // As the kernel ends a program that fails behind the point of no return.
  if (entry < 0) {
    raw_syscall(__NR_kill, static_cast<std::uint64_t>(raw_syscall(__NR_getpid)), 9);
    end(kNotOurs);
  }
  start_program(static_cast<std::uint64_t>(entry), program_stack, record.signal_mask);
}

}  // namespace torpor::agent
