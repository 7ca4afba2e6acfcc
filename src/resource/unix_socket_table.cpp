#include "resource/unix_socket_table.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

constexpr std::uint8_t kReceiveShut = 1;  // of UNIX_DIAG_SHUTDOWN: the kernel's RCV_SHUTDOWN
constexpr std::uint8_t kSendShut = 2;

// ---- the dump of sock_diag(7)

struct Request {
  nlmsghdr header;
  unix_diag_req body;
};

void request_dump(int socket) {
  Request request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = ~0U;
  request.body.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  if (::send(socket, &request, sizeof(request), 0) < 0) base::throw_system("cannot list sockets");
}

template <typename T>
T payload(const rtattr* attribute) {
  T value{};
  std::memcpy(&value, RTA_DATA(attribute), std::min(sizeof(T), RTA_PAYLOAD(attribute)));
  return value;
}

// The path without the zero at its end; an abstract name starts with one.
std::string socket_name(const rtattr* attribute) {
  std::string name(static_cast<const char*>(RTA_DATA(attribute)), RTA_PAYLOAD(attribute));
  if (!name.empty() && name.front() == '\0') {
    name.front() = '@';
  } else if (const auto end = name.find('\0'); end != std::string::npos) {
    name.resize(end);
  }
  return name;
}

void read_attribute(const rtattr* attribute, UnixSocket& socket) {
  switch (attribute->rta_type) {
    case UNIX_DIAG_NAME:
      socket.name = socket_name(attribute);
      socket.abstract = *static_cast<const char*>(RTA_DATA(attribute)) == '\0';
      break;
    case UNIX_DIAG_VFS: socket.file_inode = payload<unix_diag_vfs>(attribute).udiag_vfs_ino; break;
    case UNIX_DIAG_PEER: socket.peer = payload<std::uint32_t>(attribute); break;
    case UNIX_DIAG_RQLEN: {
      const auto lengths = payload<unix_diag_rqlen>(attribute);
      socket.receive_bytes = lengths.udiag_rqueue;
      socket.send_memory = lengths.udiag_wqueue;
      break;
    }
    case UNIX_DIAG_SHUTDOWN: {
      const auto shut = payload<std::uint8_t>(attribute);
      socket.read_shut = (shut & kReceiveShut) != 0;
      socket.write_shut = (shut & kSendShut) != 0;
      break;
    }
    default: break;
  }
}

UnixSocket read_socket(const nlmsghdr* header, const unix_diag_msg& message) {
  UnixSocket socket;
  socket.type = message.udiag_type;
  socket.listening = message.udiag_state == TCP_LISTEN;
  socket.connected = message.udiag_state == TCP_ESTABLISHED;
  socket.peer_known = true;
  auto left = static_cast<int>(header->nlmsg_len - NLMSG_LENGTH(sizeof(message)));
  const auto* attribute = reinterpret_cast<const rtattr*>(
      static_cast<const std::byte*>(NLMSG_DATA(header)) + NLMSG_ALIGN(sizeof(message)));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    read_attribute(attribute, socket);
  }
  return socket;
}

[[noreturn]] void throw_dump_error(const nlmsghdr* header) {
  nlmsgerr error{};
  std::memcpy(&error, NLMSG_DATA(header), sizeof(error));
  if (error.error == -ENOENT || error.error == -EINVAL) {
    throw base::Error(base::ErrorCode::host_lacks,
                      "this kernel does not tell who is connected with a UNIX socket",
                      "load the module unix_diag (CONFIG_UNIX_DIAG)");
  }
  base::throw_errno(-error.error, "cannot list UNIX sockets");
}

// ---- where to look

std::uint64_t network_namespace(const std::string& process) {
  struct ::stat status {};
  const std::string path = "/proc/" + process + "/ns/net";
  if (::stat(path.c_str(), &status) != 0) base::throw_system("cannot look at {}", path);
  return status.st_ino;
}

base::UniqueFd own_netlink_socket() {
  base::UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket) base::throw_system("cannot make a netlink socket");
  return socket;
}

// A socket belongs for ever to the namespace of the process that made it.
base::UniqueFd netlink_socket_of(process::AgentClient& agent) {
  const auto fd = static_cast<int>(
      agent.call(SYS_socket, {AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG},
                 "make a netlink socket"));
  base::UniqueFd taken = agent.take_fd(fd);
  agent.call(SYS_close, {fd}, "close a netlink socket");
  return taken;
}

