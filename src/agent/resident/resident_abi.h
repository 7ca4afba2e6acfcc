// The contract between the supervisor and the resident agent: what stands in a process of the
// wrapped mode all the time (docs/wrapped-mode.md). Freestanding; both sides include it.
//
// The resident agent is a program at a fixed address. Every exec of the computation goes through
// it: it maps the program that was asked for beside itself and starts it. A seccomp filter, which
// nobody can take off again, leads some system calls of the program into it; calls made from its
// own text pass. This is why its address is the same in every process and every version.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>

#include "agent/agent_abi.h"

namespace torpor::agent {

// Below everything that the kernel chooses by itself, above the memory of the sanitizers: nobody
// maps there who was not told to.
inline constexpr std::uint64_t kResidentBase = 0x7e9100000000;
inline constexpr std::uint64_t kResidentTextBytes = 0x40000;  // as much as may be there
inline constexpr std::uint64_t kResidentData = kResidentBase + kResidentTextBytes;

// Unused by Linux (signal(7)).
inline constexpr int kDefaultStopSignal = 16;  // SIGSTKFLT
inline constexpr int kTrapSignal = 31;         // SIGSYS

// With what the resident agent is executed, in front of the program's own arguments. The first is a
// line of hexadecimal numbers, in the order of this struct; the second the name under which the
// program was to be executed.
inline constexpr std::size_t kOwnArguments = 2;
struct ExecRecord {
  std::uint64_t task;         // ResidentTask
  std::uint64_t descriptor;   // of the program's file; kRun: where to write an errno if it fails
  std::uint64_t signal_mask;  // with which the program starts, as it sees it
  std::uint64_t ignored;      // signals of ours that the program ignores
  std::uint64_t stop_signal;
  std::uint64_t computation;    // a random number that tells it from all others
  std::uint64_t no_new_privs;   // as the program sees it
  std::uint64_t ids;            // not 0: there is a pid table (id_table.h)
  std::uint64_t filters;        // seccomp filters of ours that are in force
  std::uint64_t reads_signals;  // not 0: among them the one that leads reads of signalfds in
  std::uint64_t own_filters;    // 1 + the descriptor of a file with the OwnFilters; 0: none
};
inline constexpr std::size_t kRecordFields = sizeof(ExecRecord) / sizeof(std::uint64_t);
inline constexpr std::size_t kRecordText = kRecordFields * 17 + 1;

enum ResidentTask : std::uint64_t {
  kRun = 0,   // puts the filter in place, and executes the program of that name
  kLoad = 1,  // maps the program in `descriptor`
  kHusk = 2,  // puts the filter in place, and serves as a husk (agent.h); `descriptor` is not used
};

// One of the two signals that are ours as the program sees it.
struct VirtualAction {  // struct sigaction of the kernel
  std::uint64_t handler;
  std::uint64_t flags;
  std::uint64_t restorer;
  std::uint64_t mask;
};

// What is remembered of a thread that has made one of the wrapped calls.
struct ResidentThread {
  std::uint32_t tid;
  std::uint32_t blocked;  // bit 0: the trap signal, bit 1: the stop signal, as the program sees it
  // The set that a waiting call is given instead of the program's, and where pselect6 finds it.
  std::uint64_t mask;
  std::uint64_t mask_place[2];
  std::uint64_t program_pointer;  // what stood in that register
  // Where the program makes a call again that was given up in here because of an order to stop, and
  // that has a timeout; 0: nowhere.
  std::uint64_t given_up;
  // Its restartable sequences (rseq(2)): address 0 if there are none; and CLOCK_BOOTTIME of that.
  std::uint64_t sequence;
  std::uint32_t sequence_bytes;
  std::uint32_t sequence_signature;
  std::int64_t sequence_ns;
};
inline constexpr std::size_t kResidentThreads = 16384;

// What is left of a timeout of the call that will be entered again: worked out by the thread itself
// on its way, the last moment at which it can be.
struct LateTimeout {
  std::uint64_t form;        // TimeoutForm
  std::uint64_t place;       // address, or index in ParkedThread::registers
  std::int64_t deadline_ns;  // CLOCK_MONOTONIC of the process
};
enum TimeoutForm : std::uint64_t {
  kNoTimeout = 0,
  kTimespec = 1,  // at that address
  kTimeval = 2,
  kMilliseconds = 3,  // in that register
};

// One thread that has been stopped, and what it is to do.
struct ParkedThread {
  std::uint32_t tid;
  std::uint32_t state;  // ParkState
  std::uint32_t order;  // futex, ThreadOrder; back to kWait when it is done
  std::uint32_t how;    // HowToGoOn; if not kUnchanged, to `registers`, which the supervisor writes
  std::uint64_t frame;  // address of its ucontext
  std::uint64_t bases[2];  // fs, gs
  ThreadAnswers answers;
  std::uint64_t registers[27];  // struct user_regs_struct
  // If it was stopped in a call that a handler ends: behind its instruction, else 0; and whether
  // any handler does so, or only one without SA_RESTART.
  std::uint64_t behind_call;
  std::uint64_t any_handler_ends_it;
  // Of a thread of a restart: its entry in ResidentThread is made anew, with `blocked`.
  std::uint32_t is_new, blocked;
  // For kCallAgain: its number and arguments.
  std::int64_t call;
  std::uint64_t arguments[6];
  // For kTakeSignals and kQueueSignals; `buffer` has room for `capacity` of 128 bytes each.
  std::uint64_t signals, buffer, capacity, target;
  std::int64_t result;
  // The call in which it slept when it was first stopped: the number and 1 (0: in none), arguments,
  // stack pointer, address behind it. Written by the supervisor; found again by the next one, if a
  // process that a signal has stopped never left our handler in between.
  std::uint64_t slept[9];
  std::int64_t interrupted_ns;  // when it came into our handler: CLOCK_MONOTONIC of the process
  LateTimeout timeout;
};
enum ParkState : std::uint32_t { kParkComing = 0, kParked = 1 };
enum ThreadOrder : std::uint32_t {
  kWait = 0,
  kGoOn = 1,
  kSpawn = 2,         // start the checkpoint thread that has the program's descriptors
  kTakeSignals = 3,   // those in `signals` from the queue into `buffer`
  kQueueSignals = 4,  // `capacity` of them, for `target` or, if that is 0, the process
  kCallAgain = 5,  // make `call` until an order to stop interrupts it, so that the kernel knows its
                   // timeout: `result` is -EINTR then, else the call's own
};
enum HowToGoOn : std::uint32_t {
  kUnchanged = 0,
  kChanged = 1,
  kRestarting = 2,  // into restart_syscall(2), which a sigreturn would make the kernel forget
};

// In a process of its own right this page is its own: a fork finds it empty (MADV_WIPEONFORK).
struct ResidentProcess {
  std::uint32_t pid;          // whose it is; another who shares the memory (vfork) keeps off
  std::uint32_t ready_to_go;  // futex: threads that only wait for the checkpoint thread's end
  std::uint32_t parked;       // how many have come
  std::uint32_t inside;       // threads that are in the handler
  std::uint32_t room_ready;   // futex
  std::uint64_t room;         // ParkedThread[], once the supervisor has had it mapped
  std::uint64_t room_count;
  std::uint64_t stop;        // the order that is being followed; 0: none
  std::uint64_t ended_stop;  // the last that is over: who comes for it goes on
  // The process was stopped by this signal before the order came (0: it was not), and is to be
  // stopped again when that is over. Written by the supervisor.
  std::uint32_t stop_again;
  std::uint32_t stop_turn;  // futex, StopTurn
};
enum StopTurn : std::uint32_t { kNobodysTurn = 0, kStopping = 1, kTurnOver = 2 };
inline constexpr std::uint64_t kCleaning = ~std::uint64_t{0};  // in place of a stop

// The resident agent's writable area, at kResidentData.
struct Resident {
  std::uint64_t magic;
  ExecRecord record;         // of the exec that brought us in
  VirtualAction actions[2];  // of the trap signal and of the stop signal
  std::uint32_t pending;     // of those two, for the process; same bits as ResidentThread::blocked
  std::uint32_t unused;
  // The same two bits of the masks that the program has given with its handlers.
  std::uint8_t action_masks[72];
  std::uint8_t pending_info[2][128];  // siginfo_t
  char executable[4096];              // what /proc/self/exe is to say
  std::uint64_t ids;                  // not 0: the pid table is in use
  std::uint64_t speaks_as_program;    // not 0: calls of messages are made as if by the program
  std::uint64_t handlers[65];  // of the program, which are called by way of handler_trampoline()
  std::uint64_t vdso, vdso_bytes;  // the program's
  // clock_gettime in it, if that leads to us (clock_vdso.h); and what stood there.
  std::uint64_t clock_function;
  std::uint8_t clock_head[16];
  std::uint64_t own_filters;  // address of the OwnFilters; 0: the program has none
  alignas(4096) ResidentProcess process;
  alignas(4096) ResidentThread threads[kResidentThreads];
  alignas(4096) Context context;  // of the checkpoint thread
};
inline constexpr std::uint64_t kResidentMagic = 0x31736572726f7470;  // "ptorres1"
inline constexpr std::uint64_t kResidentBytes =
    kResidentTextBytes + (sizeof(Resident) + kPage - 1) / kPage * kPage;

// The program's own seccomp filters as it gave them, oldest first (own_filters.h).
struct OwnFilter {
  std::uint32_t first, length;  // in OwnFilters::code
  std::uint32_t flags;          // SECCOMP_FILTER_FLAG_*
  std::uint32_t unused;
};
inline constexpr std::uint32_t kMostOwnFilters = 128;
inline constexpr std::uint32_t kMostOwnCode = 32768;  // as many as the kernel takes, seccomp(2)
struct OwnFilters {
  std::uint32_t lock, count, used;
  std::uint32_t others;  // not 0: there are filters besides that could not be noted
  OwnFilter filters[kMostOwnFilters];
  sock_filter code[kMostOwnCode];
};

// Functions that only the resident agent has, in Call::number.
enum ResidentFunction : std::int64_t {
  kMakeRoom =
      -100,  // (count): room for so many ParkedThreads; threads that wait for it go on parking
  kHandOver = -101,  // (index of a stopped thread): ends this thread; a new one, born of a stopped
                     // thread, connects
  // (index, leader's index, shared): has that stopped thread write down its queued signals, or
  // those of the process, and the leader queue them again; whatever becomes of the supervisor. The
  // result is how many there are.
  kCollectSignals = -103,
  // (): lets the threads go, and ends.
  kEndStop = -102,
  // (yes): from now on calls of messages and of threads that are built up are made as if by the
  // program: with its ids, and its view of signals. In a husk from the start.
  kSpeakAsProgram = -104,
  // (stack's end, dead): of a husk. Its main thread becomes the program's (or ends, if that was
  // dead) and parks on that stack, as all others that were built up do; a checkpoint thread
  // connects.
  kBecomeProgram = -105,
  // (): reads of signalfds are led in from now on.
  kLeadReadsIn = -107,
  // (vdso): the program's vdso is there.
  kUseVdso = -108,
  // (): from now on the threads go on if the supervisor is lost. Before, the process ends.
  kArm = -106,
};

// An order to stop (rt_sigqueueinfo(2)): the computation's number stands where the sender's pid and
// user would be, which tells it from anybody else's signal; the value is greater than that of all
// earlier stops. One that comes late, when its stop is over, is none any more.
inline constexpr int kOrderCode = -1;  // SI_QUEUE

// The number of the stop in which the threads of a restart park, smaller than all others; and one
// that only ends what kCallAgain has begun.
inline constexpr std::uint64_t kRestartStop = 1;
inline constexpr std::uint64_t kInterruptStop = 2;

// The supervisor's socket in the abstract space: this, and the computation's number in hexadecimal.
inline constexpr char kSocketPrefix[] = "torpor-";
// What the program of a process with a resident agent is called in truth.
inline constexpr char kProgramPrefix[] = "torpor-";

// Everything of the resident agent lies within.
inline constexpr std::uint64_t kClockStub = kResidentBase + 0xa00000;  // ClockStub (clock_vdso.h)
inline constexpr std::uint64_t kOwnFiltersAddress = kResidentBase + 0xb00000;
inline constexpr std::uint64_t kRoomAddress = kResidentBase + 0x1000000;
inline constexpr std::uint64_t kResidentSpan = 0x40000000;
inline constexpr std::uint64_t kIdTableAddress = kResidentBase + 0x8000000;
// Where a restart builds up threads; they leave it when they go on, and the next stop unmaps it.
inline constexpr std::uint64_t kRestartAddress = kResidentBase + 0x10000000;
inline constexpr std::uint64_t kRestartBytes = kResidentSpan - 0x10000000;
// Its file: this, and the computation's number in hexadecimal.
inline constexpr char kIdTablePrefix[] = "/dev/shm/torpor-ids-";

}  // namespace torpor::agent
