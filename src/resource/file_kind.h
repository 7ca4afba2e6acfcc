// What a descriptor can refer to: one class per kind, its capture and its restore side by side.
//
// At a checkpoint every open file description of the computation is looked at once (descriptors.h
// finds out which descriptors share one) and given to the first kind that matches(). At a restart
// the kind that made the record makes the description again. To add a kind: a message in
// snapshot.proto, a file here, a line in file_kinds.cpp.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/unique_fd.h"
#include "process/held_process.h"
#include "process/proc_fdinfo.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// Why something cannot be saved or restored (I5).
struct Refusal {
  std::string reason;
  std::string remedy;
};

// One descriptor of a process, through which a description is looked at.
struct FileView {
  pid_t pid = 0;            // in our own pid namespace
  int fd = -1;              // in the process
  std::string target;       // of /proc/PID/fd/N
  struct ::stat status {};  // of what it refers to
  process::FdInfo info;
  process::AgentClient* agent = nullptr;  // null in the dry pass: nothing is stopped then

  // The description as one of our own descriptors (needs the agent). Never read from it, seek or
  // change flags through it: it is shared with the program.
  [[nodiscard]] base::UniqueFd take() const;
};

// The launcher's own streams, as it gave them to the program.
struct OutsideStream {
  unsigned stream = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

// One descriptor, for kinds that have to know who else is there.
struct Holder {
  pid_t pid = 0;
  int fd = -1;
  std::uint64_t inode = 0;
  std::uint32_t flags = 0;  // O_*
};

// What the kinds share during one checkpoint.
struct CaptureState {
  snapshot::Computation* model = nullptr;
  std::vector<OutsideStream> outside;
  std::vector<Holder> holders;                       // every descriptor of every process
  std::map<pid_t, process::HeldProcess*> processes;  // by pid in our namespace; empty: dry pass
  // Content that the image must hold, copied after the program runs again: it must not change any
  // more, so it is a private copy (memfd) or a description that nobody can write to.
  struct Content {
    std::uint64_t id = 0;
    bool shared_memory = false;  // else a saved file
    base::UniqueFd fd;
    std::uint64_t size = 0;
  };
  std::vector<Content> contents;
  // Objects that several descriptions share, by (device, inode): the id in the model's table.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> pipes;
  std::map<std::uint64_t, std::pair<std::uint64_t, unsigned>> socket_sides;  // inode -> pair, side
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> shared_memories;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> saved_files;
  std::vector<std::string> warnings;

  // The id in model->open_files of the description behind `fd` of `pid`; 0 if it is none of ours.
  // Filled in before the kinds' second pass (finish_capture).
  std::map<std::pair<pid_t, int>, std::uint64_t> open_file_of;
  // Same question for a descriptor of our own (one that we took out of a socket queue, say).
  // Set by descriptors.cpp; adds the description to the model if it is new.
  std::uint64_t identify(int own_fd);
  std::vector<std::pair<FileView, std::uint64_t>> representatives;  // one view per description
};

// What the kinds share during one restart.
struct RestoreState {
  const snapshot::Computation* model = nullptr;
  std::map<std::uint64_t, base::UniqueFd> open_files;  // by id, as they are made
  // Things made on the way, by id: both ends of each pipe {read, write}, both sides of each pair.
  std::map<std::uint64_t, std::pair<base::UniqueFd, base::UniqueFd>> pipes;
  std::map<std::uint64_t, std::pair<base::UniqueFd, base::UniqueFd>> socket_pairs;
  std::map<std::uint64_t, base::UniqueFd> shared_memories;  // a memfd of each, filled
  std::map<std::uint64_t, base::UniqueFd> saved_files;      // an unlinked file of each, filled
  int streams[3] = {0, 1, 2};                               // the restarter's
  int terminal = -1;                                        // slave side, for programs that had one
  bool accept_changed_files = false;
  std::map<pid_t, process::HeldProcess*> processes;  // by pid as the program sees it
  std::vector<std::string> warnings;
};

class FileKind {
 public:
  virtual ~FileKind() = default;

  // "pipe", for messages.
  [[nodiscard]] virtual const char* name() const = 0;

  // ---- checkpoint
  [[nodiscard]] virtual bool matches(const FileView& view, const CaptureState& state) const = 0;
  // The dry pass and again with everything stopped: can it be saved? Must not change anything.
  [[nodiscard]] virtual std::optional<Refusal> check(const FileView&, const CaptureState&) const {
    return std::nullopt;
  }
  // Fills in the kind's own part of `file`; flags, position and path are there already. Everything
  // is stopped. Content is looked at without consuming it. Throws Error.
  virtual void capture(const FileView& view, CaptureState& state,
                       snapshot::OpenFile& file) const = 0;
  // After every description of the computation has been captured.
  virtual void finish_capture(const FileView&, CaptureState&, snapshot::OpenFile&) const {}

  // ---- restart
  [[nodiscard]] virtual bool made(const snapshot::OpenFile& file) const = 0;
  // The dry pass on the new host.
  [[nodiscard]] virtual std::optional<Refusal> check_restore(const snapshot::OpenFile&,
                                                             const RestoreState&) const {
    return std::nullopt;
  }
  // Makes the description, in our own process; descriptors.cpp then sets position and status flags
  // (O_APPEND, O_NONBLOCK ...) and gives it to all who share it. Close-on-exec for us. Throws
  // Error.
  virtual base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const = 0;
  // Everything has its descriptors now: what has to be done from inside a process that holds one
  // (epoll sets, POSIX locks, owners). `holder` is any such process, `fd` its descriptor.
  virtual void finish_restore(const snapshot::OpenFile&, RestoreState&, process::HeldProcess&,
                              int) const {}
  // False: position and flags are not set by descriptors.cpp.
  [[nodiscard]] virtual bool has_position() const { return false; }
};

// All kinds, in the order in which they are asked; the last one matches nothing that can be saved.
std::span<const std::unique_ptr<FileKind>> file_kinds();
// The kind that matches; never fails (the last resort refuses by name).
const FileKind& kind_of(const FileView& view, const CaptureState& state);
const FileKind& kind_that_made(const snapshot::OpenFile& file);

}  // namespace torpor::resource
