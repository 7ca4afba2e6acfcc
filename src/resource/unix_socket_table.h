// All UNIX sockets of a network namespace and who is connected with whom: sock_diag(7), which is
// the only place that tells the peer of a socket.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_set>

namespace torpor::resource {

struct CaptureState;
struct FileView;
struct Holder;

struct UnixSocket {
  int type = 0;      // SOCK_*
  std::string name;  // path, or "@..." if abstract; empty: none
  bool abstract = false;
  std::uint32_t file_inode = 0;  // of the file that a path was bound to; the lower bits of it
  bool listening = false;
  bool connected = false;
  // False if only /proc/net/unix could be read, which does not tell what is below.
  bool peer_known = false;
  // The inode of the other side. 0: it is closed, or has not been accepted yet. None: there is no
  // other side.
  std::optional<std::uint64_t> peer;
  bool read_shut = false;
  bool write_shut = false;
  // What waits to be read; of datagrams, those in the first; connections at a listening one.
  std::uint32_t receive_bytes = 0;
  // What waits at the other side, as the kernel accounts for it; the backlog of a listening one.
  std::uint32_t send_memory = 0;
};

// Neither connected nor on the way to be. Not known where /proc/net/unix only was read.
inline bool is_lone(const UnixSocket& socket) {
  return socket.peer_known && (!socket.peer || socket.listening);
}

class UnixSocketTable {
 public:
  // `stopped`: the program cannot change anything any more, so what it tells stays true.
  explicit UnixSocketTable(bool stopped) : stopped_(stopped) {}

  // All sockets of the namespace that a NETLINK_SOCK_DIAG socket of ours belongs to. Throws Error;
  // host_lacks without CONFIG_UNIX_DIAG.
  void add_all(int netlink_socket);
  // Those of /proc/PID/net/unix.
  void add_from_proc(pid_t pid);

  [[nodiscard]] const UnixSocket* find(std::uint64_t inode) const;
  [[nodiscard]] bool stopped() const { return stopped_; }
  // Whether `name_space` (the inode of /proc/PID/ns/net) is new here; from now on it is not.
  bool add_namespace(std::uint64_t name_space) { return namespaces_.insert(name_space).second; }

  // The inodes of what is held; of `holders` those at the end may be new since the last call.
  const std::unordered_set<std::uint64_t>& held_by(std::span<const Holder> holders);

 private:
  bool stopped_;
  std::set<std::uint64_t> namespaces_;
  std::map<std::uint64_t, UnixSocket> sockets_;
  std::unordered_set<std::uint64_t> held_;
  std::size_t holders_seen_ = 0;
};

// The UNIX socket behind the view, null if it is something else. Looks into the process's network
// namespace (through its agent if that is not ours) and ours, each once per checkpoint. In a dry
// pass the answer may be out of date, and of another namespace the peers are not known.
const UnixSocket* find_unix_socket(const FileView& view, const CaptureState& state);
// The same for an inode of a namespace that has been looked into: the peer of one that was found.
const UnixSocket* find_unix_socket(std::uint64_t inode, const CaptureState& state);
// Whether a process of the computation holds it.
bool is_held(std::uint64_t inode, const CaptureState& state);
// Whether descriptors may be in flight in sockets of the computation: something is.
bool may_have_descriptors_in_flight(const CaptureState& state);

}  // namespace torpor::resource
