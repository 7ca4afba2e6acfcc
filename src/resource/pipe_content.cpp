#include "resource/pipe_content.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::resource {
namespace {

bool readable(int pipe) { return (::fcntl(pipe, F_GETFL) & O_ACCMODE) != O_WRONLY; }

// A read end of the same pipe, for one who holds its write end only.
base::UniqueFd open_read_end(int pipe) {
  const std::string path = fmt::format("/proc/self/fd/{}", pipe);
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) base::throw_system("cannot open the read end of a pipe");
  return fd;
}

std::pair<base::UniqueFd, base::UniqueFd> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) base::throw_system("cannot make a pipe");
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

// The read end of a private pipe with the same content. tee(2) copies buffer by buffer, packets
// included, so the same capacity is enough.
base::UniqueFd copy_of(int read_end, std::uint32_t bytes) {
  auto [out, in] = make_pipe();
  if (!set_pipe_capacity(in.get(), pipe_capacity(read_end))) {
    throw base::Error(base::ErrorCode::io, "cannot look into a pipe: no room for as large a one",
                      "raise /proc/sys/fs/pipe-max-size or pipe-user-pages-soft");
  }
  const ssize_t copied = ::tee(read_end, in.get(), bytes, SPLICE_F_NONBLOCK);
  if (copied < 0) base::throw_system("cannot look into a pipe");
  if (copied != static_cast<ssize_t>(bytes)) {
    throw base::Error(base::ErrorCode::io,
                      fmt::format("saw {} of {} bytes of a pipe", copied, bytes));
  }
  return std::move(out);
}

// A packet is gone with the first of its bytes that is read.
bool begins_with_packet(int read_end, std::uint32_t bytes) {
  const base::UniqueFd copy = copy_of(read_end, bytes);
  char byte = 0;
  return ::read(copy.get(), &byte, 1) == 1 && bytes_in_pipe(copy.get()) + 1 < bytes;
}

void write_piece(int write_end, std::string_view piece) {
  while (!piece.empty()) {
    const ssize_t written = ::write(write_end, piece.data(), piece.size());
    if (written < 0) base::throw_system("cannot fill a pipe again");
    piece.remove_prefix(static_cast<std::size_t>(written));
  }
}

void set_flags(int pipe, int flags) {
  if (::fcntl(pipe, F_SETFL, flags) != 0) base::throw_system("cannot set the flags of a pipe");
}

}  // namespace

std::uint32_t bytes_in_pipe(int pipe) {
  int bytes = 0;
  if (::ioctl(pipe, FIONREAD, &bytes) != 0) base::throw_system("cannot ask a pipe what is in it");
  return static_cast<std::uint32_t>(bytes);
}

std::uint32_t pipe_capacity(int pipe) {
  const int bytes = ::fcntl(pipe, F_GETPIPE_SZ);
  if (bytes < 0) base::throw_system("cannot ask a pipe for its capacity");
  return static_cast<std::uint32_t>(bytes);
}

bool set_pipe_capacity(int pipe, std::uint32_t bytes) {
  if (pipe_capacity(pipe) == bytes) return true;
  if (::fcntl(pipe, F_SETPIPE_SZ, bytes) >= 0) return true;
  if (errno != EPERM) base::throw_system("cannot set the capacity of a pipe to {}", bytes);
  return pipe_capacity(pipe) >= bytes;
}

PipeContent look_into_pipe(int pipe, bool packets) {
  const std::uint32_t bytes = bytes_in_pipe(pipe);
  if (bytes == 0) return {};
  base::UniqueFd own_end;
  if (!readable(pipe)) own_end = open_read_end(pipe);
  const int read_end = own_end ? own_end.get() : pipe;
  packets = packets || begins_with_packet(read_end, bytes);
  const base::UniqueFd copy = copy_of(read_end, bytes);
  PipeContent content;
  while (content.bytes.size() < bytes) {
    const std::size_t start = content.bytes.size();
    content.bytes.resize(packets ? start + PIPE_BUF : bytes);  // no packet is longer (pipe(2))
    const ssize_t got =
        ::read(copy.get(), content.bytes.data() + start, content.bytes.size() - start);
    if (got <= 0) base::throw_system("cannot read the copy of a pipe");
    content.bytes.resize(start + static_cast<std::size_t>(got));
    if (packets) content.packets.push_back(static_cast<std::uint32_t>(got));
  }
  return content;
}

void fill_pipe(int write_end, const PipeContent& content) {
  const int flags = ::fcntl(write_end, F_GETFL);
  if (flags < 0) base::throw_system("cannot read the flags of a pipe");
  set_flags(write_end, (flags & ~O_DIRECT) | O_NONBLOCK | (content.packets.empty() ? 0 : O_DIRECT));
  if (content.packets.empty()) write_piece(write_end, content.bytes);
  std::string_view rest = content.bytes;
  for (const std::uint32_t packet : content.packets) {
    write_piece(write_end, rest.substr(0, packet));
    rest.remove_prefix(std::min<std::size_t>(packet, rest.size()));
  }
  set_flags(write_end, flags);
}

}  // namespace torpor::resource
