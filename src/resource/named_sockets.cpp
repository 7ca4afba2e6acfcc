#include "resource/named_sockets.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <array>

#include "base/error.h"
#include "resource/socket_maker.h"
#include "resource/socket_name.h"

namespace torpor::resource {
namespace {

// Of our own connections each is accepted before the next one is begun.
constexpr int kRoomForOthers = 4096;

void must(int outcome, const char* what, const snapshot::SocketName& name) {
  if (outcome == 0) return;
  base::throw_errno(-outcome, fmt::format("cannot {} the UNIX socket {}", what, shown_name(name)));
}

bool is_listening(std::uint64_t name, const RestoreState& state) {
  for (const snapshot::OpenFile& file : state.model->open_files()) {
    if (file.lone_socket().listening() && file.lone_socket().options().name() == name) return true;
  }
  return false;
}

// The side that was accepted: it has the name of the listening socket. -1: there is none. Where
// both have a name and nobody listens any more, either will do: both come to bear their names.
int accepted_side(const snapshot::SocketPair& pair, const RestoreState& state) {
  if (pair.sides_size() != 2) return -1;
  const std::array<std::uint64_t, 2> names{pair.sides(0).name(), pair.sides(1).name()};
  if (names[0] != 0 && names[1] != 0) return is_listening(names[1], state) ? 1 : 0;
  return names[0] != 0 ? 0 : (names[1] != 0 ? 1 : -1);
}

void remove_file(const SocketMaker& maker, const snapshot::SocketName& name) {
  if (is_path(name)) static_cast<void>(maker.unlink(name.name()));
}

// A socket file that nobody is bound to is left over from the life before.
void bind_name(const SocketMaker& maker, int socket, int type, const snapshot::SocketName& name,
               const RestoreState& state) {
  if (const auto refusal = check_name_is_free(name.id(), type, state)) {
    throw base::Error(base::ErrorCode::refused, refusal->reason, refusal->remedy);
  }
  remove_file(maker, name);
  must(maker.bind(socket, name.name()), "bind", name);
  if (!is_path(name) || !name.linked()) return;
  must(maker.chmod(name.name(), name.mode()), "set the permissions of", name);
  struct ::stat made {};
  if (::lstat(name.name().c_str(), &made) != 0) return;
  if (made.st_uid == name.uid() && made.st_gid == name.gid()) return;
  static_cast<void>(maker.chown(name.name(), name.uid(), name.gid()));  // may not be allowed
}

// The connection that `client` has begun. Somebody else's, which came between, is closed.
base::UniqueFd accept_from(int listener, pid_t client, const snapshot::SocketName& name) {
  for (;;) {
    base::UniqueFd accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) base::throw_system("cannot accept at the UNIX socket {}", shown_name(name));
    ucred peer{};
    socklen_t length = sizeof(peer);
    ::getsockopt(accepted.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length);
    if (peer.pid == client) return accepted;
  }
}

// All that goes by one name.
class Named {
 public:
  Named(const snapshot::SocketName& name, RestoreState& state) : name_(name), state_(state) {
    for (const snapshot::OpenFile& file : state.model->open_files()) {
      if (file.has_lone_socket() && file.lone_socket().options().name() == name.id()) lone_ = &file;
    }
    for (const snapshot::SocketPair& pair : state.model->socket_pairs()) {
      const int side = accepted_side(pair, state);
      if (side >= 0 && pair.sides(side).name() == name.id()) accepted_.emplace_back(&pair, side);
    }
  }

  void make() {
    if (lone_ == nullptr && accepted_.empty()) return;  // that of a connection's other side
    const SocketMaker maker(state_, maker_pid());
    base::UniqueFd socket = maker.make(type());
    bind_name(maker, socket.get(), type(), name_, state_);
    if (!accepted_.empty()) must(maker.listen(socket.get(), kRoomForOthers), "listen at", name_);
    for (const auto& [pair, side] : accepted_) connect(socket.get(), *pair, side);
    if (lone_ != nullptr && lone_->lone_socket().listening()) {
      must(maker.listen(socket.get(), static_cast<int>(lone_->lone_socket().backlog())),
           "listen at", name_);
    }
    if (!name_.linked()) remove_file(maker, name_);
    if (lone_ != nullptr) state_.lone_sockets[lone_->id()] = std::move(socket);
  }

 private:
  [[nodiscard]] int type() const {
    return lone_ != nullptr ? lone_->lone_socket().type() : accepted_.front().first->type();
  }

  // Who has called listen(2).
  [[nodiscard]] pid_t maker_pid() const {
    if (lone_ != nullptr) return lone_->lone_socket().options().maker();
    const auto& [pair, side] = accepted_.front();
    return pair->sides(1 - side).maker();
  }

  void connect(int listener, const snapshot::SocketPair& pair, int side) {
    const SocketMaker maker(state_, pair.sides(side).maker());
    base::UniqueFd client = maker.make(pair.type());
    const std::uint64_t own_name = pair.sides(1 - side).name();
    if (own_name != 0) {
      const snapshot::SocketName& name = socket_name(own_name, state_);
      bind_name(maker, client.get(), pair.type(), name, state_);
      if (!name.linked()) remove_file(maker, name);
    }
    must(maker.connect(client.get(), name_.name()), "connect with", name_);
    base::UniqueFd accepted = accept_from(listener, maker.pid(), name_);
    auto& ends = state_.socket_pairs[pair.id()];
    (side == 0 ? ends.first : ends.second) = std::move(accepted);
    (side == 0 ? ends.second : ends.first) = std::move(client);
  }

  const snapshot::SocketName& name_;
  RestoreState& state_;
  const snapshot::OpenFile* lone_ = nullptr;
  std::vector<std::pair<const snapshot::SocketPair*, int>> accepted_;
};

}  // namespace

// Those first whose path leads elsewhere: to another one of the same name, perhaps.
void make_named_sockets(RestoreState& state) {
  if (state.named_sockets_made) return;
  state.named_sockets_made = true;
  for (const bool linked : {false, true}) {
    for (const snapshot::SocketName& name : state.model->socket_names()) {
      if (name.linked() == linked) Named(name, state).make();
    }
  }
}

}  // namespace torpor::resource
