// The standard streams of this process and of programs.
#pragma once

#include <sys/types.h>

#include <array>

#include "supervisor/supervisor.h"

namespace torpor::supervisor {

// Puts a placeholder, closed on exec, where 0, 1 or 2 is closed: no file that we open may come to
// stand there. Before anything else is opened.
void hold_standard_streams();

// What a program sees that gets these as its streams 0, 1, 2.
OutsideStreams outside_streams(const std::array<int, 3>& fds);
// The same of a program that has its streams already; closed ones are left out.
OutsideStreams outside_streams_of(pid_t pid);

// The streams for a program: our own, but the slave where ours is the user's terminal.
std::array<int, 3> streams_for_program(const UserTerminal* terminal, int slave);

}  // namespace torpor::supervisor
