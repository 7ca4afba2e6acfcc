#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kNoHang = 1;

Trap trap_of(const IdRequest& request, Frame* frame) {
  const auto& a = request.args;
  return {request.number, {a[0], a[1], a[2], a[3], a[4], a[5]}, frame};
}

bool may_wait(const IdRequest& request) {
  switch (request.number) {
    case __NR_waitid: return (request.args[3] & kNoHang) == 0;
    case __NR_open:
    case __NR_openat:
    case 437 /* openat2 */:
    case __NR_creat:
    case __NR_read:
    case __NR_readv:
    case __NR_sendmsg:
    case __NR_sendmmsg:
    case __NR_recvmsg:
    case __NR_recvmmsg:
    case __NR_futex:
    case 449 /* futex_waitv */:
    case 455 /* futex_wait */:
    case __NR_clock_nanosleep:
    case __NR_rt_sigtimedwait: return true;
    default: return false;
  }
}

std::int64_t wait_in_call(const IdRequest& request, const Frame& frame) {
  if (request.number != __NR_rt_sigtimedwait) return blocking_call(&request, &frame.signal_mask);
  if (!can_read(request.args[0], 8)) return -EFAULT;
  const std::uint64_t set =
      *reinterpret_cast<const std::uint64_t*>(request.args[0]) & ~our_signals();
  IdRequest stripped = request;
  stripped.args[0] = address_of(&set);
  return blocking_call(&stripped, &frame.signal_mask);
}

// The kernel, for IdCaller.
std::int64_t make_call(void* data, const IdRequest& request) {
  auto* frame = static_cast<Frame*>(data);
  Trap trap = trap_of(request, frame);
  switch (request.number) {
    case __NR_execve:
    case __NR_execveat: return wrap_exec(trap);
    case __NR_readlink:
    case __NR_readlinkat: return wrap_link(trap);
    default: break;
  }
  if (may_wait(request)) return wait_in_call(request, *frame);
  const auto& a = request.args;
  return raw_syscall(request.number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// Where the computation's table is found (shm_overview(7)).
void table_path(std::uint64_t computation, char* path) {
  constexpr std::size_t kPrefix = sizeof(kIdTablePrefix) - 1;
  copy_bytes(path, kIdTablePrefix, kPrefix);
  *(put_hex(path + kPrefix, computation) - 1) = '\0';
}

}  // namespace

std::int64_t map_ids(const ExecRecord& record) {
  if (record.ids == 0) return 0;
  char path[64];
  table_path(record.computation, path);
  const std::int64_t file =
      raw_syscall(__NR_open, address_of(&path[0]), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (file < 0) return file;
  const std::int64_t place =
      raw_syscall(__NR_mmap, kIdTableAddress, kIdTableBytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED_NOREPLACE, static_cast<std::uint64_t>(file), 0);
  raw_syscall(__NR_close, static_cast<std::uint64_t>(file));
  if (static_cast<std::uint64_t>(place) != kIdTableAddress) return -ENOMEM;
  if (id_table().magic != kIdTableMagic) return -EINVAL;
  resident().ids = 1;
  return 0;
}

void enter_own_ids(const ExecRecord& record) {
  if (record.ids == 0) return;
  adopt_self(draw_ticket(id_table()));
}

std::int64_t wrap_ids(Trap& trap, const IdCall& row) {
  if (row.how == How::kFork) return wrap_birth(trap);
  IdRequest request{trap.number, {}};
  copy_bytes(request.args, trap.args, sizeof(request.args));
  const std::int64_t result = IdCaller(id_table(), {make_call, trap.frame}).call(row, request);
  if (result == kMakeItAgain) make_again(trap);
  if (trap.number == __NR_rt_sigtimedwait) {
    this_thread().given_up = result == kMakeItAgain ? trap.frame->rip : 0;
  }
  return result;
}

std::int64_t make_with_ids(Frame& frame, const IdRequest& request) {
  const IdCall* row = find_id_call(request.number, request.args);
  if (row == nullptr || !is_translated(*row)) return make_call(&frame, request);
  return IdCaller(id_table(), {make_call, &frame}).call(*row, request);
}

void make_again(const Trap& trap) {
  constexpr std::uint64_t kInstructionBytes = 2;
  trap.frame->rax = static_cast<std::uint64_t>(trap.number);
  trap.frame->rip -= kInstructionBytes;
}

void leave_blocking_call(Frame& frame, const SignalInfo& order) {
  const std::uint64_t begin = address_of(&blocking_begin[0]);
  const std::uint64_t last = address_of(&blocking_instruction[0]);
  const bool not_made = frame.rip >= begin && frame.rip <= last;
  const bool interrupted =
      frame.rip == address_of(&blocking_end[0]) && static_cast<std::int64_t>(frame.rax) == -EINTR;
  if (frame.rip < begin || frame.rip >= address_of(&blocking_over[0])) return;
  frame.signal_mask = kAllSignals;
  const auto pid = static_cast<std::uint64_t>(raw_syscall(__NR_getpid));
  const auto tid = static_cast<std::uint64_t>(raw_syscall(__NR_gettid));
  raw_syscall(__NR_rt_tgsigqueueinfo, pid, tid, static_cast<std::uint64_t>(order.signal),
              address_of(&order));
  if (not_made || interrupted) frame.rip = address_of(&blocking_again[0]);
}

std::uint64_t prepare_handler(int signal, void* info, Frame* interrupted) {
  leave_clock(*interrupted);
  translate_info(id_table(), Way::kToProgram, info);
  return __atomic_load_n(&resident().handlers[signal], __ATOMIC_ACQUIRE);
}

}  // namespace torpor::agent
