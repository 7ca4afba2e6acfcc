#include "resource/socket_name.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>

#include "base/error.h"
#include "resource/socket_maker.h"

namespace torpor::resource {
namespace {

// As bind(2) was given it, without the zero that ends a path.
std::string exact_name(int socket) {
  sockaddr_un address{};
  socklen_t length = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    base::throw_system("cannot read the name of a UNIX socket");
  }
  constexpr std::size_t kPath = offsetof(sockaddr_un, sun_path);
  std::string name(address.sun_path, std::min<std::size_t>(length, sizeof(address)) -
                                         std::min<std::size_t>(length, kPath));
  if (!name.empty() && name.front() != '\0') name.resize(::strnlen(name.data(), name.size()));
  return name;
}

// The inode tells, as the kernel keeps it of the socket: in 32 bits, and on a file system that
// may go by another device number in stat(2) (overlayfs, btrfs).
bool leads_to_it(const struct ::stat& file, const UnixSocket& socket) {
  return S_ISSOCK(file.st_mode) && socket.file_inode == static_cast<std::uint32_t>(file.st_ino);
}

void look_at_file(const FileView& view, const UnixSocket& socket, snapshot::SocketName& name) {
  const pid_t tid = view.tid != 0 ? view.tid : view.pid;
  const std::string path = fmt::format("/proc/{}/root{}", tid, name.name());
  struct ::stat file {};
  if (::lstat(path.c_str(), &file) != 0 || !leads_to_it(file, socket)) return;
  name.set_linked(true);
  name.set_mode(file.st_mode & ALLPERMS);
  name.set_uid(file.st_uid);
  name.set_gid(file.st_gid);
}

Refusal taken(const snapshot::SocketName& name) {
  return {fmt::format("the name {} of a UNIX socket is in use", shown_name(name)),
          "end the program that listens there, or wait for it to end"};
}

std::optional<Refusal> check_abstract(const snapshot::SocketName& name, int type) {
  const RestoreState nothing;
  const SocketMaker here(nothing, 0);
  const base::UniqueFd probe = here.make(type);
  if (here.bind(probe.get(), name.name()) == -EADDRINUSE) return taken(name);
  return std::nullopt;
}

// Sockets of another type are told from none without their noticing (net/unix/af_unix.c):
// EPROTOTYPE if somebody is bound there, ECONNREFUSED if not.
std::optional<Refusal> check_file(const snapshot::SocketName& name, int type) {
  struct ::stat file {};
  if (::lstat(name.name().c_str(), &file) != 0) {
    const auto directory = std::filesystem::path(name.name()).parent_path();
    if (::access(directory.c_str(), W_OK | X_OK) == 0) return std::nullopt;
    return Refusal{fmt::format("the UNIX socket {} cannot be made: no leave to write in {}",
                               shown_name(name), directory.string()),
                   "make that directory"};
  }
  if (!S_ISSOCK(file.st_mode)) {
    return Refusal{fmt::format("{} is to be a UNIX socket, and is something else now", name.name()),
                   "move it away"};
  }
  const RestoreState nothing;
  const SocketMaker here(nothing, 0);
  const base::UniqueFd probe = here.make(type == SOCK_DGRAM ? SOCK_STREAM : SOCK_DGRAM);
  if (here.connect(probe.get(), name.name()) == -ECONNREFUSED) return std::nullopt;
  return taken(name);
}

}  // namespace

std::optional<Refusal> check_socket_name(const UnixSocket& socket) {
  if (socket.name.empty() || socket.abstract || socket.name.starts_with('/')) return std::nullopt;
  return Refusal{fmt::format("a UNIX socket is bound to the relative path {}", socket.name),
                 "let the program bind it to an absolute path"};
}

std::uint64_t enter_socket_name(int own, const FileView& view, const UnixSocket& socket,
                                CaptureState& state) {
  const std::string bytes = exact_name(own);
  if (bytes.empty()) return 0;
  std::uint64_t& id = state.socket_names[{bytes, socket.file_inode}];
  if (id != 0) return id;
  snapshot::SocketName& name = *state.model->add_socket_names();
  id = static_cast<std::uint64_t>(state.model->socket_names_size());
  name.set_id(id);
  name.set_name(bytes);
  if (is_path(name)) look_at_file(view, socket, name);
  return id;
}

pid_t maker_of(int own, const CaptureState& state) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(own, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return 0;
  const auto held = state.processes.find(peer.pid);
  return held == state.processes.end() ? 0 : held->second->seen_pid;
}

const snapshot::SocketName& socket_name(std::uint64_t id, const RestoreState& state) {
  for (const snapshot::SocketName& name : state.model->socket_names()) {
    if (name.id() == id && !name.name().empty()) return name;
  }
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("the name {} of a UNIX socket is not in the image", id),
                    "use another generation");
}

std::optional<Refusal> check_name_is_free(std::uint64_t id, int type, const RestoreState& state) {
  if (id == 0) return std::nullopt;
  const snapshot::SocketName& name = socket_name(id, state);
  return is_path(name) ? check_file(name, type) : check_abstract(name, type);
}

std::string shown_name(const snapshot::SocketName& name) {
  return is_path(name) ? name.name() : "@" + name.name().substr(1);
}

}  // namespace torpor::resource
