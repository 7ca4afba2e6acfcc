// The pid table in the resident agent. Freestanding.
#pragma once

#include "agent/resident/id_wrap.h"
#include "agent/resident/resident.h"

namespace torpor::agent {

// Whether the program's ids are other ones than the kernel's.
inline bool has_ids() { return resident().ids != 0; }
inline IdTable& id_table() { return *reinterpret_cast<IdTable*>(kIdTableAddress); }

// Brings the computation's table in, if the record says that there is one. 0 or -errno.
std::int64_t map_ids(const ExecRecord& record);
// For the first process of a computation that begins with a table (for tests).
void enter_own_ids(const ExecRecord& record);
// id_filter.cpp: also leads in all calls that have to do with ids.
std::int64_t install_id_filter();
// The same for reading from descriptors, once there is one from which signals are read.
std::int64_t install_read_filter();

// A call that takes or returns ids.
std::int64_t wrap_ids(Trap& trap, const IdCall& row);
// The same, or any other call that is to be made for the program in `frame`.
std::int64_t make_with_ids(Frame& frame, const IdRequest& request);
// The program is to make the call again, after kMakeItAgain.
void make_again(const Trap& trap);
// id_births.cpp: fork, vfork and clone.
std::int64_t wrap_birth(Trap& trap);
bool id_is_used(std::uint32_t current);
std::uint32_t adopt_self(std::uint32_t ticket);

// An order to stop finds the thread in here. If it waits in a call, the call is given up, and the
// program makes it again: but first it gets the order again, where it stands in its own code.
void leave_blocking_call(Frame& frame, const SignalInfo& order);

#pragma GCC visibility push(hidden)
extern "C" {
std::int64_t blocking_call(const IdRequest* request, const std::uint64_t* mask);
extern const char blocking_begin[], blocking_instruction[], blocking_end[], blocking_again[],
    blocking_over[];
std::int64_t clone_from_trap(std::uint64_t flags, void* stack, std::uint64_t parent_word,
                             std::uint64_t child_word, std::uint64_t thread_pointer);
std::int64_t vfork_from_trap(std::uint64_t flags, void* stack, std::uint64_t end, void* keep);
[[noreturn]] void child_of_trap(struct Birth* birth);
void handler_trampoline();
std::uint64_t prepare_handler(int signal, void* info, Frame* interrupted);
}
#pragma GCC visibility pop

}  // namespace torpor::agent
