// The contract between the supervisor and the agent, the only code of ours that runs inside other
// people's processes. Freestanding: no libc, no library; both sides include it.
//
// The agent is a system call server. It receives a Message over a SOCK_SEQPACKET socket, executes
// its calls in order in the process's own context, and sends the message back with the results.
// It decides nothing. All pointers in a call are addresses in the process; the supervisor knows
// where the message lies there (Hello::context), so a call can point to the message's own data.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torpor::agent {

inline constexpr std::uint64_t kBlobMagic = 0x31746e6567617274;  // "trgaent1"
inline constexpr std::size_t kMessageSize = 65536;
inline constexpr std::size_t kStackSize = 8192;
inline constexpr std::size_t kMaxUndo = 64;
inline constexpr int kHuskSocket = 3;  // where a husk finds its socket when it starts

// What stands at the start of the blob. The offsets are from the start of the blob.
struct BlobHeader {
  std::uint64_t magic;
  std::uint64_t size;
  std::uint64_t inject_entry;  // rdi = Context*: the way in through a stopped thread
  std::uint64_t serve_entry;   // rdi = Context*: the way in after a move
  std::uint64_t probe_entry;   // rdi = ThreadProbe*: a stopped thread answers for itself
  // arch/*/detour.S, which is copied elsewhere as a whole; its entries.
  std::uint64_t detour_begin;
  std::uint64_t detour_end;
  std::uint64_t detour_call;        // the call in the registers; stopped at its end by a supervisor
  std::uint64_t detour_back;        // unmaps, and goes back to saved_registers
  std::uint64_t detour_end_thread;  // rdi, rsi = start and bytes: unmaps, and ends the thread
};

// What stands before the detour's code. Only the supervisor writes it.
struct DetourData {
  std::uint64_t magic;
  std::uint64_t users;        // agents that may come this way
  std::uint64_t unmap_start;  // 0: what detour_call's call has returned
  std::uint64_t unmap_bytes;  // 0: nothing
  std::uint64_t saved_mask;
  std::uint64_t saved_registers[27];  // struct user_regs_struct
};
inline constexpr std::uint64_t kDetourMagic = 0x31756f7465647274;  // "trdetou1"

// Functions of the agent itself, in Call::number.
enum Function : std::int64_t {
  kStore = -1,        // (destination, source, bytes): copies inside the process
  kSnapshot = -2,     // (control fd): the copy-on-write copy; result is its pid, as seen in there
  kForkHusk = -3,     // (socket fd, pid_t* set_tid, count, exit signal): result is the child's pid
  kStartThread = -4,  // (ThreadRecord*): result is the tid
  kMoveTo = -5,       // (Context* new context): goes on in a copy of itself; the last of its batch
  kSetSocket = -6,    // (fd): from the next message on
  kLetGo = -7,        // (): the thread that brought us in closes its descriptors and waits
  kReap = -8,         // (report fd): becomes a reaper; never returns, see serve_reaper
  kSetUndo = -9,      // (Call*, count): calls to make if the supervisor is lost
};

struct Call {
  std::int64_t number;  // of the system call, or a Function
  std::uint64_t args[6];
  std::uint32_t from_result;  // bit i: args[i] is the index of an earlier call; use its result
  std::uint32_t may_fail;     // nonzero: an error does not end the batch
  std::int64_t result;
};

// A call that was not reached has this result (ECANCELED).
inline constexpr std::int64_t kNotReached = -125;

struct MessageHeader {
  std::uint32_t count;       // of calls
  std::uint32_t data_bytes;  // before the calls; a multiple of 8
  std::uint32_t want_data;   // nonzero: the reply carries the data too
  std::uint32_t serial;
};

struct Message {
  MessageHeader header;
  std::byte payload[kMessageSize - sizeof(MessageHeader)];  // data, then calls
};

inline Call* calls_of(Message& message) {
  return reinterpret_cast<Call*>(message.payload + message.header.data_bytes);
}

