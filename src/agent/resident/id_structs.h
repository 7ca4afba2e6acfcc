// Ids in what system calls are given and give: numbers and structs. Pure functions of the pid
// table. Freestanding.
#pragma once

#include <cstdint>

#include "agent/resident/id_calls.h"
#include "agent/resident/id_table.h"

namespace torpor::agent {

enum class Way : std::uint8_t { kToKernel, kToProgram };

// A number of kind kProcess to kSigned. 0, -1 and, where no groups are meant, all negative numbers
// stay as they are.
std::int32_t translate_id(const IdTable& table, Way way, Id kind, std::int32_t id);

// clockid_t: of a process's or thread's processor time it holds the id (clock_getcpuclockid(3)).
std::int32_t translate_clock(const IdTable& table, Way way, std::int32_t clock);

// How much of the struct in such an argument is looked at; 0: the argument points to none.
std::uint32_t bytes_of(Id kind);
// Whether it is given to the kernel, and whether the kernel gives it back.
bool is_given(Id kind);
bool is_returned(Id kind);

// The ids in such a struct. `place` has bytes_of(kind) bytes and no alignment.
void translate_struct(const IdTable& table, Way way, Id kind, void* place);

// Without the agent's word for it nothing tells what is in siginfo_t: where the kernel's layouts
// have a process (siginfo_layout() in kernel/signal.c).
void translate_info(const IdTable& table, Way way, void* info);

// One record read from a signalfd (struct signalfd_siginfo), of which 16 bytes are looked at.
inline constexpr std::uint32_t kSignalRecordBytes = 128;
void translate_signal_record(const IdTable& table, void* record);

// The control messages of a sent or received message: SCM_CREDENTIALS.
void translate_control(const IdTable& table, Way way, void* control, std::uint64_t bytes);

}  // namespace torpor::agent
