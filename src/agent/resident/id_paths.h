// Ids in paths of /proc, in its links and in its listings. Pure functions of the pid table.
// Freestanding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agent/resident/id_structs.h"

namespace torpor::agent {

// A place that paths lead through or begin at.
enum class Place : std::uint8_t { kElsewhere, kRoot, kProc, kProcess, kTasks, kThread, kBelow };

// Where a directory is, by the path that the kernel tells of it (readlink of /proc/self/cwd).
Place place_of(const char* path, std::size_t length);

// May a path that begins so lead to an id of /proc, wherever it begins? Looks at its first bytes
// only.
bool may_lead_to_id(const char* path);

// The path with its ids translated. 0: it stays as it is. Else the length that it has (and it is at
// `to`, if that is less than `room`, with its end).
std::size_t translate_path(const IdTable& table, Way way, Place from, const char* path, char* to,
                           std::size_t room);

// Where a path leads to, without its last component, by its text alone; and whether that component
// is "self" or "thread-self".
struct LastStep {
  Place parent;
  bool is_self;
};
LastStep last_step(Place from, const char* path);

// A link's text, in a buffer of `room` bytes, is rewritten as the program is to see it. How long it
// is then, cut off where the buffer ends.
std::size_t translate_link(const IdTable& table, LastStep link, char* text, std::size_t length,
                           std::size_t room);

// Entries of a listing of /proc or /proc/<id>/task, as getdents64(2) or getdents(2) give them.
// Names may become longer: no more than `room_for_listing` of the buffer is to be given to the
// kernel. How much is used then.
enum class Listing : std::uint8_t { kOld, k64 };
std::size_t room_for_listing(std::size_t room);
std::size_t translate_listing(const IdTable& table, Listing form, char* entries, std::size_t used,
                              std::size_t room);

}  // namespace torpor::agent
