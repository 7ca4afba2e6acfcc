#include "resource/unix_socket.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/error.h"
#include "resource/file_kind.h"
#include "resource/peek_undo.h"
#include "resource/socket_name.h"
#include "resource/socket_options.h"
#include "resource/socket_pairs.h"
#include "resource/socket_queue.h"
#include "resource/unix_socket_table.h"

namespace torpor::resource {
namespace {

constexpr const char* kReplace = "let the program use socketpair(2), or close it before";

Refusal other_side_outside() {
  return {"the other side of the UNIX socket is held by a process outside of the computation",
          "launch that process together with this one, or close the socket before"};
}

// Only connections have names that can be given back.
std::optional<Refusal> check_name(const UnixSocket& socket, const CaptureState& state) {
  const UnixSocket* peer = socket.peer ? find_unix_socket(*socket.peer, state) : nullptr;
  for (const UnixSocket* side : {&socket, peer}) {
    if (side == nullptr || side->name.empty()) continue;
    if (auto refusal = check_socket_name(*side)) return refusal;
    if (side->type != SOCK_DGRAM) continue;
    return Refusal{fmt::format("a datagram socket with a name ({}) is connected, and only those "
                               "that are not can be saved yet",
                               side->name),
                   kReplace};
  }
  return std::nullopt;
}

std::optional<Refusal> check_other_side(const FileView& view, const UnixSocket& socket,
                                        const CaptureState& state) {
  if (*socket.peer == 0) {
    // Closing takes both directions of all but datagram sockets away (net/unix/af_unix.c).
    if (socket.type == SOCK_DGRAM || (socket.read_shut && socket.write_shut)) return std::nullopt;
    return Refusal{"the UNIX socket waits for a listening one to accept it",
                   "take the checkpoint when it is connected"};
  }
  const UnixSocket* peer = find_unix_socket(*socket.peer, state);
  if (peer == nullptr || peer->peer != view.status.st_ino) {
    return Refusal{"the other side of the UNIX socket is not connected back to it", kReplace};
  }
  // A side that no process of ours holds may be in flight: then it turns up in a queue.
  if (is_held(*socket.peer, state) || may_have_descriptors_in_flight(state)) return std::nullopt;
  return other_side_outside();
}

std::optional<Refusal> check_socket(const FileView& view, const UnixSocket& socket,
                                    const CaptureState& state) {
  if (auto refusal = check_name(socket, state)) return refusal;
  if (!socket.peer_known) {
    if (state.processes.empty()) return std::nullopt;  // dry pass, another network namespace
    return Refusal{"this kernel does not tell what the UNIX socket is connected with",
                   "load the module unix_diag (CONFIG_UNIX_DIAG)"};
  }
  auto refusal = check_other_side(view, socket, state);
  if (refusal && socket.peer && state.processes.empty()) refusal->certain = false;
  return refusal;
}

// After check(), so that it has another side.
UnixSocket socket_of(const FileView& view, const CaptureState& state) {
  const UnixSocket* socket = find_unix_socket(view, state);
  if (socket != nullptr && socket->peer) return *socket;
  throw base::Error(base::ErrorCode::internal,
                    fmt::format("process {}: {} is no pair", view.pid, view.describe()));
}

// Its entry in the table of pairs, and which side it is. The other side gets its place with it, as
// a closed one until it is met.
std::pair<snapshot::SocketPair*, unsigned> enter(std::uint64_t inode, const UnixSocket& socket,
                                                 CaptureState& state) {
  auto& pairs = *state.model->mutable_socket_pairs();
  if (const auto known = state.socket_sides.find(inode); known != state.socket_sides.end()) {
    const auto [id, side] = known->second;
    return {pairs.Mutable(static_cast<int>(id) - 1), side};
  }
  snapshot::SocketPair& pair = *pairs.Add();
  pair.set_id(static_cast<std::uint64_t>(pairs.size()));
  pair.set_type(socket.type);
  pair.add_sides()->set_closed(true);
  pair.add_sides()->set_closed(true);
  state.socket_sides[inode] = {pair.id(), 0};
  if (*socket.peer != 0) state.socket_sides[*socket.peer] = {pair.id(), 1};
  return {&pair, 0};
}

// The program is yet to be told that what it sent was not read (ECONNRESET).
bool has_error(int socket) {
  pollfd poll{socket, 0, 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLERR) != 0;
}

void read_incoming(int own, const FileView& view, const UnixSocket& socket, CaptureState& state,
                   snapshot::SocketSide& side) {
  pollfd poll{own, POLLIN, 0};
  if (::poll(&poll, 1, 0) == 0) return;
  const PeekUndo undo(view.agent, view.fd);
  const auto identify = [&state](int fd) { return state.identify(fd); };
  const auto seen = [&state](pid_t pid) {
    const auto held = state.processes.find(pid);
    return held == state.processes.end() ? 0 : held->second->seen_pid;
  };
  for (auto& message : read_queue(own, socket.type, socket.read_shut, identify, seen)) {
    *side.add_incoming() = std::move(message);
  }
}

// More than the messages found is on its way: empty datagrams that were looked at before.
void refuse_hidden_datagrams(const FileView& view, const UnixSocket& socket,
                             const snapshot::SocketSide& side, const CaptureState& state) {
  const UnixSocket* sender = find_unix_socket(*socket.peer, state);
  if (socket.type == SOCK_STREAM || sender == nullptr) return;
  const std::vector<snapshot::SocketMessage> messages(side.incoming().begin(),
                                                      side.incoming().end());
  if (sender->send_memory <= queue_memory(socket.type, messages)) return;
  refuse(view, {"empty messages wait in the UNIX socket that can be looked at only once, and have "
                "been at an earlier checkpoint",
                "take the checkpoint when the program has read them"});
}

class UnixSocketKind final : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "UNIX socket"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState& state) const override {
    return find_unix_socket(view, state) != nullptr;
  }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    const UnixSocket* socket = find_unix_socket(view, state);
    return socket == nullptr ? std::nullopt : check_socket(view, *socket, state);
  }

  // The view is copied: descriptors in flight are entered into the list that it stands in.
  void capture(const FileView& in_list, CaptureState& state,
               snapshot::OpenFile& file) const override {
    const FileView view = in_list;
    const UnixSocket socket = socket_of(view, state);
    const auto [pair, number] = enter(view.status.st_ino, socket, state);
    file.mutable_socket()->set_pair(pair->id());
    file.mutable_socket()->set_side(number);
    snapshot::SocketSide& side = *pair->mutable_sides(static_cast<int>(number));
    side.set_closed(false);
    const base::UniqueFd own = capture_socket(view, socket, state, side);
    read_incoming(own.get(), view, socket, state, side);
    refuse_hidden_datagrams(view, socket, side, state);
    // The other side was closed with something unread in it; one byte has the same effect.
    if (*socket.peer == 0 && has_error(own.get())) {
      pair->mutable_sides(1 - static_cast<int>(number))->add_incoming()->set_data("?");
    }
  }

  void finish_capture(const FileView& view, CaptureState& state,
                      snapshot::OpenFile& file) const override {
    const auto& pair = state.model->socket_pairs(static_cast<int>(file.socket().pair()) - 1);
    const bool closed = pair.sides(1 - static_cast<int>(file.socket().side())).closed();
    if (closed && *socket_of(view, state).peer != 0) refuse(view, other_side_outside());
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_socket();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    const snapshot::SocketPair& pair = socket_pair(file.socket().pair(), state);
    for (const snapshot::SocketSide& side : pair.sides()) {
      if (auto refusal = check_name_is_free(side.name(), pair.type(), state)) return refusal;
    }
    return std::nullopt;
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    return make_socket(file.socket(), state);
  }

  void finish_restore(const snapshot::OpenFile&, RestoreState& state, process::HeldProcess&,
                      int) const override {
    finish_socket_pairs(state);
  }
};

}  // namespace

base::UniqueFd capture_socket(const FileView& view, const UnixSocket& socket, CaptureState& state,
                              snapshot::SocketSide& side) {
  base::UniqueFd own = view.take();
  if (const auto refusal = check_socket_options(own.get())) refuse(view, *refusal);
  side.set_read_shut(socket.read_shut);
  side.set_write_shut(socket.write_shut);
  side.set_name(enter_socket_name(own.get(), view, socket, state));
  side.set_maker(maker_of(own.get(), state));
  read_socket_options(own.get(), side);
  return own;
}

std::unique_ptr<FileKind> make_unix_socket_kind() { return std::make_unique<UnixSocketKind>(); }

}  // namespace torpor::resource
