// How a program's vdso (vdso(7)) is made to ask us for the monotonic clocks: the first instructions
// of its clock_gettime become a jump. What they were is done in a stub of ours, from which the
// function goes on. Freestanding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torpor::agent {

inline constexpr std::size_t kPatchBytes = 12;  // movabs $address, %rax; jmp *%rax
inline constexpr std::size_t kHeadBytes = 16;   // and what may be looked at with them

struct ClockStub {
  struct Step {  // the instruction at entry + from stands at code + to
    std::uint8_t from, to;
  };
  std::uint8_t code[160];
  std::uint64_t entry;            // of the function; 0: there is none
  std::uint8_t head[kHeadBytes];  // what stood there
  std::uint8_t count;             // of steps; 0: the function is not understood, nor used
  Step steps[2 * kPatchBytes];
};

// Of the vdso at `vdso`, which may be mapped elsewhere: `address` is where the program has it.
// False if it has no such function, or one with no room for the jump.
bool plan_clock_stub(const std::uint8_t* vdso, std::uint64_t bytes, std::uint64_t address,
                     ClockStub& stub);

// The size of the vdso's mapping.
std::uint64_t vdso_bytes(const std::uint8_t* vdso);

void put_jump(std::uint8_t* to, std::uint64_t address);

// A place in the stub as the place in the program's function that is equal to it; and the reverse,
// 0 if there is none.
std::uint64_t place_in_function(const ClockStub& stub, std::uint64_t offset);
std::uint64_t place_in_stub(const ClockStub& stub, std::uint64_t base, std::uint64_t place);

}  // namespace torpor::agent
