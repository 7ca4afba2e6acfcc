// What a measured program and the bench tell each other: one page of a file that both have mapped.
// The page lives in memory (tmpfs), so that writing the disk cannot stop who writes to it. It
// outlives the program: what a restarted one says can be compared with what was said before.
//
// run.py knows this layout (program.py): 64-bit words, in this order.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct board {
  // Written by the spinning thread, lap after lap.
  _Atomic uint64_t longest_gap_ns;  // CLOCK_MONOTONIC; between two laps. The bench sets it to 0
  _Atomic uint64_t longest_gap_at;  // CLOCK_REALTIME; the end of that gap
  _Atomic uint64_t last_lap;        // CLOCK_REALTIME
  _Atomic uint64_t first_lap;       // CLOCK_REALTIME; of the first lap begun after `waiting_since`

  _Atomic uint64_t waiting_since;  // written by the bench: CLOCK_REALTIME; 0: nobody waits

  _Atomic uint64_t ready;     // processes and waiting threads that have set themselves up
  _Atomic uint64_t answered;  // how many of them have answered SIGUSR1 ...
  _Atomic uint64_t wrong;     // ... and how many found their memory changed
  _Atomic uint64_t forked;    // processes that have answered SIGUSR2 ...
  _Atomic uint64_t fork_ns;   // ... and how long their fork() took, summed
};
