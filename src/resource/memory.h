// The memory of a process: its areas, what backs them, and how they are mapped again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/page_source.h"
#include "process/held_process.h"
#include "process/proc_maps.h"
#include "proto/snapshot.pb.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// A part of the address space that is ours (the agent's) and no part of the program.
struct AddressRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

struct MemoryFinding {
  std::string area;  // addresses and path
  std::string reason;
  std::string remedy;
};

// What of the memory cannot be saved (I5). Works on a running process too.
std::vector<MemoryFinding> check_memory(pid_t pid);

// Areas, layout and shared memories into the model. The process is stopped. Throws Error refused
// for what check_memory() would have found.
void capture_memory(const process::HeldProcess& held, AddressRange agent, CaptureState& state,
                    snapshot::Process& process);

// Areas that the copy-on-write copy does not have, or whose content can change behind it: they are
// to be copied while the program is stopped.
bool must_copy_in_pause(const snapshot::Area& area);

}  // namespace torpor::resource
