#include "resource/lone_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/error.h"
#include "resource/named_sockets.h"
#include "resource/socket_maker.h"
#include "resource/socket_name.h"
#include "resource/socket_options.h"
#include "resource/unix_socket.h"
#include "resource/unix_socket_table.h"

namespace torpor::resource {
namespace {

// A listening one has its connections to accept there.
std::optional<Refusal> check_waiting(const UnixSocket& socket, bool certain) {
  if (!socket.listening || socket.receive_bytes == 0) return std::nullopt;
  return Refusal{fmt::format("{} connections wait to be accepted at the UNIX socket {}",
                             socket.receive_bytes, socket.name),
                 "take the checkpoint when the program has accepted them", certain};
}

bool has_datagrams(int socket) {
  pollfd poll{socket, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLIN) != 0;
}

const UnixSocket& socket_of(const FileView& view, const CaptureState& state) {
  const UnixSocket* socket = find_unix_socket(view, state);
  if (socket != nullptr && is_lone(*socket)) return *socket;
  throw base::Error(base::ErrorCode::internal,
                    fmt::format("process {}: {} is connected", view.pid, view.describe()));
}

class LoneSocketKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "UNIX socket that is not connected"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState& state) const override {
    const UnixSocket* socket = find_unix_socket(view, state);
    return socket != nullptr && is_lone(*socket);
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    const UnixSocket& socket = socket_of(view, state);
    if (auto refusal = check_socket_name(socket)) return refusal;
    return check_waiting(socket, !state.processes.empty());
  }

  void capture(const FileView& in_list, CaptureState& state,
               snapshot::OpenFile& file) const override {
    const FileView view = in_list;
    const UnixSocket socket = socket_of(view, state);
    snapshot::LoneSocket& record = *file.mutable_lone_socket();
    const base::UniqueFd own = capture_socket(view, socket, state, *record.mutable_options());
    if (socket.type == SOCK_DGRAM && has_datagrams(own.get())) {
      refuse(view, {fmt::format("datagrams wait in the UNIX socket {}", socket.name),
                    "take the checkpoint when the program has read them"});
    }
    record.set_type(socket.type);
    record.set_listening(socket.listening);
    if (socket.listening) record.set_backlog(socket.send_memory);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_lone_socket();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    return check_name_is_free(file.lone_socket().options().name(), file.lone_socket().type(),
                              state);
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    make_named_sockets(state);
    const snapshot::SocketSide& options = file.lone_socket().options();
    auto made = state.lone_sockets.extract(file.id());
    base::UniqueFd socket =
        made ? std::move(made.mapped())
             : SocketMaker(state, options.maker()).make(file.lone_socket().type());
    set_socket_options(socket.get(), options, state.warnings);
    shut_down(socket.get(), options);
    return socket;
  }
};

}  // namespace

std::unique_ptr<FileKind> make_lone_socket_kind() { return std::make_unique<LoneSocketKind>(); }

}  // namespace torpor::resource
