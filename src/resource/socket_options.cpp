#include "resource/socket_options.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>

#include "base/error.h"
#include "resource/socket_queue.h"

namespace torpor::resource {
namespace {

constexpr std::int64_t kMicroseconds = 1'000'000;

struct UnsavedOption {
  int option;
  const char* name;
  int usual;
};

// Numbers where the headers are older than the option.
constexpr std::array<UnsavedOption, 8> kUnsaved{{
    {SO_PEEK_OFF, "SO_PEEK_OFF", -1},
    {SO_PASSSEC, "SO_PASSSEC", 0},
    {SO_RCVLOWAT, "SO_RCVLOWAT", 1},
    {SO_TIMESTAMP, "SO_TIMESTAMP", 0},
    {SO_TIMESTAMPNS, "SO_TIMESTAMPNS", 0},
    {SO_GET_FILTER, "SO_ATTACH_FILTER", 0},
    {76, "SO_PASSPIDFD", 0},   // Linux 6.5
    {83, "SO_PASSRIGHTS", 1},  // Linux 6.16
}};

// Empty if the kernel does not know it. SO_GET_FILTER tells by the length that comes back.
std::optional<int> option_value(int socket, int option) {
  int value = 0;
  socklen_t length = option == SO_GET_FILTER ? 0 : sizeof(value);
  if (::getsockopt(socket, SOL_SOCKET, option, &value, &length) != 0) return std::nullopt;
  return option == SO_GET_FILTER ? static_cast<int>(length) : value;
}

template <typename T>
T get(int socket, int option, const char* name) {
  T value{};
  socklen_t length = sizeof(value);
  if (::getsockopt(socket, SOL_SOCKET, option, &value, &length) != 0) {
    base::throw_system("cannot read {} of a UNIX socket", name);
  }
  return value;
}

template <typename T>
void set(int socket, int option, const T& value, const char* name) {
  if (::setsockopt(socket, SOL_SOCKET, option, &value, sizeof(value)) != 0) {
    base::throw_system("cannot set {} of a UNIX socket", name);
  }
}

std::int64_t microseconds(const timeval& time) {
  return time.tv_sec * kMicroseconds + time.tv_usec;
}

timeval to_timeval(std::int64_t us) { return {us / kMicroseconds, us % kMicroseconds}; }

void set_timeout(int socket, int option, std::int64_t us, const char* name) {
  if (us != 0) set(socket, option, to_timeval(us), name);
}

void set_buffer(int socket, int option, std::uint32_t bytes, std::vector<std::string>& warnings) {
  if (bytes == 0 || set_buffer_size(socket, option, bytes)) return;
  warnings.push_back(
      fmt::format("a UNIX socket had a buffer of {} bytes, more than this user may have "
                  "(net.core.wmem_max, net.core.rmem_max); it is smaller now",
                  bytes));
}

}  // namespace

std::optional<Refusal> check_socket_options(int socket) {
  for (const UnsavedOption& unsaved : kUnsaved) {
    if (option_value(socket, unsaved.option).value_or(unsaved.usual) == unsaved.usual) continue;
    return Refusal{fmt::format("the option {} of a UNIX socket cannot be saved yet", unsaved.name),
                   "let the program do without it"};
  }
  return std::nullopt;
}

void read_socket_options(int socket, snapshot::SocketSide& side) {
  side.set_send_buffer(get<std::uint32_t>(socket, SO_SNDBUF, "SO_SNDBUF"));
  side.set_receive_buffer(get<std::uint32_t>(socket, SO_RCVBUF, "SO_RCVBUF"));
  side.set_receive_timeout_us(microseconds(get<timeval>(socket, SO_RCVTIMEO, "SO_RCVTIMEO")));
  side.set_send_timeout_us(microseconds(get<timeval>(socket, SO_SNDTIMEO, "SO_SNDTIMEO")));
  side.set_pass_credentials(get<int>(socket, SO_PASSCRED, "SO_PASSCRED") != 0);
}

void set_socket_options(int socket, const snapshot::SocketSide& side,
                        std::vector<std::string>& warnings) {
  set_buffer(socket, SO_SNDBUF, side.send_buffer(), warnings);
  set_buffer(socket, SO_RCVBUF, side.receive_buffer(), warnings);
  set_timeout(socket, SO_RCVTIMEO, side.receive_timeout_us(), "SO_RCVTIMEO");
  set_timeout(socket, SO_SNDTIMEO, side.send_timeout_us(), "SO_SNDTIMEO");
  if (side.pass_credentials()) set(socket, SO_PASSCRED, int{1}, "SO_PASSCRED");
}

void shut_down(int socket, const snapshot::SocketSide& side) {
  if (!side.read_shut() && !side.write_shut()) return;
  const int how = side.read_shut() ? (side.write_shut() ? SHUT_RDWR : SHUT_RD) : SHUT_WR;
  if (::shutdown(socket, how) != 0) base::throw_system("cannot shut down a UNIX socket");
}

}  // namespace torpor::resource
