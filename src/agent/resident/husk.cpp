// A husk in the wrapped mode: the resident agent serves in the place where it will stay, and what
// it has built up goes on as what was stopped from inside does (stop.cpp).
#include <asm/unistd.h>
#include <linux/seccomp.h>

#include "agent/resident/checkpoint_thread.h"
#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

std::int64_t make_raw(void* /*data*/, const IdRequest& request) {
  const auto& a = request.args;
  return raw_syscall(request.number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

[[noreturn]] void end_husk() {
  for (;;) raw_syscall(__NR_exit_group, 1);
}

void end_unarmed(Context* /*context*/) { end_husk(); }

// The supervisor gives it all that it goes on with: its registers come through the frame of this
// signal.
[[noreturn]] void park_for_restart() {
  const Resident& own = resident();
  struct {
    SignalInfo info;
    std::byte rest[kInfoBytes - sizeof(SignalInfo)];
  } order{};
  order.info.signal = static_cast<std::int32_t>(own.record.stop_signal);
  order.info.code = kOrderCode;
  order.info.order = {own.record.computation, kRestartStop};
  const auto pid = static_cast<std::uint64_t>(raw_syscall(__NR_getpid));
  const auto tid = static_cast<std::uint64_t>(raw_syscall(__NR_gettid));
  raw_syscall(__NR_rt_tgsigqueueinfo, pid, tid, own.record.stop_signal, address_of(&order));
  const std::uint64_t mask = kAllSignals & ~bit_of(own.record.stop_signal);
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&mask), 0, 8);
  end_husk();  // it does not come back
}

// The context is free: who served with it stands on a stack of its own.
void lead_program(void* dead) {
  if (start_checkpoint_thread(true, end_unarmed) < 0) end_husk();
  if (dead != nullptr) {
    for (;;) raw_syscall(__NR_exit, 0);
  }
  park_for_restart();
}

}  // namespace

void start_husk(const ExecRecord& record) {
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&kAllSignals), 0, 8);
  std::int64_t error = set_up(record);
  if (error >= 0) error = install_filters();
  if (error < 0) end_husk();
  Resident& own = resident();
  own.speaks_as_program = 1;
  own.context.code = kResidentBase;
  own.context.code_bytes = kResidentTextBytes;
  own.context.socket = kHuskSocket;
  own.context.more_functions = reinterpret_cast<std::uint64_t>(resident_function);
  say_hello(&own.context);
  jump_to(reinterpret_cast<std::uint64_t>(serve_entry), &own.context);
  __builtin_unreachable();
}

void become_program(Context* context, const Call& call) {
  Resident& own = resident();
  claim_memory();
  own.speaks_as_program = 0;
  own.process.stop = kRestartStop;
  reply_last(context);
  raw_syscall(__NR_close, static_cast<std::uint64_t>(context->socket));
  go_to_stack(call.args[0], lead_program, reinterpret_cast<void*>(call.args[1]));
}

std::int64_t system_call(std::int64_t number, const std::uint64_t (&args)[6]) {
  const IdRequest request{number, {args[0], args[1], args[2], args[3], args[4], args[5]}};
  if (resident().speaks_as_program == 0) return make_raw(nullptr, request);
  if (number == __NR_rt_sigaction || number == __NR_rseq) {
    Trap trap{number, {args[0], args[1], args[2], args[3], args[4], args[5]}, nullptr};
    return number == __NR_rseq ? wrap_sequences(trap) : wrap_signal_call(trap);
  }
  if (number == __NR_seccomp && args[0] == SECCOMP_SET_MODE_FILTER) {
    return install_own_filter(args[1], args[2]);
  }
  if (const ClockCall* time = find_given_time(request); time != nullptr) {
    return ClockCaller(id_table().clocks, {make_raw, nullptr}).call(*time, request);
  }
  const IdCall* row = has_ids() ? find_id_call(number, args) : nullptr;
  const bool translated = row != nullptr && is_translated(*row) && row->how != How::kFork;
  if (!translated) return make_raw(nullptr, request);
  return IdCaller(id_table(), {make_raw, nullptr}).call(*row, request);
}

// A table says so; without one the kernel does.
void choose_id(clone_args& args, const std::int32_t* id) {
  if (has_ids() || *id == 0) return;
  args.set_tid = address_of(id);
  args.set_tid_size = 1;
}

void take_id(std::int32_t id) {
  if (!has_ids() || id == 0) return;
  const auto current = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  if (raw_syscall(__NR_getpid) == current) claim_memory();
  if (!enter_pair(id_table(), static_cast<std::uint32_t>(id), current)) end_husk();
}

void await_registers(ThreadRecord* /*record*/) { park_for_restart(); }

}  // namespace torpor::agent
