// The agent's own functions: what no single system call can do from outside.
#include <asm/errno.h>
#include <asm/unistd.h>

#include "agent/agent.h"

namespace torpor::agent {
namespace {

// Goes on in the copy of the blob that belongs to `next` (its code and context are filled in).
// The reply to the present message is sent from there.
[[noreturn]] void move_to(Context* context, Context* next) {
  reply_last(context);
  const auto* blob = reinterpret_cast<const BlobHeader*>(next->code);
  jump_to(next->code + blob->serve_entry, next);
  __builtin_unreachable();
}

// The supervisor holds its end now: the thread that brought us in may close both descriptors.
std::int64_t let_go(Context* context) {
  store(&context->proceed, 1);
  futex_wake(&context->proceed);
  for (int i = 0; load(&context->state) != kWaiting; ++i) {
    if (i == 5000) return -ETIMEDOUT;
    futex_wait(&context->state, kSocketReady, 1000000);
  }
  return 0;
}

std::int64_t set_undo(Context* context, const Call& call) {
  if (call.args[1] > kMaxUndo) return -EINVAL;
  copy_bytes(context->undo, reinterpret_cast<const void*>(call.args[0]),
             call.args[1] * sizeof(Call));
  context->undo_count = static_cast<std::uint32_t>(call.args[1]);
  return 0;
}

std::int64_t call_other(Context* context, const Call& call) {
  using More = std::int64_t (*)(Context*, const Call&);
  if (context->more_functions == 0) return -ENOSYS;
  return reinterpret_cast<More>(context->more_functions)(context, call);
}

}  // namespace

std::int64_t call_function(Context* context, const Call& call) {
  const auto& a = call.args;
  switch (call.number) {
    case kStore:
      copy_bytes(reinterpret_cast<void*>(a[0]), reinterpret_cast<const void*>(a[1]), a[2]);
      return static_cast<std::int64_t>(a[2]);
    case kSnapshot: return snapshot(context, static_cast<int>(a[0]));
    case kForkHusk: return fork_husk(context, call);
    case kStartThread: return start_thread(reinterpret_cast<ThreadRecord*>(a[0]));
    case kMoveTo: move_to(context, reinterpret_cast<Context*>(a[0]));
    case kSetSocket: context->socket = static_cast<std::int32_t>(a[0]); return 0;
    case kLetGo: return let_go(context);
    case kReap: serve_reaper(static_cast<int>(a[0]));
    case kSetUndo: return set_undo(context, call);
    default: return call_other(context, call);
  }
}

}  // namespace torpor::agent
