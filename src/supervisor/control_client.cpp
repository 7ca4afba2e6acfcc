#include "supervisor/control_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/unique_fd.h"
#include "process/proc_tree.h"
#include "supervisor/framing.h"
#include "supervisor/runtime_dir.h"

namespace torpor::supervisor {
namespace {

constexpr int status_timeout_ms = 2000;

[[noreturn]] void no_such(const std::string& name) {
  throw base::Error(base::ErrorCode::not_found,
                    fmt::format("no computation named '{}' is running", name),
                    "`torpor ps` shows those that run");
}

void check_peer(int fd, const std::string& name) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
    base::throw_system("cannot tell whose the socket of '{}' is", name);
  }
  if (peer.uid == ::geteuid() || peer.uid == 0) return;
  throw base::Error(base::ErrorCode::permission,
                    fmt::format("the socket of '{}' belongs to user {}", name, peer.uid));
}

base::UniqueFd connect_to(const std::filesystem::path& directory, const std::string& name) {
  if (name.empty() || name.size() > max_name_length || name.find('/') != std::string::npos)
    no_such(name);
  const base::UniqueFd place(
      ::open(directory.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!place) no_such(name);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket_address(place.get(), name);
  std::ranges::copy(path, address.sun_path);
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) base::throw_system("cannot make a socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) no_such(name);
    base::throw_system("cannot connect to the supervisor of '{}'", name);
  }
  check_peer(fd.get(), name);
  return fd;
}

[[noreturn]] void gone(const std::string& name) {
  throw base::Error(base::ErrorCode::program_gone,
                    fmt::format("the supervisor of '{}' ended before it had answered", name),
                    "the last image that was committed is still good: `torpor verify`");
}

void send_all(int fd, std::string_view bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) gone(name);
    if (sent < 0) base::throw_system("cannot write to the supervisor of '{}'", name);
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void wait_readable(int fd, int timeout_ms, const std::string& name) {
  pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&wanted, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  if (ready > 0) return;
  throw base::Error(base::ErrorCode::timeout,
                    fmt::format("the supervisor of '{}' does not answer", name),
                    "it may be stopped (SIGSTOP, Ctrl-Z): let it go on with SIGCONT or `fg`");
}

control::Reply next_reply(int fd, FrameReader& reader, int timeout_ms, const std::string& name) {
  control::Reply reply;
  std::array<char, 4096> bytes{};
  while (!reader.next(reply)) {
    wait_readable(fd, timeout_ms, name);
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || (got < 0 && errno == ECONNRESET)) gone(name);
    if (got < 0) base::throw_system("cannot read from the supervisor of '{}'", name);
    reader.feed({bytes.data(), static_cast<std::size_t>(got)});
  }
  return reply;
}

}  // namespace

control::Reply ask(const std::filesystem::path& directory, const std::string& name,
                   const control::Request& request, int timeout_ms, const OnProgress& on_progress) {
  const base::UniqueFd fd = connect_to(directory, name);
  send_all(fd.get(), encode_frame(request), name);
  FrameReader reader;
  while (true) {
    control::Reply reply = next_reply(fd.get(), reader, timeout_ms, name);
    if (reply.has_error()) {
      throw base::Error(static_cast<base::ErrorCode>(reply.error().code()), reply.error().what(),
                        reply.error().remedy());
    }
    if (!reply.has_progress()) return reply;
    if (on_progress) on_progress(reply.progress());
  }
}

control::Status status_of(const std::filesystem::path& directory, const std::string& name) {
  control::Request request;
  request.mutable_status();
  return ask(directory, name, request, status_timeout_ms).status();
}

std::vector<control::Status> all_statuses(const std::filesystem::path& directory) {
  std::vector<control::Status> statuses;
  for (const std::string& name : socket_names(directory)) {
    try {
      statuses.push_back(status_of(directory, name));
    } catch (const base::Error&) {
      // It has just ended, or it is the rest of one that was killed.
    }
  }
  return statuses;
}

std::optional<control::Status> managing(const std::filesystem::path& directory, pid_t pid) {
  for (control::Status& status : all_statuses(directory)) {
    if (status.root_pid() == pid) return std::move(status);
    try {
      const std::vector<pid_t> below = process::descendants_of(status.root_pid());
      if (std::ranges::find(below, pid) != below.end()) return std::move(status);
    } catch (const base::Error&) {
      // It has just ended.
    }
  }
  return std::nullopt;
}

}  // namespace torpor::supervisor
