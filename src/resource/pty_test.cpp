#include "resource/pty.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <cstdlib>

#include "resource/descriptors_test_support.h"

namespace torpor::resource {
namespace {

using testing::IsEmpty;

constexpr int kMaster = 10;
constexpr int kSlave = 11;
constexpr winsize kSize{33, 99, 5, 6};

void fail_if(bool failed) {
  if (failed) ::_exit(97);
}

void put(int fd, std::string_view text) {
  fail_if(::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()));
}

base::UniqueFd kept(int fd) {
  base::UniqueFd high(::fcntl(fd, F_DUPFD, Program::kFirstKept));
  ::close(fd);
  return high;
}

// Opened before the test's child is forked, so that we have both sides as well.
struct Pty {
  base::UniqueFd master = kept(::posix_openpt(O_RDWR | O_NOCTTY));
  base::UniqueFd slave;

  Pty() {
    const int unlocked = 0;
    fail_if(::ioctl(master.get(), TIOCSPTLCK, &unlocked) != 0);
    slave = kept(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY));
    fail_if(!slave || ::ioctl(master.get(), TIOCSWINSZ, &kSize) != 0);
  }

  // In the child.
  void take() const {
    put_at(master.get(), kMaster);
    put_at(slave.get(), kSlave);
  }
  void take_raw() const {
    take();
    termios modes{};
    fail_if(::tcgetattr(kSlave, &modes) != 0);
    ::cfmakeraw(&modes);
    modes.c_oflag |= OPOST | ONLCR;
    fail_if(::tcsetattr(kSlave, TCSANOW, &modes) != 0);
  }
};

std::string many(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('!' + i % 90);
  return text;
}

