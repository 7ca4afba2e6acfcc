// A computation in the wrapped mode: a tree of processes with resident agents that know it by a
// number.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace torpor::wrapped {

class IdTableFile;

struct Computation {
  std::uint64_t number = 0;          // random
  int stop_signal = 0;               // that the program does not use
  const IdTableFile* ids = nullptr;  // if there is a pid table; must stay as long as this
};

// One with a new number.
Computation new_computation(int stop_signal);

// The file of the resident agent, as the processes of the computation will call their program.
base::UniqueFd resident_program(const Computation& computation);

// The words with which it is executed to become `program`, which `arguments` (with the program's
// own name first) are for. If that fails, an errno is written to descriptor `report`.
std::vector<std::string> resident_arguments(const Computation& computation, int report,
                                            const std::string& program,
                                            const std::vector<std::string>& arguments);

// The words with which it is executed to become a husk (restart/init_husk.h).
std::vector<std::string> husk_arguments(const Computation& computation);

// Whether the process has a resident agent of this computation. True also for one that is about to
// end, which has no program any more.
bool is_managed(pid_t pid, const Computation& computation);
// Why one that has none is in the way, and what can be done.
inline constexpr char kNoAgent[] =
    "it runs without a resident agent: a program of another kind than x86-64 ELF, or one that left "
    "the computation";
inline constexpr char kNoAgentRemedy[] =
    "wait until it has ended, or launch the program with --mode external";

}  // namespace torpor::wrapped
