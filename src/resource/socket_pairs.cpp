#include "resource/socket_pairs.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "process/remote_memory.h"
#include "resource/file_kind.h"
#include "resource/named_sockets.h"
#include "resource/socket_maker.h"
#include "resource/socket_options.h"
#include "resource/socket_queue.h"

namespace torpor::resource {
namespace {

using Ends = std::pair<base::UniqueFd, base::UniqueFd>;

[[noreturn]] void bad(std::uint64_t pair) {
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("the record of socket pair {} is damaged", pair),
                    "use another generation");
}

int open_file(const RestoreState& state, std::uint64_t id) {
  const auto found = state.open_files.find(id);
  if (found == state.open_files.end() || !found->second) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("open file {} is in flight in a socket, but not there", id));
  }
  return found->second.get();
}

// Sends in the name of a process, which its own agent is allowed to do.
class InsideSender {
 public:
  InsideSender(int socket, const RestoreState& state) : socket_(socket), state_(state) {}

  std::int64_t operator()(const snapshot::SenderCredentials& sender, std::string_view data,
                          std::span<const int> descriptors) const {
    process::HeldProcess& held = sender_process(sender.pid());
    process::AgentClient& agent = *held.agent;
    const auto length = std::max<std::size_t>(data.size(), 1);
    const std::int64_t room = agent.call(
        SYS_mmap, {0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
        "map room for a message");
    const base::RemotePtr place(static_cast<std::uint64_t>(room));
    process::write_memory(held.pid, place, std::as_bytes(std::span(data)));
    const std::int64_t sent = send(agent, sender, place, data.size(), descriptors);
    agent.call(SYS_munmap, {place, length}, "unmap room for a message");
    return sent;
  }

 private:
  process::HeldProcess& sender_process(pid_t pid) const {
    const auto held = state_.processes.find(pid);
    if (held != state_.processes.end() && held->second->agent != nullptr) return *held->second;
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("process {}, which has sent a message, is not there", pid));
  }

  static void add_control(std::vector<std::byte>& control, int type, const void* content,
                          std::size_t bytes) {
    cmsghdr header{};
    header.cmsg_level = SOL_SOCKET;
    header.cmsg_type = type;
    header.cmsg_len = CMSG_LEN(bytes);
    const std::size_t at = control.size();
    control.resize(at + CMSG_SPACE(bytes));
    std::memcpy(&control[at], &header, sizeof(header));
    std::memcpy(&control[at + CMSG_LEN(0)], content, bytes);
  }

  std::int64_t send(process::AgentClient& agent, const snapshot::SenderCredentials& sender,
                    base::RemotePtr place, std::size_t length,
                    std::span<const int> descriptors) const {
    std::vector<int> given{agent.give_fd_anywhere(socket_)};
    for (const int fd : descriptors) given.push_back(agent.give_fd_anywhere(fd));
    const ucred credentials{sender.pid(), sender.uid(), sender.gid()};
    std::vector<std::byte> control;
    add_control(control, SCM_CREDENTIALS, &credentials, sizeof(credentials));
    if (!descriptors.empty()) {
      add_control(control, SCM_RIGHTS, &given[1], descriptors.size_bytes());
    }
    process::Batch batch(agent);
    const std::array<std::uint64_t, 2> piece{place.address(), length};
    msghdr header{};
    header.msg_iov = reinterpret_cast<iovec*>(batch.value(piece).address());
    header.msg_iovlen = 1;
    header.msg_control = reinterpret_cast<void*>(batch.data(control).address());
    header.msg_controllen = control.size();
    const std::size_t sent = batch.try_call(
        SYS_sendmsg, {given.front(), batch.value(header), MSG_DONTWAIT | MSG_NOSIGNAL});
    for (const int fd : given) batch.try_call(SYS_close, {fd});
    batch.run();
    return batch.result(sent);
  }

  int socket_;
  const RestoreState& state_;
};

// Else the kernel would add our own credentials to messages that had none.
void give_no_credentials(int socket) {
  const int off = 0;
  if (::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &off, sizeof(off)) != 0) {
    base::throw_system("cannot set the options of a UNIX socket");
  }
}

void fill(int sender, int type, const snapshot::SocketSide& receiver, const RestoreState& state) {
  const std::vector<const snapshot::SocketMessage*> messages(receiver.incoming().pointer_begin(),
                                                             receiver.incoming().pointer_end());
  fill_queue(
      sender, type, messages, [&state](std::uint64_t id) { return open_file(state, id); },
      InsideSender(sender, state));
}

// Twice the options: filling may need the buffers, and may have made them larger. Shut down is
// last, since nothing could be filled then.
void finish_pair(const snapshot::SocketPair& pair, const Ends& ends, RestoreState& state) {
  const std::array<int, 2> sockets{ends.first.get(), ends.second.get()};
  std::vector<std::string> said_later;
  for (int i = 0; i < 2; ++i) {
    set_socket_options(sockets[static_cast<std::size_t>(i)], pair.sides(i), said_later);
  }
  for (const int socket : sockets) give_no_credentials(socket);
  fill(sockets[1], pair.type(), pair.sides(0), state);
  fill(sockets[0], pair.type(), pair.sides(1), state);
  for (int i = 0; i < 2; ++i) {
    set_socket_options(sockets[static_cast<std::size_t>(i)], pair.sides(i), state.warnings);
    if (!pair.sides(i).closed()) shut_down(sockets[static_cast<std::size_t>(i)], pair.sides(i));
  }
}

}  // namespace

const snapshot::SocketPair& socket_pair(std::uint64_t id, const RestoreState& state) {
  const auto& pairs = state.model->socket_pairs();
  const auto found = std::ranges::find_if(
      pairs, [id](const snapshot::SocketPair& pair) { return pair.id() == id; });
  if (found == pairs.end() || found->sides_size() != 2) bad(id);
  const int type = found->type();
  if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) bad(id);
  return *found;
}

base::UniqueFd make_socket(const snapshot::SocketEnd& end, RestoreState& state) {
  const snapshot::SocketPair& record = socket_pair(end.pair(), state);
  if (end.side() > 1) bad(end.pair());
  make_named_sockets(state);
  auto made = state.socket_pairs.find(end.pair());
  if (made == state.socket_pairs.end()) {
    const SocketMaker maker(state, record.sides(0).maker());
    made = state.socket_pairs.emplace(end.pair(), maker.make_pair(record.type())).first;
  }
  const base::UniqueFd& socket = end.side() == 0 ? made->second.first : made->second.second;
  base::UniqueFd copy(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) base::throw_system("cannot duplicate a socket");
  return copy;
}

void finish_socket_pairs(RestoreState& state) {
  for (const auto& [id, ends] : state.socket_pairs) {
    finish_pair(socket_pair(id, state), ends, state);
  }
  state.socket_pairs.clear();
}

}  // namespace torpor::resource
