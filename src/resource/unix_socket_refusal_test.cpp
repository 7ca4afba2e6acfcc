// What is refused, and the table that tells.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "resource/unix_socket.h"
#include "resource/unix_socket_table.h"
#include "resource/unix_socket_test_support.h"

namespace torpor::resource {
namespace {

TEST(UnixSocketRefusal, UnsavedOptionsAreRefusedByName) {
  const SocketPair pair(SOCK_STREAM);
  const int position = 3;
  ::setsockopt(pair.one.get(), SOL_SOCKET, SO_PEEK_OFF, &position, sizeof(position));
  SocketCapture capture({pair.one.get(), pair.other.get()});
  try {
    capture.run();
    FAIL() << "not refused";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::refused);
    EXPECT_NE(std::string(error.what()).find("SO_PEEK_OFF"), std::string::npos);
  }
}

TEST(UnixSocketRefusal, OtherSideOutsideIsRefused) {
  const SocketPair pair(SOCK_STREAM);
  SocketCapture capture({pair.one.get()});
  ASSERT_TRUE(capture.check(0));
  EXPECT_NE(capture.check(0)->reason.find("outside"), std::string::npos);
  EXPECT_FALSE(capture.check(0)->certain) << "nothing is stopped";
}

// While something is in flight the other side may be too; the end of the capture decides.
TEST(UnixSocketRefusal, OtherSideThatWasNotInFlightIsRefusedInTheEnd) {
  const SocketPair pair(SOCK_STREAM);
  ASSERT_EQ(::write(pair.other.get(), "x", 1), 1);
  SocketCapture capture({pair.one.get()});
  EXPECT_FALSE(capture.check(0));
  EXPECT_THROW(capture.run(), base::Error);
}

struct Named {
  explicit Named(int type) : socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
    address.sun_family = AF_UNIX;
    const std::string name = "torpor-test-" + std::to_string(::getpid());
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (::bind(socket.get(), generic(), length) != 0) base::throw_system("bind");
  }
  const sockaddr* generic() const { return reinterpret_cast<const sockaddr*>(&address); }
  sockaddr_un address{};
  socklen_t length = 0;
  base::UniqueFd socket;
};

void expect_refused(const std::vector<int>& fds, std::size_t which, const std::string& text,
                    bool certain = true) {
  const SocketCapture capture(fds);
  ASSERT_TRUE(capture.kind->matches(capture.views[which], capture.state));
  const auto refusal = capture.check(which);
  ASSERT_TRUE(refusal) << text;
  EXPECT_EQ(refusal->certain, certain) << text;
  EXPECT_NE(refusal->reason.find(text), std::string::npos) << refusal->reason;
}

TEST(UnixSocketRefusal, ConnectionThatIsNotAcceptedYet) {
  const Named server(SOCK_STREAM);
  ASSERT_EQ(::listen(server.socket.get(), 5), 0);
  const base::UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), server.generic(), server.length), 0);
  expect_refused({client.get(), server.socket.get()}, 0, "waits for a listening one", false);
}

TEST(UnixSocketRefusal, ConnectedDatagramsWithANameAreRefusedByName) {
  const Named server(SOCK_DGRAM);
  const base::UniqueFd client(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), server.generic(), server.length), 0);
  expect_refused({client.get(), server.socket.get()}, 0, "a name (@torpor-test-");
}

TEST(UnixSocketRefusal, OneWayConnectionIsRefused) {
  const SocketPair pair(SOCK_DGRAM);
  const sockaddr nothing{AF_UNSPEC, {}};
  ASSERT_EQ(::connect(pair.one.get(), &nothing, sizeof(nothing)), 0);
  expect_refused({pair.one.get(), pair.other.get()}, 1, "not connected", false);
}

TEST(UnixSocketRefusal, OtherThingsDoNotMatch) {
  const base::UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const base::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto kind = make_unix_socket_kind();
  EXPECT_FALSE(kind->matches(view_of(tcp.get()), {}));
  EXPECT_FALSE(kind->matches(view_of(null.get()), {}));
}

// ---- the table

TEST(UnixSocketTable, ProcKnowsNameAndState) {
  const Named server(SOCK_STREAM);
  ASSERT_EQ(::listen(server.socket.get(), 5), 0);
  const SocketPair pair(SOCK_SEQPACKET);
  UnixSocketTable table(false);
  table.add_from_proc(::getpid());
  const UnixSocket* listening = table.find(view_of(server.socket.get()).status.st_ino);
  ASSERT_NE(listening, nullptr);
  EXPECT_TRUE(listening->listening);
  EXPECT_TRUE(listening->name.starts_with("@torpor-test-")) << listening->name;
  const UnixSocket* paired = table.find(view_of(pair.one.get()).status.st_ino);
  ASSERT_NE(paired, nullptr);
  EXPECT_EQ(paired->type, SOCK_SEQPACKET);
  EXPECT_TRUE(paired->connected);
  EXPECT_TRUE(paired->name.empty());
  EXPECT_FALSE(paired->peer_known);
}

}  // namespace
}  // namespace torpor::resource
