#include "agent/resident/checkpoint_thread.h"

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "agent/clone.h"
#include "agent/resident/clocks.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kUnix = 1;
constexpr std::uint64_t kSeqPacketCloseOnExec = 5 | 02000000;
constexpr std::uint64_t kSocketLevel = 1;
constexpr std::uint64_t kPeerCredentials = 17;

struct Address {
  std::uint16_t family;
  char path[108];
};

struct Credentials {
  std::uint32_t pid, uid, gid;
};

// The supervisor listens under a name in the abstract space that tells of the computation
// (unix(7)).
std::uint64_t supervisor_address(Address& address) {
  address.family = kUnix;
  address.path[0] = '\0';
  constexpr std::uint64_t kName = sizeof(kSocketPrefix) - 1;
  copy_bytes(address.path + 1, kSocketPrefix, kName);
  char* end = put_hex(address.path + 1 + kName, resident().record.computation) - 1;
  return static_cast<std::uint64_t>(end - reinterpret_cast<char*>(&address));
}

// Anybody may listen under a name: only our own user's, or root, is our supervisor.
bool is_trusted(std::uint64_t socket) {
  Credentials peer{};
  std::uint32_t bytes = sizeof(peer);
  const std::int64_t told = raw_syscall(__NR_getsockopt, socket, kSocketLevel, kPeerCredentials,
                                        address_of(&peer), address_of(&bytes));
  const auto user = static_cast<std::uint32_t>(raw_syscall(__NR_getuid));
  return told == 0 && (peer.uid == user || peer.uid == 0);
}

std::int64_t connect_to_supervisor() {
  const std::int64_t made = raw_syscall(__NR_socket, kUnix, kSeqPacketCloseOnExec, 0);
  if (made < 0) return made;
  const auto socket = static_cast<std::uint64_t>(made);
  Address address{};
  const std::uint64_t bytes = supervisor_address(address);
  const std::int64_t connected = raw_syscall(__NR_connect, socket, address_of(&address), bytes);
  if (connected == 0 && is_trusted(socket)) return made;
  raw_syscall(__NR_close, socket);
  return -ECONNREFUSED;
}

void checkpoint_thread(void* argument) {
  auto* context = static_cast<Context*>(argument);
  if (context->snapshot_control == kWithoutDescriptors) {
    raw_syscall(__NR_close_range, 0, 0xffffffffU, 0);
  }
  context->agent_tid = static_cast<std::int32_t>(raw_syscall(__NR_gettid));
  const std::int64_t socket = connect_to_supervisor();
  if (socket < 0) abandon(context);
  context->socket = static_cast<std::int32_t>(socket);
  say_hello(context);
  serve(context);
}

void end_thread() {
  for (;;) raw_syscall(__NR_exit, 0);
}

std::int64_t make_room(std::uint64_t count) {
  ResidentProcess& process = resident().process;
  const std::int64_t room =
      raw_syscall(__NR_mmap, kRoomAddress, count * sizeof(ParkedThread), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~std::uint64_t{0}, 0);
  if (room < 0 && room >= -4095) return room;
  process.room = static_cast<std::uint64_t>(room);
  process.room_count = count;
  store(&process.room_ready, 1);
  futex_wake(&process.room_ready);
  return room;
}

// The stopped thread, whose table of descriptors is the program's, starts our successor.
[[noreturn]] void hand_over(Context* context, std::uint64_t index) {
  auto* places = reinterpret_cast<ParkedThread*>(resident().process.room);
  reply_last(context);
  give_order(places[index], kSpawn);
  end_thread();
  __builtin_unreachable();
}

void order_and_wait(ParkedThread& place, std::uint32_t order) {
  constexpr std::int64_t kNap = 100000000;
  give_order(place, order);
  while (load(&place.order) == order) futex_wait(&place.order, order, kNap);
}

void have_queued(ParkedThread& by, std::uint64_t buffer, std::int64_t count, std::uint32_t target) {
  by.buffer = buffer;
  by.capacity = static_cast<std::uint64_t>(count);
  by.target = target;
  order_and_wait(by, kQueueSignals);
}

