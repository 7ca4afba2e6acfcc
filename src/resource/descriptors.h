// The descriptors of a whole computation: which of them share a description, and to which kind
// each description belongs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "process/held_process.h"
#include "proto/snapshot.pb.h"
#include "resource/file_kind.h"

namespace torpor::resource {

struct DescriptorFinding {
  pid_t pid = 0;  // in our own pid namespace
  int fd = -1;
  std::string what;  // "descriptor 5 (/a/file)"
  std::string reason;
  std::string remedy;
  bool certain = true;  // false: a warning, see Refusal
};

// ---- checkpoint

// What of the descriptors cannot be saved (I5); nothing need be stopped, and what vanishes
// meanwhile is passed over. Of `state` only `outside` is read, and `holders` is filled. Processes
// in the order of their ages (parents before children). Throws Error permission if one may not be
// looked at.
std::vector<DescriptorFinding> check_descriptors(std::span<const pid_t> pids, CaptureState& state);

// Fills Process.descriptors of every process in state.model (known by HeldProcess::seen_pid),
// open_files and the tables of what these refer to, and state.contents. All processes are stopped,
// parents come before their children; state.processes holds them too. With no `outside` given
// (attached to a running program), the root's own standard streams that lead outside are taken for
// it: the root is the first process.
// Throws Error refused naming everything that check_descriptors() would have found.
void capture_descriptors(std::span<process::HeldProcess* const> processes, CaptureState& state);

// ---- restart

struct OpenFileFinding {
  std::string what;  // "descriptor 5 of process 12 (/a/file)"
  std::string reason;
  std::string remedy;
};

// What stands in the way of making the image's descriptions on this host. Changes nothing. Throws
// Error bad_image where the tables contradict themselves.
std::vector<OpenFileFinding> check_open_files(const snapshot::Computation& model,
                                              const RestoreState& state);

// Who holds a description, in the order of the processes.
struct DescriptorPlace {
  pid_t pid = 0;  // as the program sees it
  int fd = -1;
  bool close_on_exec = false;
};
std::vector<DescriptorPlace> places_of(const snapshot::Computation& model, std::uint64_t open_file);

// Makes every description of state.model, in our own process: they stand in state.open_files, with
// their position, status flags, and the locks that belong to descriptions. Raises our soft limit of
// open files to the hard one. Throws Error, naming who holds the description and what it is.
void restore_open_files(RestoreState& state);

// The one with this id, made now if it is not there yet. For kinds that need another one.
int open_file_made(RestoreState& state, std::uint64_t id);

// Gives a husk its descriptors: close-on-exec as saved. Its table must hold nothing but the agent's
// socket, above all their numbers, and its limit of open files allow them.
void give_descriptors(RestoreState& state, process::HeldProcess& held,
                      const snapshot::Process& process);

// What has to be done from inside the processes: epoll sets, owners, POSIX locks, seals. All
// processes are in state.processes and have their descriptors, and all memory is mapped: closing
// any descriptor of a file drops the POSIX locks of the process on it (fcntl(2)), a sealed memory
// cannot be mapped for writing any more.
void finish_descriptors(RestoreState& state);

}  // namespace torpor::resource
