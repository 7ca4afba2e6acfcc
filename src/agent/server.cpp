// The system call server: the agent's main loop.
#include <asm/errno.h>
#include <asm/unistd.h>

#include "agent/agent.h"
#include "agent/thread_place.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kNoSignal = 0x4000;  // MSG_NOSIGNAL

bool failed(std::int64_t result) { return result < 0 && result >= -4095; }

std::int64_t make_call(Context* context, const Call* calls, const Call& call) {
  Call resolved = call;
  for (std::uint32_t i = 0; i < 6; ++i) {
    if ((call.from_result & (1U << i)) != 0) {
      resolved.args[i] = static_cast<std::uint64_t>(calls[call.args[i]].result);
    }
  }
  if (resolved.number < 0) return call_function(context, resolved);
  return system_call(resolved.number, resolved.args);
}

void close_socket_and_exit(int socket, std::int64_t exit_call, std::uint64_t status) {
  raw_syscall(__NR_close, static_cast<std::uint64_t>(socket));
  for (;;) raw_syscall(exit_call, status);
}

// The supervisor was lost in the moment in which it put the thread that brought us in back. If that
// thread is still in here, it has been told to go and says so.
bool is_returning(const Context* context) {
  constexpr int kLooks = 250;
  constexpr std::int64_t kBetween = 20000000;
  for (int look = 0; look < kLooks; ++look) {
    if (load(&context->state) == kReturning) return true;
    readable_within(-1, kBetween);
  }
  return false;
}

// The thread that brought us in is back in the program, so our memory goes with us; the end of our
// table of descriptors tells the supervisor, if there is one. If there is none, another thread may
// have been let go in the middle of a call that writes to our memory: it gets a moment.
void leave_alone(Context* context) {
  constexpr std::int64_t kMoment = 20000000;
  if (load(&context->give_up) == 0) readable_within(-1, kMoment);
  // Threads that answer for themselves return through here, nobody knows when.
  if (context->way_out == 0 || context->probe_count != 0) return;
  raw_syscall(__NR_set_tid_address, 0);
  jump_to(context->way_out, reinterpret_cast<void*>(context->code),
          context->code_bytes + kContextBytes);
}

bool sound(const Message& message, std::int64_t received) {
  const std::uint64_t calls = std::uint64_t{message.header.count} * sizeof(Call);
  return received >= static_cast<std::int64_t>(sizeof(MessageHeader)) &&
         sizeof(MessageHeader) + calls + message.header.data_bytes ==
             static_cast<std::uint64_t>(received);
}

}  // namespace

void abandon(Context* context) {
  if (context->on_lost != 0) jump_to(context->on_lost, context);
  if (context->injected == 0) {
    for (;;) raw_syscall(__NR_exit_group, 1);
  }
  execute(context, context->undo, context->undo_count);
  let_probed_threads_go(context);
  const std::uint32_t back = load(&context->thread_is_back);
  if (back == kIsBack) leave_alone(context);
  store(&context->proceed, 1);
  futex_wake(&context->proceed);
  store(&context->finish, 1);
  futex_wake(&context->finish);
  if (back == kIsBeingPutBack && !is_returning(context)) leave_alone(context);
  for (;;) close_socket_and_exit(context->socket, __NR_exit, 0);
}

void execute(Context* context, Call* calls, std::uint32_t count) {
  bool stopped = false;
  for (std::uint32_t i = 0; i < count; ++i) {
    calls[i].result = stopped ? kNotReached : make_call(context, calls, calls[i]);
    if (failed(calls[i].result) && calls[i].may_fail == 0) stopped = true;
  }
}

void say_hello(const Context* context) {
  Hello hello{};
  hello.magic = kBlobMagic;
  hello.context = address_of(context);
  hello.code = context->code;
  hello.tid = raw_syscall(__NR_gettid);
  raw_syscall(__NR_sendto, static_cast<std::uint64_t>(context->socket), address_of(&hello),
              sizeof(hello), kNoSignal);
}

void reply_last(Context* context) {
  calls_of(context->message)[context->message.header.count - 1].result = 0;
  reply(context);
}

void reply(Context* context) {
  Message& message = context->message;
  struct Piece {
    const void* start;
    std::uint64_t bytes;
  };
  const Piece pieces[3] = {
      {&message.header, sizeof(MessageHeader)},
      {message.payload, message.header.want_data != 0 ? message.header.data_bytes : 0},
      {calls_of(message), message.header.count * sizeof(Call)},
  };
  struct {  // struct msghdr of the kernel
    std::uint64_t name, name_length;
    const Piece* pieces;
    std::uint64_t piece_count, control, control_length, flags;
  } const envelope{0, 0, pieces, 3, 0, 0, 0};
  raw_syscall(__NR_sendmsg, static_cast<std::uint64_t>(context->socket), address_of(&envelope),
              kNoSignal);
}

void serve(Context* context) {
  Message& message = context->message;
  for (;;) {
    const auto fd = static_cast<std::uint64_t>(context->socket);
    const std::int64_t received =
        raw_syscall(__NR_recvfrom, fd, address_of(&message), sizeof(Message));
    if (received == -EINTR) continue;
    if (!sound(message, received)) abandon(context);
    execute(context, calls_of(message), message.header.count);
    reply(context);
  }
}

}  // namespace torpor::agent
