// The pid table: which id of the program's (its "original") stands for which id of the kernel's
// (its "current"). One region, shared by all processes of a computation on this host. Freestanding.
//
// Linux numbers processes, threads, process groups and sessions out of one set, and a group is
// called as the process that made it: so one pair of numbers serves all four.
//
// Both ways a look-up is one load of an array, without any lock. `by_current` is the truth;
// `by_original` only says where to look in it, and counts only if it is confirmed there. So a pair
// appears and disappears with one atomic store each, and whoever is killed in between leaves
// nothing that a reader would believe. Most of the region is never touched and takes no memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agent/resident/clock_offsets.h"

namespace torpor::agent {

// Linux never gives an id as high as this (PID_MAX_LIMIT).
inline constexpr std::uint32_t kIdLimit = 1U << 22;
// An id that no process can have: what an original that means nobody becomes on its way to the
// kernel.
inline constexpr std::uint32_t kNobody = 0x3fffffff;
// What the program sees of a process whose id it knows as somebody else's; as the kernel does with
// processes outside of a namespace.
inline constexpr std::uint32_t kOutside = 0;

// An entry: 0 is none. The other id in bits 0-21, a ticket in 22-53, flags above.
using IdWord = std::uint64_t;
inline constexpr IdWord kIdPresent = IdWord{1} << 63;
inline constexpr IdWord kIdSession = IdWord{1}
                                     << 62;  // by_current only: has been a session's leader

inline constexpr std::uint32_t kIdsPerPage = 4096 / sizeof(IdWord);
inline constexpr std::uint32_t kIdPages = kIdLimit / kIdsPerPage;

struct IdTable {
  std::uint64_t magic;
  std::uint32_t limit;   // ids for new children are below this: pid_max of the host
  std::uint32_t cursor;  // where the search for an unused original goes on
  std::uint32_t ticket;  // the last that was given
  std::uint32_t births;  // since the last sweep
  std::uint32_t apart;   // not 0 (tests): so far is a new child's original from its current id
  // Of the computation's clocks; here because every process finds it here. What is written all the
  // time is in another cache line.
  alignas(64) ClockOffsets clocks;
  // A bit for each page of the arrays that may hold anything: who walks through them touches no
  // other.
  std::uint64_t original_pages[kIdPages / 64];
  std::uint64_t current_pages[kIdPages / 64];
  alignas(4096) IdWord by_original[kIdLimit];
  IdWord by_current[kIdLimit];
};
inline constexpr std::uint64_t kIdTableMagic = 0x3164697072726f74;  // "torrpid1"
inline constexpr std::uint64_t kIdTableBytes = sizeof(IdTable);

// Of zeros, makes an empty table.
void prepare_ids(IdTable& table, std::uint32_t pid_max);

// The kernel's id for the program's; kNobody if the program knows nobody by it. An id of neither
// side is that of a process outside of the computation: the same for both.
std::uint32_t current_of(const IdTable& table, std::uint32_t original);

// The program's id for the kernel's; kOutside for a process outside of the computation whose id the
// program knows as one of its own.
std::uint32_t original_of(const IdTable& table, std::uint32_t current);

// Is this id of the kernel's in use by anybody, as far as can be told? For ids that are to be
// given.
using IdInUse = bool (*)(std::uint32_t current);

// A restart enters who has which id. False if either id has a pair already, or cannot be one.
bool enter_pair(IdTable& table, std::uint32_t original, std::uint32_t current);

// A number for one call that makes a child: what parent and child agree by on which child is meant.
std::uint32_t draw_ticket(IdTable& table);

// The original of a child that the kernel has just given `current` to: the same number if the
// program knows nobody by it, else an unused one. Called by parent and child, with the same ticket:
// the first decides, both get the same answer, and either may be killed at any time. An older pair
// of `current` is of a process that is gone, and goes. 0 if no id is left.
std::uint32_t adopt_child(IdTable& table, std::uint32_t current, std::uint32_t ticket,
                          IdInUse in_use);

// The entry of a current id, 0 if it has none; and its end, if it is still the same one.
IdWord pair_of_current(const IdTable& table, std::uint32_t current);
void drop_pair(IdTable& table, std::uint32_t current, IdWord pair);
inline std::uint32_t id_in(IdWord pair) {
  return static_cast<std::uint32_t>(pair) & (kIdLimit - 1);
}

// It leads a session now, whose id stays when it is gone.
void mark_session(IdTable& table, std::uint32_t current);

// The first current id after `after` that has an entry; 0: no more.
std::uint32_t next_current(const IdTable& table, std::uint32_t after);

// Drops the pairs of processes that are gone without that anybody waited for them. Who has led a
// session stays: nothing tells cheaply whether the session is still there.
void sweep_ids(IdTable& table, IdInUse in_use);

// The same, but only once in so many births, and left to one of those who see the time come.
inline constexpr std::uint32_t kBirthsBetweenSweeps = 4096;
bool is_time_to_sweep(IdTable& table);

}  // namespace torpor::agent
