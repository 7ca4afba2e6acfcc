// For the tests of UNIX sockets: pairs, and a computation that holds them.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "resource/file_kind.h"
#include "resource/unix_socket.h"

namespace torpor::resource {

inline FileView view_of(int fd) {
  FileView view;
  view.pid = ::getpid();
  view.fd = fd;
  view.target = process::fd_target(view.pid, fd);
  view.info = process::read_fdinfo(view.pid, fd);
  ::fstat(fd, &view.status);
  return view;
}

struct SocketPair {
  explicit SocketPair(int type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) base::throw_system("socketpair");
    one.reset(ends[0]);
    other.reset(ends[1]);
  }
  base::UniqueFd one;
  base::UniqueFd other;
};

// A computation that holds these descriptors of this process.
struct SocketCapture {
  explicit SocketCapture(const std::vector<int>& fds) {
    state.model = &model;
    for (const int fd : fds) {
      const FileView view = view_of(fd);
      state.holders.push_back(
          {.pid = view.pid, .fd = fd, .device = view.status.st_dev, .inode = view.status.st_ino});
      views.push_back(view);
    }
  }

  std::optional<Refusal> check(std::size_t i) const { return kind->check(views.at(i), state); }

  void run() {
    for (const FileView& view : views) {
      EXPECT_TRUE(kind->matches(view, state));
      snapshot::OpenFile& file = *model.add_open_files();
      file.set_id(static_cast<std::uint64_t>(model.open_files_size()));
      kind->capture(view, state, file);
    }
    for (std::size_t i = 0; i < views.size(); ++i) {
      kind->finish_capture(views[i], state, *model.mutable_open_files(static_cast<int>(i)));
    }
  }

  std::unique_ptr<FileKind> kind = make_unix_socket_kind();
  snapshot::Computation model;
  CaptureState state;
  std::vector<FileView> views;
};

}  // namespace torpor::resource
