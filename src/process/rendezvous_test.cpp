#include "process/rendezvous.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

// In a child: connects, and says so by one byte.
void come(const Rendezvous& rendezvous) {
  const int socket = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const auto* address = reinterpret_cast<const sockaddr*>(&rendezvous.address());
  if (::connect(socket, address, rendezvous.address_bytes()) != 0) ::_exit(98);
  if (::send(socket, "x", 1, 0) != 1) ::_exit(98);
}

TEST(Rendezvous, TakesTheOneThatIsExpected) {
  Rendezvous rendezvous;
  const TestChild child([&] { come(rendezvous); });
  const base::UniqueFd connection = rendezvous.accept_from(child.pid(), 10000, [] {});
  char byte = 0;
  EXPECT_EQ(::recv(connection.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(Rendezvous, SendsStrangersAway) {
  Rendezvous rendezvous;
  const TestChild stranger([&] { come(rendezvous); });
  expect_error(base::ErrorCode::timeout, std::to_string(::getpid()),
               [&] { rendezvous.accept_from(::getpid(), 50, [] {}); });
}

TEST(Rendezvous, IsAtAPlaceOfItsOwn) {
  const Rendezvous one;
  const Rendezvous other;
  ASSERT_GT(one.address_bytes(), sizeof(sa_family_t) + 1);
  EXPECT_EQ(one.address().sun_path[0], '\0');
  EXPECT_NE(std::string(one.address().sun_path + 1, 5),
            std::string(other.address().sun_path + 1, 5));
}

}  // namespace
}  // namespace torpor::process