void add(UnixSocketTable& table, const base::UniqueFd& netlink_socket, pid_t pid) {
  try {
    table.add_all(netlink_socket.get());
  } catch (const base::Error& error) {
    if (error.code() != base::ErrorCode::host_lacks) throw;
    table.add_from_proc(pid);
  }
}

void add_namespaces(UnixSocketTable& table, const FileView& view) {
  const pid_t tid = view.tid != 0 ? view.tid : view.pid;
  const std::uint64_t ours = network_namespace("self");
  const std::uint64_t theirs = network_namespace(std::to_string(tid));
  if (theirs != ours && table.add_namespace(theirs)) {
    if (view.agent != nullptr) {
      add(table, netlink_socket_of(*view.agent), tid);
    } else {
      table.add_from_proc(tid);
    }
  }
  // A socket may come from elsewhere: one that was handed to the program, say.
  if (table.find(view.status.st_ino) == nullptr && table.add_namespace(ours)) {
    add(table, own_netlink_socket(), ::getpid());
  }
}

UnixSocketTable& table_of(const CaptureState& state) {
  const bool stopped = !state.processes.empty();
  if (!state.unix_sockets || state.unix_sockets->stopped() != stopped) {
    state.unix_sockets = std::make_shared<UnixSocketTable>(stopped);
  }
  return *state.unix_sockets;
}

}  // namespace

void UnixSocketTable::add_all(int netlink_socket) {
  request_dump(netlink_socket);
  alignas(nlmsghdr) std::array<std::byte, 65536> buffer{};
  for (;;) {
    const ssize_t got = ::recv(netlink_socket, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) base::throw_system("cannot list UNIX sockets");
    auto left = static_cast<std::uint32_t>(got);
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return;
      if (header->nlmsg_type == NLMSG_ERROR) throw_dump_error(header);
      unix_diag_msg message{};
      std::memcpy(&message, NLMSG_DATA(header), sizeof(message));
      sockets_[message.udiag_ino] = read_socket(header, message);
    }
  }
}

// "Num RefCount Protocol Flags Type St Inode Path": proc_net(5).
void UnixSocketTable::add_from_proc(pid_t pid) {
  constexpr unsigned kAcceptsConnections = 0x10000;
  constexpr int kConnected = 3;
  std::ifstream file("/proc/" + std::to_string(pid) + "/net/unix");
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string number, references, protocol;
    unsigned flags = 0;
    int state = 0;
    std::uint64_t inode = 0;
    UnixSocket socket;
    words >> number >> references >> protocol >> std::hex >> flags >> socket.type >> state;
    words >> std::dec >> inode >> socket.name;
    socket.listening = (flags & kAcceptsConnections) != 0;
    socket.connected = state == kConnected;
    if (inode != 0) sockets_[inode] = socket;
  }
}

const UnixSocket* UnixSocketTable::find(std::uint64_t inode) const {
  const auto found = sockets_.find(inode);
  return found == sockets_.end() ? nullptr : &found->second;
}

// A file of another kind may have the number of a socket that nobody holds: that is found out when
// the socket is not among the captured ones.
const std::unordered_set<std::uint64_t>& UnixSocketTable::held_by(std::span<const Holder> holders) {
  for (; holders_seen_ < holders.size(); ++holders_seen_) {
    held_.insert(holders[holders_seen_].inode);
  }
  return held_;
}

const UnixSocket* find_unix_socket(const FileView& view, const CaptureState& state) {
  if (!S_ISSOCK(view.status.st_mode)) return nullptr;
  UnixSocketTable& table = table_of(state);
  if (table.find(view.status.st_ino) == nullptr) add_namespaces(table, view);
  return table.find(view.status.st_ino);
}

const UnixSocket* find_unix_socket(std::uint64_t inode, const CaptureState& state) {
  return table_of(state).find(inode);
}

bool is_held(std::uint64_t inode, const CaptureState& state) {
  return table_of(state).held_by(state.holders).contains(inode);
}

bool may_have_descriptors_in_flight(const CaptureState& state) {
  UnixSocketTable& table = table_of(state);
  return std::ranges::any_of(table.held_by(state.holders), [&table](std::uint64_t inode) {
    const UnixSocket* socket = table.find(inode);
    return socket != nullptr && socket->receive_bytes != 0;
  });
}

}  // namespace torpor::resource
