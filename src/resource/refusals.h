// What a process can have that cannot be saved or restored, apart from memory and descriptors (I5).
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "process/held_process.h"
#include "proto/snapshot.pb.h"
#include "resource/credentials.h"

namespace torpor::resource {

// One thing that stands in the way, or (not fatal) will not be as it was.
struct Obstacle {
  bool fatal = true;
  pid_t pid = 0;
  std::string what;
  std::string reason;
  std::string remedy;
};

// The dry pass over a running process: seccomp, namespaces other than those of `surroundings`
// (ourselves; or, of a restarted computation, the init that we gave it), threads with descriptors,
// directories or namespaces of their own, a tracer, a deleted working directory, shadow stacks, a
// 32-bit program, timers of unknown threads, scheduling that needs privilege. A process that ends
// meanwhile is passed over.
void check_process(pid_t pid, pid_t surroundings, std::vector<Obstacle>& obstacles);

// Part of check_process().
void check_namespaces(pid_t pid, pid_t surroundings, std::vector<Obstacle>& obstacles);

// Memory, descriptors, directories or signal actions that two processes of the tree, or one of them
// and its parent outside, have in common. The brief sharing between vfork() and exec() is waited
// out (at most 0.3 s in all). Where kcmp(2) is refused, nothing but that this is so: see
// check_stopped_sharing().
void check_sharing(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles);

// The same without kcmp(2), for memory and directories (signal actions come with memory: clone(2)),
// and threads with directories of their own. Everything is stopped and the agents inside, which
// change the process's umask for a moment.
void check_stopped_sharing(std::span<process::HeldProcess* const> processes,
                           std::vector<Obstacle>& obstacles);

// System V semaphores and message queues that one of the processes was the last to use.
void check_system_v(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles);

// Those that its threads were stopped in waiting for, even if nobody has used them. Part of
// check_stopped().
void check_stopped_system_v(const process::HeldProcess& held, std::vector<Obstacle>& obstacles);

// With everything stopped and the agent inside, what cannot be seen from outside: system calls that
// are dispatched to user space, Landlock domains that we are not in ourselves (seen in the leader
// only), forbidden CPUID or time stamp counter, memory policies.
// Puts the agent's thread into Landlock domains of its own, see process/landlock.h.
void check_stopped(process::HeldProcess& held, std::vector<Obstacle>& obstacles);

// The dry pass of a restart: what of this process a restart by us, whose husks will have `present`,
// cannot give back here.
void check_restore(const snapshot::Process& process, const PresentCredentials& present,
                   std::vector<Obstacle>& obstacles);

}  // namespace torpor::resource
