#include "agent/resident/clocks.h"

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/mman.h>

#include "agent/arch/x86_64/offsets.h"
#include "agent/resident/clock_vdso.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kStackLooked =
    512;  // what the vdso's functions have on the stack, and more

struct ClockFrame {  // clock.S
  std::uint64_t mark, clock, place, rbx, rbp, r12, r13, r14, r15;
};
static_assert(sizeof(ClockFrame) == 72);

ClockStub& stub() { return *reinterpret_cast<ClockStub*>(kClockStub); }
bool in_stub(std::uint64_t address) { return address - kClockStub < sizeof(ClockStub::code); }

std::uint64_t protect(std::uint64_t start, std::uint64_t bytes, std::uint64_t protection) {
  return static_cast<std::uint64_t>(raw_syscall(__NR_mprotect, start, bytes, protection));
}

// A husk may have one from its parent.
std::int64_t map_stub(const ClockStub& plan) {
  const std::int64_t place =
      raw_syscall(__NR_mmap, kClockStub, kPage, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~std::uint64_t{0}, 0);
  if (static_cast<std::uint64_t>(place) != kClockStub) return -ENOMEM;
  copy_bytes(&stub(), &plan, sizeof(plan));
  if (plan.count == 0) put_jump(stub().code, address_of(&clock_by_call[0]));
  return static_cast<std::int64_t>(protect(kClockStub, kPage, PROT_READ | PROT_EXEC));
}

std::int64_t patch(const ClockStub& plan, std::uint64_t vdso, std::uint64_t bytes) {
  const auto opened =
      static_cast<std::int64_t>(protect(vdso, bytes, PROT_READ | PROT_WRITE | PROT_EXEC));
  if (opened < 0) return opened;
  put_jump(reinterpret_cast<std::uint8_t*>(plan.entry), address_of(&clock_begin[0]));
  return static_cast<std::int64_t>(protect(vdso, bytes, PROT_READ | PROT_EXEC));
}

void restart_call(Frame& frame) { frame.rip = resident().clock_function; }

void restart_call(Frame& frame, ClockFrame& called) {
  frame.rdi = called.clock, frame.rsi = called.place;
  frame.rbx = called.rbx, frame.rbp = called.rbp;
  frame.r12 = called.r12, frame.r13 = called.r13, frame.r14 = called.r14, frame.r15 = called.r15;
  frame.rsp = address_of(&called + 1);
  called.mark = 0;
  restart_call(frame);
}

// On the stack of what clock_begin has called.
ClockFrame* find_call(const Frame& frame) {
  std::uint64_t readable = 0;  // the end of it
  for (std::uint64_t at = (frame.rsp + 7) & ~std::uint64_t{7}; at < frame.rsp + kStackLooked;
       at += 8) {
    const std::uint64_t end = at + 16;
    if (end > readable) {
      if (!can_read(at, 16)) return nullptr;
      readable = (end + kPage - 1) & ~(kPage - 1);
    }
    const auto* words = reinterpret_cast<const std::uint64_t*>(at);
    if (words[0] != address_of(&clock_return[0]) || words[1] != (CLOCK_MARK ^ (at + 8))) continue;
    return reinterpret_cast<ClockFrame*>(at + 8);
  }
  return nullptr;
}

void return_from_call(Frame& frame) {
  frame.rip = *reinterpret_cast<const std::uint64_t*>(frame.rsp);
  frame.rsp += 8;
}

void leave_own_code(Frame& frame) {
  const std::uint64_t at = frame.rip;
  if (at == address_of(&clock_done[0])) return return_from_call(frame);
  if (at >= address_of(&clock_framed[0]) && at < address_of(&clock_return[0])) {
    frame.rsp += sizeof(ClockFrame);
  } else if (at >= address_of(&clock_return[0]) && at < address_of(&clock_done[0])) {
    return restart_call(frame, *reinterpret_cast<ClockFrame*>(frame.rsp));
  } else if (at >= address_of(&clock_by_call[0])) {
    if (ClockFrame* called = find_call(frame); called != nullptr) {
      return restart_call(frame, *called);
    }
    if (at == address_of(&clock_called[0])) return return_from_call(frame);
  }
  restart_call(frame);
}

std::int64_t make_onward(void* data, const IdRequest& request) {
  return make_with_ids(*static_cast<Frame*>(data), request);
}

// What the vdso could not tell without the kernel is told to clock_begin.
bool comes_back_to_us(const Trap& trap, const ClockCall& row) {
  constexpr std::uint32_t kOurs = 0xd2;  // clock.S
  return resident().clock_function != 0 && row.how == ClockHow::kTold && row.clock < 8 &&
         (kOurs >> row.clock & 1U) != 0 && in_vdso(trap.frame->rip);
}

}  // namespace

std::int64_t use_vdso(std::uint64_t vdso) {
  Resident& own = resident();
  const auto* content = reinterpret_cast<const std::uint8_t*>(vdso);
  own.vdso = vdso;
  own.vdso_bytes = vdso_bytes(content);
  if (!has_clocks()) return 0;
  ClockStub plan{};
  if (!plan_clock_stub(content, own.vdso_bytes, vdso, plan)) return 0;
  const std::int64_t mapped = map_stub(plan);
  if (mapped < 0) return mapped;
  own.clock_function = plan.entry;
  copy_bytes(own.clock_head, plan.head, sizeof(plan.head));
  return patch(plan, vdso, own.vdso_bytes);
}

bool in_vdso(std::uint64_t address) { return address - resident().vdso < resident().vdso_bytes; }

std::int64_t wrap_clock(Trap& trap, const ClockCall& row) {
  const auto& a = trap.args;
  const IdRequest request{trap.number, {a[0], a[1], a[2], a[3], a[4], a[5]}};
  if (comes_back_to_us(trap, row)) return make_onward(trap.frame, request);
  const std::int64_t result =
      ClockCaller(id_table().clocks, {make_onward, trap.frame}).call(row, request);
  if (result == kMakeItAgain) make_again(trap);
  return result;
}

const ClockCall* find_given_time(const IdRequest& request) {
  if (!has_clocks()) return nullptr;
  const ClockCall* row = find_clock_call(request.number, request.args);
  const bool given =
      row != nullptr && (row->how == ClockHow::kDeadline || row->how == ClockHow::kTimer ||
                         row->how == ClockHow::kTimerFd);
  return given ? row : nullptr;
}

void leave_clock(Frame& frame) {
  if (resident().clock_function == 0) return;
  const std::uint64_t at = frame.rip;
  if (at >= address_of(&clock_begin[0]) && at < address_of(&clock_over[0])) {
    return leave_own_code(frame);
  }
  if (!in_stub(at) && !in_vdso(at)) return;
  if (ClockFrame* called = find_call(frame); called != nullptr) {
    restart_call(frame, *called);
  } else if (in_stub(at)) {
    frame.rip = place_in_function(stub(), at - kClockStub);
  }
}

}  // namespace torpor::agent
