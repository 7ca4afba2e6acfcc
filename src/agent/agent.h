// Inside of the agent: what its files share. Freestanding; see agent_abi.h for the contract.
#pragma once

#include <linux/sched.h>
#include <linux/types.h>

#include "agent/agent_abi.h"
#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {

using sys::raw_syscall;

template <typename T>
std::uint64_t address_of(const T* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

extern "C" {
void jump_to(std::uint64_t address, void* argument, std::uint64_t second = 0);
std::int64_t clone_call(struct clone_args* args, std::size_t size, void (*function)(void*),
                        void* argument);
[[gnu::visibility("hidden")]] void serve_entry();
extern const BlobHeader blob_start;

// Receives and executes messages until the socket ends; then leaves the process unharmed (or, in a
// husk, ends it).
[[noreturn]] void serve(Context* context);
[[noreturn]] void husk_main(const BlobHeader* blob);
// The address at which the thread has to go on; 0: at its own saved registers.
std::uint64_t inject_main(Context* context);
void probe_main(ThreadProbe* probe);
}

// Makes the calls in order. Stops at the first that fails unless it may.
void execute(Context* context, Call* calls, std::uint32_t count);

// The supervisor is gone. In a program: undoes what would be seen, lets the thread that brought us
// in go back by itself, and ends. Who goes last, that thread or we, unmaps the area. A husk ends.
[[noreturn]] void abandon(Context* context);

// Threads that still wait in probe_main() return by themselves.
void let_probed_threads_go(Context* context);

// Waits for so long, or until `fd` can be read (-1: just waits). True if it can.
bool readable_within(int fd, std::int64_t nanoseconds);

// The first message over a new socket.
void say_hello(const Context* context);
// Sends the executed message back.
void reply(Context* context);
// The same from within its last call, which succeeds and does not come back.
void reply_last(Context* context);

// The functions of agent_abi.h's enum Function; -ENOSYS for an unknown one.
std::int64_t call_function(Context* context, const Call& call);

// What the two kinds of agent do differently: the one that comes for a checkpoint or stands in a
// husk (plain.cpp), and the resident one (resident/husk.cpp), whose program may have ids of its
// own.
std::int64_t system_call(std::int64_t number, const std::uint64_t (&args)[6]);
// The id that a new task is to have (0: any): before the clone, and as the first that the task
// does.
void choose_id(clone_args& args, const std::int32_t* id);
void take_id(std::int32_t id);
// A thread that has made its calls waits for its registers.
[[noreturn]] void await_registers(ThreadRecord* record);

std::int64_t snapshot(Context* context, int control);
std::int64_t fork_husk(Context* context, const Call& call);
std::int64_t start_thread(ThreadRecord* record);
[[noreturn]] void serve_reaper(int report);

void copy_bytes(void* destination, const void* source, std::size_t bytes);
void futex_wait(const std::uint32_t* word, std::uint32_t while_value, std::int64_t timeout_ns);
void futex_wake(const std::uint32_t* word);
std::uint32_t load(const std::uint32_t* word);
void store(std::uint32_t* word, std::uint32_t value);

}  // namespace torpor::agent
