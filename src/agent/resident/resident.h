// Inside of the resident agent: what its files share. Freestanding.
#pragma once

#include "agent/agent.h"
#include "agent/resident/frame.h"
#include "agent/resident/resident_abi.h"

namespace torpor::agent {

// A system call of the program that was led here instead of into the kernel. All signals are
// blocked.
struct Trap {
  std::int64_t number;
  std::uint64_t args[6];
  Frame* frame;
};

#pragma GCC visibility push(hidden)  // no detour through a table, which would be writable
extern "C" {
extern Resident resident_area;  // at kResidentData, by the link script
void resident_restorer();       // what a handler of ours returns to

// Goes on where the program's own sigreturn, whose frame is at `frame`, leads to. Our own frame is
// forgotten.
[[noreturn]] void return_from_signal(const Frame* frame);
// Leaves the handler for `registers` (struct user_regs_struct) without a sigreturn, which would
// make the kernel forget a call that it can restart. `extended` as in Frame.
[[noreturn]] void leave_by_hand(const std::uint64_t* registers, std::uint64_t extended,
                                const std::uint64_t* mask);

// From the kernel's start of this program (`stack` as the kernel has left it): puts the program
// that was asked for in place, and starts it.
[[noreturn]] void resident_main(std::uint64_t* stack);
// Calls function(argument), which never returns, on another stack.
[[noreturn]] void go_to_stack(std::uint64_t end, void (*function)(void*), void* argument);
// Makes the call with `mask` in force while it lasts; all signals are blocked before and after.
// -EINTR if an order to stop interrupts it: then the kernel remembers how to restart it.
std::int64_t call_once(const std::int64_t* number_and_arguments, const std::uint64_t* mask);
extern const char call_once_end[];
// From the handler of that order: to the end of call_once(), whose stack pointer is given, without
// a sigreturn.
[[noreturn]] void leave_call_once(std::uint64_t stack_pointer);

// The handlers of our two signals, and how they begin.
void on_trap(int signal, SignalInfo* info, Frame* frame);
void on_stop(int signal, SignalInfo* info, Frame* frame);
void trap_entry();
void stop_entry();
}
#pragma GCC visibility pop

inline Resident& resident() { return resident_area; }
inline bool in_resident_text(std::uint64_t address) {
  return address - kResidentBase < kResidentTextBytes;
}

// The wrapped calls, by what they are about. Each returns the call's result, or that the program is
// to make it again (make_again()).
inline constexpr std::int64_t kMakeItAgain = -4096;
std::int64_t wrap_signal_call(Trap& trap);
std::int64_t wrap_exec(Trap& trap);
std::int64_t wrap_fork(Trap& trap);
std::int64_t wrap_prctl(Trap& trap);
std::int64_t wrap_link(Trap& trap);
inline constexpr std::int64_t kNotWrapped = -4097;  // not a call that is led in because of us

// own_filters.cpp: the program's own seccomp filters.
bool has_own_filters();
std::int64_t wrap_seccomp(const Trap& trap);  // seccomp(2), or the same by prctl(2)
// As SECCOMP_SET_MODE_FILTER, for all threads there are.
std::int64_t install_own_filter(std::uint64_t flags, std::uint64_t program);
// Whether they end a call that was led in; then it is done.
bool is_judged(SignalInfo& info, Frame& frame);
// Over an exec, which they survive: as in ExecRecord, or -errno.
std::int64_t hand_own_filters_over();
std::int64_t take_own_filters(std::uint64_t handed);
std::int64_t wrap_sequences(Trap& trap);

// wrap_signals.cpp: once the program has a signalfd, and a table of ids.
void lead_reads_in();

// signal_state.cpp: how the program sees the two signals that are ours.
std::uint64_t our_signals();                     // as a set
std::uint32_t blocked_bits(std::uint64_t mask);  // which of them are in the set
std::uint64_t with_blocked(std::uint64_t mask, std::uint32_t bits);
int index_of_ours(std::uint64_t signal);  // in Resident::actions, or -1
ResidentThread& this_thread();
ResidentThread* known_thread(std::uint32_t tid);
void install_handlers();
void use_default_action(std::uint64_t signal);
void ignore_stop_signal();

// virtual_signals.cpp: one of ours that was meant for the program. May not return.
void deliver_virtual(std::uint64_t signal, SignalInfo* info, Frame* frame);
void send_pending(std::uint32_t bits);
// The same for one that the program can neither block nor ignore.
void deliver_forced(std::uint64_t signal, SignalInfo* info, Frame* frame);
[[noreturn]] void end_by(std::uint64_t signal);

// Whether this process is the one whose memory this is, and not one that borrows it (vfork).
bool owns_memory();
void claim_memory();

// The stop is over: lets all parked threads go, and those that come later find no room. A thread
// can have been sent the order twice, so first it is none any more.
void let_parked_threads_go();
void give_order(ParkedThread& place, std::uint32_t order);
// Puts this thread beside those that are stopped: it waits for orders, and then goes on in `frame`,
// by a return from its handler or from within.
void park(Frame& frame);
[[gnu::visibility("hidden")]] std::int64_t resident_function(Context* context, const Call& call);
// husk.cpp
[[noreturn]] void start_husk(const ExecRecord& record);
[[noreturn]] void become_program(Context* context, const Call& call);
// start.cpp: what every process of a computation begins with; and what its first one does.
std::int64_t set_up(const ExecRecord& record);
std::int64_t install_filters();
[[noreturn, gnu::visibility("hidden")]] void abandon_stop(Context* context);

// How a thread leaves our handler: what stands in its ParkedThread, which goes before.
struct WayOut {
  std::uint32_t how;
  std::uint64_t registers[27];
  std::uint64_t behind_call;
  std::uint64_t any_handler_ends_it;
  std::uint64_t slept[9];
  std::uint32_t is_new, blocked;
  std::int64_t interrupted_ns;
  LateTimeout timeout;
};

// own_way.cpp: the same without a supervisor. Takes back an EINTR that there is because of us.
void find_own_way(const Frame& frame, WayOut& out);
// late_timeout.cpp: puts what is left of it in its place.
void cut_timeout_down(WayOut& out);
std::int64_t monotonic_ns();

// group_stop.cpp. Stops the process again if a signal had stopped it before the order came; all
// threads call it, and come back when the process goes on.
void stop_as_before();
// For a thread in our handler: the stop of an order that has come meanwhile, 0 if none has.
std::uint64_t take_order();
bool is_order(const SignalInfo& info);

// loader.cpp. Maps the program in `descriptor` and tells the kernel and the program's stack about
// it. Where it begins, or -errno.
std::int64_t load_program(std::uint64_t descriptor, const char* name, std::uint64_t* stack);
// exec.cpp: as execveat(2), with everything that the agent needs to come along. Returns only on
// failure.
std::int64_t execute(const Trap& trap, std::uint64_t directory, const char* path,
                     const char* const* arguments, const char* const* environment,
                     std::uint64_t flags, std::uint64_t signal_mask);
std::int64_t install_filter();

// text.cpp
std::size_t length_of(const char* text);
bool same_text(const char* a, const char* b);
char* put_hex(char* to, std::uint64_t number);     // ends with a blank
char* put_number(char* to, std::uint64_t number);  // decimal; ends the text, returns where
const char* take_hex(const char* from, std::uint64_t* number);

}  // namespace torpor::agent