// All that can be read without waiting for more.
std::string content(int tty) {
  std::string text;
  char piece[512];
  pollfd state{tty, POLLIN, 0};
  while (::poll(&state, 1, 50) == 1 && (state.revents & POLLIN) != 0) {
    const ssize_t got = ::read(tty, piece, sizeof(piece));
    if (got <= 0) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  return text;
}

std::uint32_t flags_of(pid_t pid, int fd) { return process::read_fdinfo(pid, fd).flags; }

termios modes_of(int fd) {
  termios modes{};
  EXPECT_EQ(::tcgetattr(fd, &modes), 0);
  return modes;
}

void expect_same_modes(const termios& a, const termios& b) {
  EXPECT_EQ(a.c_iflag, b.c_iflag);
  EXPECT_EQ(a.c_oflag, b.c_oflag);
  EXPECT_EQ(a.c_lflag, b.c_lflag);
  EXPECT_EQ(std::memcmp(a.c_cc, b.c_cc, sizeof(a.c_cc)), 0);
}

TEST(Pty, BothDirectionsAreSeenLeftAndMadeAgain) {
  const std::string output = many(9000);
  const std::string input = many(300);
  const Pty pty;
  const Program program([&] {
    pty.take_raw();
    put(kSlave, output.substr(0, 5000));
    put(kMaster, input);
  });
  const termios before = modes_of(pty.slave.get());
  StoppedProgram stopped(program.pid());
  stopped.capture();
  const snapshot::PtyMaster& saved = stopped.file(program.pid(), kMaster).pty_master();
  EXPECT_EQ(saved.output(), output.substr(0, 5000));
  EXPECT_EQ(saved.input(), input);
  EXPECT_EQ(stopped.file(program.pid(), kSlave).pty_slave().master(),
            stopped.id(program.pid(), kMaster));
  expect_same_modes(before, modes_of(pty.slave.get()));
  EXPECT_EQ(flags_of(program.pid(), kMaster) & O_NONBLOCK, 0U);

  Restored restored(stopped.model);
  EXPECT_THAT(check_open_files(stopped.model, restored.state), IsEmpty());
  restored.make();
  const int new_master = restored.fd(stopped.id(program.pid(), kMaster));
  const int new_slave = restored.fd(stopped.id(program.pid(), kSlave));
  winsize size{};
  ASSERT_EQ(::ioctl(new_slave, TIOCGWINSZ, &size), 0);
  EXPECT_EQ(std::memcmp(&size, &kSize, sizeof(size)), 0);
  expect_same_modes(before, modes_of(new_slave));
  for (const int fd : {new_master, pty.master.get()})
    EXPECT_EQ(content(fd), output.substr(0, 5000));
  for (const int fd : {new_slave, pty.slave.get()}) EXPECT_EQ(content(fd), input);
  EXPECT_THAT(restored.state.warnings, testing::SizeIs(1)) << "the old number is taken";
}

// The kernel keeps more on its way than in the reader's queue.
TEST(Pty, OneThatIsFullIsPutBackWhole) {
  const Pty pty;
  const Program program([&] {
    pty.take_raw();
    ::fcntl(kSlave, F_SETFL, O_RDWR | O_NONBLOCK);
    const std::string piece = many(90);
    for (int quiet = 0; quiet < 5; ++quiet) {
      while (::write(kSlave, piece.data(), piece.size()) > 0) quiet = 0;
      ::usleep(10000);
    }
  });
  std::string saved;
  {
    StoppedProgram stopped(program.pid());
    stopped.capture();
    saved = stopped.file(program.pid(), kMaster).pty_master().output();
    EXPECT_GT(saved.size(), 10000U);
    Restored restored(stopped.model);
    restored.make();
    EXPECT_EQ(content(restored.fd(stopped.id(program.pid(), kMaster))), saved);
  }
  EXPECT_EQ(content(pty.master.get()), saved);
}

TEST(Pty, HalfALineIsStillHalfALine) {
  const Pty pty;
  const Program program([&] {
    pty.take();
    put(kMaster, "hel");
  });
  StoppedProgram stopped(program.pid());
  stopped.capture();
  EXPECT_EQ(stopped.file(program.pid(), kMaster).pty_master().input(), "hel");
  Restored restored(stopped.model);
  restored.make();
  const int new_master = restored.fd(stopped.id(program.pid(), kMaster));
  const int new_slave = restored.fd(stopped.id(program.pid(), kSlave));
  for (const auto& [here, there] :
       {std::pair{new_master, new_slave}, std::pair{pty.master.get(), pty.slave.get()}}) {
    EXPECT_EQ(content(here), "hel") << "the echo, once";
    EXPECT_EQ(content(there), "") << "no line yet";
    ASSERT_EQ(::write(here, "\177p\n", 3), 3);  // erases one
    EXPECT_EQ(content(there), "hep\n");
  }
}

TEST(Pty, WholeLinesAreRefusedAndLeft) {
  const Pty pty;
  const Program program([&] {
    pty.take();
    put(kMaster, "one\ntwo\n");
  });
  StoppedProgram stopped(program.pid());
  expect_error(base::ErrorCode::refused, "not been read", [&] { stopped.capture(); });
  EXPECT_EQ(content(pty.slave.get()), "one\ntwo\n");
}

TEST(Pty, PacketModeAndItsContent) {
  const Pty pty;
  const Program program([&] {
    pty.take_raw();
    const int on = 1;
    fail_if(::ioctl(kMaster, TIOCPKT, &on) != 0);
    put(kSlave, "text");
  });
  StoppedProgram stopped(program.pid());
  stopped.capture();
  Restored restored(stopped.model);
  restored.make();
  const int again = restored.fd(stopped.id(program.pid(), kMaster));
  for (const int fd : {pty.master.get(), again}) {
    EXPECT_EQ(content(fd), std::string("\0text", 5));
  }
}

TEST(Pty, HungUpIsNotTheSameAsNeverOpened) {
  const Program hung_up([] {
    Pty().take();
    put(kSlave, "bye");
    ::close(kSlave);
  });
  const Program untouched([] { put_at(::posix_openpt(O_RDWR | O_NOCTTY), kMaster); });
  for (const Program* program : {&hung_up, &untouched}) {
    StoppedProgram stopped(program->pid());
    stopped.capture();
    Restored restored(stopped.model);
    restored.make();
    restored.state.pty_slaves.clear();
    pollfd state{restored.fd(stopped.id(program->pid(), kMaster)), POLLIN, 0};
    EXPECT_EQ(::poll(&state, 1, 0) == 1, program == &hung_up);
    EXPECT_EQ((state.revents & POLLHUP) != 0, program == &hung_up);
    EXPECT_EQ(content(state.fd), program == &hung_up ? "bye" : "");
  }
}

TEST(Pty, TerminalsOfOthersStayForeign) {
  const base::UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  const int unlocked = 0;
  ASSERT_EQ(::ioctl(master.get(), TIOCSPTLCK, &unlocked), 0);
  const base::UniqueFd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  OwnDescriptors alone({slave.get()});
  EXPECT_EQ(alone.kind(), "terminal");
  OwnDescriptors both({slave.get(), master.get()});
  EXPECT_EQ(both.kind(0), "pseudo terminal (slave)");
  EXPECT_EQ(both.kind(1), "pseudo terminal (master)");
}

TEST(Pty, DamagedRecordsAreBadImages) {
  snapshot::Computation model;
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(1);
  file.mutable_pty_slave()->set_master(1);
  Restored restored(model);
  expect_error(base::ErrorCode::bad_image, "damaged",
               [&] { check_open_files(model, restored.state); });
  file.mutable_pty_master()->set_termios("short");
  expect_error(base::ErrorCode::bad_image, "damaged",
               [&] { check_open_files(model, restored.state); });
}

}  // namespace
}  // namespace torpor::resource
