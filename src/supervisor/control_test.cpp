// Server and client of the control socket, over a real one, with clients that mean no good.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "supervisor/control_client.h"
#include "supervisor/control_server.h"
#include "supervisor/framing.h"
#include "supervisor/runtime_dir.h"

namespace torpor::supervisor {
namespace {

namespace fs = std::filesystem;

class Control : public ::testing::Test {
 protected:
  Control() {
    std::string name = (fs::temp_directory_path() / "torpor-test-XXXXXX").string();
    base_ = ::mkdtemp(name.data());
    claim_.emplace(NameClaim::exactly(base_ / "torpor", "x"));
    server_.emplace(
        io_, claim_->socket_address(),
        ControlHandlers{.check = []() -> control::Findings { throw std::logic_error("unused"); },
                        .status =
                            [] {
                              control::Status status;
                              status.set_name("x");
                              status.set_root_pid(1);
                              return status;
                            },
                        .checkpoint = [](const auto&) -> std::shared_ptr<CheckpointJob> {
                          throw base::Error(base::ErrorCode::conflict, "busy", "wait");
                        }});
    server_->start();
    thread_ = std::jthread([this] { io_.run(); });
  }
  ~Control() override {
    io_.stop();
    thread_.join();
    claim_.reset();
    fs::remove_all(base_);
  }

  [[nodiscard]] fs::path directory() const { return base_ / "torpor"; }

  base::UniqueFd connect() {
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    claim_->socket_address().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  // What the server answers, until it closes.
  static std::string talk(int fd, std::string_view words) {
    ::send(fd, words.data(), words.size(), MSG_NOSIGNAL);
    std::string answer;
    std::array<char, 256> bytes{};
    ssize_t got = 0;
    while ((got = ::recv(fd, bytes.data(), bytes.size(), 0)) > 0) {
      answer.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return answer;
  }

  fs::path base_;
  asio::io_context io_;
  std::optional<NameClaim> claim_;
  std::optional<ControlServer> server_;
  std::jthread thread_;
};

TEST_F(Control, StatusIsAnswered) {
  EXPECT_EQ(status_of(directory(), "x").root_pid(), 1);
  ASSERT_EQ(all_statuses(directory()).size(), 1U);
}

TEST_F(Control, AnErrorArrivesWhole) {
  control::Request request;
  request.mutable_checkpoint();
  try {
    ask(directory(), "x", request);
    FAIL() << "no error";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::conflict);
    EXPECT_STREQ(error.what(), "busy");
    EXPECT_EQ(error.remedy(), "wait");
  }
}

TEST_F(Control, ARequestThatIsNoneIsAnswered) {
  const base::UniqueFd fd = connect();
  FrameReader reader;
  reader.feed(talk(fd.get(), encode_frame(control::Request())));
  control::Reply reply;
  ASSERT_TRUE(reader.next(reply));
  EXPECT_EQ(reply.error().code(), static_cast<int>(base::ErrorCode::usage));
}

TEST_F(Control, TheSocketIsTheOwnersAlone) {
  struct stat facts {};
  ASSERT_EQ(::stat((directory() / "x.sock").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0600U);
}

TEST_F(Control, NonsenseClosesThatConnectionOnly) {
  for (const std::string& nonsense :
       {std::string("GET / HTTP/1.0\r\n\r\n"), std::string(4, '\xff'), std::string(100'000, 'x'),
        std::string("\x02\0\0\0\x12\x7f", 6)}) {
    const base::UniqueFd fd = connect();
    EXPECT_EQ(talk(fd.get(), nonsense), "");
    EXPECT_EQ(status_of(directory(), "x").name(), "x");
  }
}

TEST_F(Control, ClientsThatSayNothingOrHalfDoNotHoldUpOthers) {
  std::vector<base::UniqueFd> silent;
  for (int i = 0; i < 20; ++i) {
    silent.push_back(connect());
    ::send(silent.back().get(), "\x10\0\0", static_cast<std::size_t>(i % 4), MSG_NOSIGNAL);
  }
  EXPECT_EQ(status_of(directory(), "x").name(), "x");
}

TEST_F(Control, ManyClientsAtOnce) {
  std::vector<std::jthread> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([this] {
      for (int round = 0; round < 50; ++round) EXPECT_EQ(status_of(directory(), "x").name(), "x");
    });
  }
}

TEST_F(Control, AClientThatLeavesWithoutReadingDoesNoHarm) {
  control::Request request;
  request.mutable_status();
  for (int i = 0; i < 100; ++i) {
    const base::UniqueFd fd = connect();
    const std::string frame = encode_frame(request);
    ::send(fd.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
  }
  EXPECT_EQ(status_of(directory(), "x").name(), "x");
}

TEST_F(Control, AnUnknownNameIsNotFound) {
  for (const std::string& name :
       {std::string("y"), std::string("../torpor/x"), std::string(), std::string(500, 'a')}) {
    try {
      status_of(directory(), name);
      FAIL() << name;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.code(), base::ErrorCode::not_found) << name;
    }
  }
}

TEST_F(Control, ASocketWithoutASupervisorIsNotFound) {
  io_.stop();
  thread_.join();
  server_.reset();
  EXPECT_TRUE(fs::exists(directory() / "x.sock"));
  EXPECT_THROW(status_of(directory(), "x"), base::Error);
  EXPECT_TRUE(all_statuses(directory()).empty());
  thread_ = std::jthread([] {});
}

}  // namespace
}  // namespace torpor::supervisor