// A thread takes its own before those of the process; we have none of our own.
std::int64_t collect_signals(std::uint64_t index, std::uint64_t leader, bool shared) {
  auto* places = reinterpret_cast<ParkedThread*>(resident().process.room);
  ParkedThread& from = places[index];
  const std::uint64_t buffer = from.buffer;
  const std::uint64_t half = from.capacity / 2;
  const std::uint64_t of_process = shared ? buffer : buffer + half * kInfoBytes;
  const std::int64_t others = take_signals(from.signals, of_process, half);
  if (shared) {
    have_queued(places[leader], buffer, others, 0);
    return others;
  }
  from.capacity = half;
  order_and_wait(from, kTakeSignals);
  const std::int64_t own = from.result;
  have_queued(from, buffer, own, from.tid);
  have_queued(places[leader], of_process, others, 0);
  return own;
}

// Its stacks, as soon as no thread stands there any more: one does for as long as a signal has
// stopped the process.
void unmap_what_a_restart_left() {
  const ResidentProcess& process = resident().process;
  if (process.stop == kRestartStop || process.room == 0) return;
  const auto* places = reinterpret_cast<const ParkedThread*>(process.room);
  for (std::uint64_t i = 0; i < process.room_count; ++i) {
    if (places[i].frame - kRestartAddress < kRestartBytes) return;
  }
  raw_syscall(__NR_munmap, kRestartAddress, kRestartBytes);
}

// Lets the stopped threads go, and ends: they wait for that.
[[noreturn]] void end_stop() {
  constexpr std::int64_t kNap = 1000000;
  ResidentProcess& process = resident().process;
  unmap_what_a_restart_left();
  let_parked_threads_go();
  // Once all who are in the handler need nothing more of it, the room goes, and we.
  for (;;) {
    const std::uint32_t ready = load(&process.ready_to_go);
    if (ready == load(&process.inside)) break;
    futex_wait(&process.ready_to_go, ready, kNap);
  }
  if (process.room != 0) {
    raw_syscall(__NR_munmap, process.room, process.room_count * sizeof(ParkedThread));
  }
  process.room = process.room_count = 0;
  end_thread();
  __builtin_unreachable();
}

}  // namespace

std::int64_t start_checkpoint_thread(bool with_descriptors, void (*on_lost)(Context*)) {
  Context& context = resident().context;
  while (const std::uint32_t lives = load(&context.agent_lives)) {
    futex_wait(&context.agent_lives, lives, -1);
  }
  context.code = kResidentBase;
  context.code_bytes = kResidentTextBytes;
  context.injected = 1;
  context.undo_count = 0;
  context.probe_count = 0;
  context.snapshot_control = with_descriptors ? 0 : kWithoutDescriptors;
  context.on_lost = reinterpret_cast<std::uint64_t>(on_lost);
  resident().speaks_as_program = 0;
  context.more_functions = reinterpret_cast<std::uint64_t>(resident_function);
  store(&context.agent_lives, 1);
  constexpr std::uint64_t kFlags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD |
                                   CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_UNTRACED;
  clone_args args{};
  args.flags = kFlags;
  args.child_tid = address_of(&context.agent_lives);
  args.stack = address_of(context.agent_stack);
  args.stack_size = sizeof(context.agent_stack);
  const std::int64_t tid = clone_plainly_to(args, checkpoint_thread, &context);
  if (tid < 0) store(&context.agent_lives, 0);
  return tid;
}

std::int64_t resident_function(Context* context, const Call& call) {
  switch (call.number) {
    case kMakeRoom: return make_room(call.args[0]);
    case kSpeakAsProgram: resident().speaks_as_program = call.args[0]; return 0;
    case kUseVdso: return use_vdso(call.args[0]);
    case kLeadReadsIn: lead_reads_in(); return 0;
    case kBecomeProgram: become_program(context, call);
    case kArm: context->on_lost = reinterpret_cast<std::uint64_t>(abandon_stop); return 0;
    case kHandOver: hand_over(context, call.args[0]);
    case kCollectSignals: return collect_signals(call.args[0], call.args[1], call.args[2] != 0);
    case kEndStop: reply_last(context); end_stop();
    default: return -ENOSYS;
  }
}

// The supervisor is gone.
void abandon_stop(Context* context) {
  execute(context, context->undo, context->undo_count);
  end_stop();
}

}  // namespace torpor::agent