// The agent's first message. The sender's pid is found with SCM_CREDENTIALS.
struct Hello {
  std::uint64_t magic;
  std::uint64_t context;  // address of the Context
  std::uint64_t code;     // address of the blob
  std::int64_t tid;
};

// One thread to be made at a restart. It makes its calls itself and then waits, all signals
// blocked, for the supervisor to give it its registers.
struct ThreadRecord {
  std::int32_t tid;     // wanted
  std::uint32_t state;  // 0 made, 1 parked, 2 a call failed
  std::uint64_t stack_top;
  std::uint64_t calls;  // Call*
  std::uint32_t call_count;
  std::uint32_t failed_call;
  std::int64_t failed_result;
};

// What only a thread itself can tell about itself, or the negative errno of the call that failed.
struct ThreadAnswers {
  std::uint64_t alternate_stack[3];  // stack_t
  std::uint64_t tid_address;         // PR_GET_TID_ADDRESS
  std::int64_t timer_slack;
  std::int32_t parent_death_signal;
  std::int32_t unused;
  std::int64_t stack_result;
  std::int64_t tid_address_result;
  std::int64_t parent_death_result;
};

// One stopped thread of the program that is sent to probe_entry. It answers, and waits to be put
// back where it was; if the supervisor is lost it returns by itself.
struct ThreadProbe {
  std::uint64_t saved_registers[27];  // struct user_regs_struct, ready to be returned to
  std::uint64_t saved_mask;
  std::uint32_t finish;  // futex: return by yourself
  std::uint32_t done;    // nonzero: the answers are there
  ThreadAnswers answers;
  alignas(16) std::byte stack[768];
};

// How far the thread that brings the agent in has come.
enum InjectState : std::uint32_t {
  kEntering = 0,
  kSocketReady = 1,  // agent started; its socket's other end can be taken
  kWaiting = 2,      // descriptors closed again; waits to be put back
  kFailed = 3,       // see inject_error
  kReturning = 4,    // goes back by itself, because the supervisor was lost
};

// The agent's only writable memory, one area in the process.
struct Context {
  std::uint64_t code;  // address of the blob
  std::uint64_t code_bytes;
  std::int32_t socket;
  std::int32_t peer_socket;         // the supervisor's end, while the injecting thread holds it
  std::uint32_t injected;           // 0 in a husk
  std::uint32_t agent_clone_flags;  // added flags for the agent's thread (CLONE_UNTRACED or 0)
  std::uint32_t state;              // InjectState, futex
  std::uint32_t proceed;            // futex
  std::uint32_t finish;             // futex
  std::int32_t inject_error;
  std::uint32_t give_up;  // set by the supervisor: it could not reach the agent, which ends
  std::uint32_t
      thread_is_back;         // set by the supervisor: the thread that brought us in is elsewhere
  std::uint32_t agent_lives;  // futex; the kernel clears it when the agent's thread has ended
  std::uint32_t bringer_tid;  // the thread that brings the agent in, as the process sees it
  std::uint64_t way_back;     // address of detour_back, or 0 if there is no detour
  std::uint64_t way_out;      // of detour_end_thread
  std::uint64_t saved_mask;   // of the injecting thread
  std::uint64_t saved_registers[27];  // struct user_regs_struct, ready to be returned to
  std::int32_t agent_tid;
  std::int32_t snapshot_control;
  std::int32_t snapshot_pid;
  std::uint32_t undo_count;
  Call undo[kMaxUndo];
  std::uint64_t probes;  // ThreadProbe*, while threads answer
  std::uint64_t probe_count;
  // Of a resident agent (resident/resident_abi.h), else 0: void(Context*) when the supervisor is
  // lost, int64_t(Context*, const Call*) for functions that only it has.
  std::uint64_t on_lost;
  std::uint64_t more_functions;
  alignas(64) Message message;
  alignas(64) std::byte inject_stack[kStackSize];
  alignas(64) std::byte helper_stack[kStackSize];
  alignas(64) std::byte agent_stack[kStackSize];
};

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kContextBytes = (sizeof(Context) + kPage - 1) / kPage * kPage;

}  // namespace torpor::agent
