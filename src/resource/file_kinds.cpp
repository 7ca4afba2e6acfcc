// The registry: every kind, in the order in which they are asked.
#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "resource/device.h"
#include "resource/directory.h"
#include "resource/epoll.h"
#include "resource/event_fd.h"
#include "resource/file_kind.h"
#include "resource/lone_socket.h"
#include "resource/memfd.h"
#include "resource/path_handle.h"
#include "resource/pid_fd.h"
#include "resource/pipe.h"
#include "resource/proc_file.h"
#include "resource/pty.h"
#include "resource/regular_file.h"
#include "resource/saved_file.h"
#include "resource/signal_fd.h"
#include "resource/standard_stream.h"
#include "resource/terminal.h"
#include "resource/timer_fd.h"
#include "resource/unix_socket.h"
#include "resource/unsupported_file.h"

namespace torpor::resource {
namespace {

// What a descriptor only names (O_PATH) comes first, since it is neither read nor written; then
// pseudo terminals that lead to the computation itself and what leads outside, then what is known
// by its type, and files proper after those that only look like one (deleted, of /proc).
std::vector<std::unique_ptr<FileKind>> make_kinds() {
  std::vector<std::unique_ptr<FileKind>> kinds;
  kinds.push_back(make_path_handle_kind());
  kinds.push_back(make_standard_stream_kind());
  kinds.push_back(make_pty_master_kind());
  kinds.push_back(make_pty_slave_kind());
  kinds.push_back(make_terminal_kind());
  kinds.push_back(make_pipe_kind());
  kinds.push_back(make_lone_socket_kind());
  kinds.push_back(make_unix_socket_kind());
  kinds.push_back(make_event_fd_kind());
  kinds.push_back(make_epoll_kind());
  kinds.push_back(make_timer_fd_kind());
  kinds.push_back(make_signal_fd_kind());
  kinds.push_back(make_pid_fd_kind());
  kinds.push_back(make_proc_file_kind());
  kinds.push_back(make_memfd_kind());
  kinds.push_back(make_saved_file_kind());
  kinds.push_back(make_directory_kind());
  kinds.push_back(make_regular_file_kind());
  kinds.push_back(make_device_kind());
  kinds.push_back(make_unsupported_kind());
  return kinds;
}

}  // namespace

std::span<const std::unique_ptr<FileKind>> file_kinds() {
  static const std::vector<std::unique_ptr<FileKind>> kinds = make_kinds();
  return kinds;
}

const FileKind& kind_of(const FileView& view, const CaptureState& state) {
  for (const auto& kind : file_kinds()) {
    if (kind->matches(view, state)) return *kind;
  }
  throw base::Error(base::ErrorCode::internal,
                    fmt::format("process {}: no kind for {}", view.pid, view.describe()));
}

const FileKind& kind_that_made(const snapshot::OpenFile& file) {
  for (const auto& kind : file_kinds()) {
    if (kind->made(file)) return *kind;
  }
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("open file {} ({}) is of no kind that this version knows",
                                file.id(), file.path()),
                    "use the version of torpor that made the image");
}

}  // namespace torpor::resource
