// What a descriptor can refer to: one class per kind, its capture and its restore side by side.
//
// At a checkpoint every open file description of the computation is looked at once (descriptors.h
// finds out which descriptors share one) and given to the first kind that matches(). At a restart
// the kind that made the record makes the description again. To add a kind: a message in
// snapshot.proto, a file here, a line in file_kinds.cpp.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/unique_fd.h"
#include "process/held_process.h"
#include "process/kcmp.h"
#include "process/proc_fdinfo.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

class DescriptionTable;
class PtyTable;
class UnixSocketTable;

// Why something cannot be saved or restored (I5).
struct Refusal {
  std::string reason;
  std::string remedy;
  // False: seen on a running program, and it may be an effect of looking at one process after the
  // other. The checkpoint itself decides, when all are stopped.
  bool certain = true;
};

// One descriptor of a process, through which a description is looked at.
struct FileView {
  pid_t pid = 0;            // in our own pid namespace; our own for one found in a socket's queue
  pid_t tid = 0;            // of a living thread: `pid`, unless the leader has exited
  int fd = -1;              // in the process
  std::string target;       // of /proc/PID/fd/N
  struct ::stat status {};  // of what it refers to
  process::FdInfo info;
  process::AgentClient* agent = nullptr;  // null in the dry pass: nothing is stopped then

  // The description as one of our own descriptors, close-on-exec: through pidfd_getfd(2) (Linux
  // 5.6, needs leave to ptrace), else through the agent. Never read from it, seek or change flags
  // through it: it is shared with the program. In the dry pass the program may meanwhile have put
  // another file there: see still_there(). Throws Error permission, program_gone, io.
  [[nodiscard]] base::UniqueFd take() const;
  // Nothing in a dry pass where the host does not let us.
  [[nodiscard]] std::optional<base::UniqueFd> take_if_allowed() const;

  // Whether `taken` is the file that this view is about.
  [[nodiscard]] bool still_there(const base::UniqueFd& taken) const;

  // Its link in /proc, which stat(2), statfs(2) and open(2) follow to the file itself.
  [[nodiscard]] std::string link() const;

  // "descriptor 5 (/a/file)", for messages.
  [[nodiscard]] std::string describe() const;
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
  std::uint64_t device = 0;
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
  std::map<std::pair<std::string, std::uint32_t>, std::uint64_t> socket_names;  // unix(7)
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> shared_memories;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> saved_files;
  std::vector<std::string> warnings;

  // The id in model->open_files of the description behind `fd` of `pid`; 0 if it is none of ours.
  // Filled in before the kinds' second pass (finish_capture).
  std::map<std::pair<pid_t, int>, std::uint64_t> open_file_of;
  // Same question for a descriptor of our own (one that we took out of a socket queue, say).
  // Set by descriptors.cpp; adds the description to the model if it is new.
  std::uint64_t identify(int own_fd);
  // One view per description, in the order of their ids: 1, 2 ... It may grow while it is gone
  // over.
  std::deque<std::pair<FileView, std::uint64_t>> representatives;

  // ---- for timerfd: our CLOCK_MONOTONIC when the last process had been stopped, the moment that
  // model->clocks tells; 0: not known, the moment of the capture stands for it
  std::int64_t stopped_monotonic_ns = 0;
  // ---- for UNIX sockets: unix_socket_table.h's own, filled when first asked
  mutable std::shared_ptr<UnixSocketTable> unix_sockets;
  // ---- for pseudo terminals: pty_table.h's own, likewise
  mutable std::shared_ptr<PtyTable> ptys;

  bool kcmp = process::is_kcmp_allowed();          // else descriptions are compared in other ways
  std::shared_ptr<DescriptionTable> descriptions;  // descriptors.cpp's own
};

// What the kinds share during one restart.
struct RestoreState {
  const snapshot::Computation* model = nullptr;
  std::map<std::uint64_t, base::UniqueFd> open_files;  // by id, as they are made
  // Things made on the way, by id: both ends of each pipe {read, write}, both sides of each pair.
  std::map<std::uint64_t, std::pair<base::UniqueFd, base::UniqueFd>> pipes;
  std::map<std::uint64_t, std::pair<base::UniqueFd, base::UniqueFd>> socket_pairs;
  std::map<std::uint64_t, base::UniqueFd> lone_sockets;  // those with a name, by open file
  bool named_sockets_made = false;                       // named_sockets.h
  std::map<std::uint64_t, base::UniqueFd>
      pty_slaves;  // one of each pty that has been open, by master
  std::map<std::uint64_t, base::UniqueFd> shared_memories;  // a memfd of each, filled
  std::map<std::uint64_t, base::UniqueFd> saved_files;      // an unlinked file of each, filled
  // Our clocks when those of the program began to go on from where the image has them; 0: not yet.
  std::int64_t began_monotonic_ns = 0;
  std::int64_t began_boottime_ns = 0;
  int streams[3] = {0, 1, 2};  // the restarter's
  int terminal = -1;           // slave side, for programs that had one
  bool accept_changed_files = false;
  // Where the ends that are cut off from grown files are kept; empty: beside the file.
  std::filesystem::path tails;
  // Files of ours that have grown since, by (device, inode): cut_grown_files(), regular_file.h.
  struct GrownFile {
    std::string path;
    snapshot::FileFacts facts;
  };
  std::map<std::pair<std::uint64_t, std::uint64_t>, GrownFile> grown_files;
  std::map<pid_t, process::HeldProcess*> processes;  // by pid as the program sees it
  std::vector<std::string> warnings;
};

// Throws it as an Error, with the process and the descriptor.
[[noreturn]] void refuse(const FileView& view, const Refusal& refusal);

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
  // True: descriptors.cpp sets the position.
  [[nodiscard]] virtual bool has_position() const { return false; }
  // False: the description is the restarter's own, its flags, owner and locks are not touched.
  [[nodiscard]] virtual bool is_ours(const snapshot::OpenFile&, const RestoreState&) const {
    return true;
  }
};

// All kinds, in the order in which they are asked; the last one matches nothing that can be saved.
std::span<const std::unique_ptr<FileKind>> file_kinds();
// The kind that matches; never fails (the last resort refuses by name).
const FileKind& kind_of(const FileView& view, const CaptureState& state);
const FileKind& kind_that_made(const snapshot::OpenFile& file);

}  // namespace torpor::resource
