#include "resource/standard_stream.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "resource/descriptors_test_support.h"
#include "resource/terminal.h"

namespace torpor::resource {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) base::throw_system("pipe2");
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
  base::UniqueFd read;
  base::UniqueFd write;
};

struct Pty {
  Pty() {
    int ends[2];
    if (::openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr) != 0)
      base::throw_system("openpty");
    master.reset(ends[0]);
    slave.reset(ends[1]);
    ::fcntl(master.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(slave.get(), F_SETFD, FD_CLOEXEC);
  }
  base::UniqueFd master;
  base::UniqueFd slave;
};

OutsideStream outside(unsigned stream, int fd) {
  struct ::stat status {};
  ::fstat(fd, &status);
  return {stream, status.st_dev, status.st_ino};
}

TEST(StandardStream, OutsidePipeBecomesTheRestartersStream) {
  const Pipe pipe;
  OwnDescriptors captured({pipe.write.get()});
  captured.state.outside = {outside(1, pipe.write.get())};
  EXPECT_EQ(captured.kind(), "standard stream");
  EXPECT_FALSE(captured.check());
  captured.capture();
  const snapshot::OpenFile& file = captured.model.open_files(0);
  EXPECT_EQ(file.standard().stream(), 1U);
  EXPECT_EQ(file.standard().was(), captured.views[0].target);

  const Pipe present;
  const int flags = ::fcntl(present.write.get(), F_GETFL);
  captured.model.mutable_open_files(0)->set_flags(O_WRONLY | O_NONBLOCK | O_APPEND);
  Restored restored(captured.model);
  restored.state.streams[1] = present.write.get();
  EXPECT_THAT(check_open_files(captured.model, restored.state), IsEmpty());
  restored.make();
  ASSERT_EQ(::write(restored.fd(1), "text", 4), 4);
  char text[4];
  ASSERT_EQ(::read(present.read.get(), text, 4), 4);
  EXPECT_EQ(std::string_view(text, 4), "text");
  EXPECT_EQ(::fcntl(present.write.get(), F_GETFL), flags) << "the restarter's flags were changed";
  EXPECT_TRUE(::fcntl(restored.fd(1), F_GETFL) & O_NONBLOCK);
}

TEST(StandardStream, OnlyPipesSocketsAndTerminalsAre) {
  const TestDirectory directory;
  const base::UniqueFd log = open_file(directory / "log", O_WRONLY | O_CREAT);
  const base::UniqueFd null = open_file("/dev/null", O_RDONLY);
  int sides[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sides), 0);
  const base::UniqueFd one(sides[0]);
  const base::UniqueFd other(sides[1]);
  OwnDescriptors captured({log.get(), null.get(), one.get()});
  captured.state.outside = {outside(1, log.get()), outside(0, null.get()), outside(2, one.get())};
  EXPECT_EQ(captured.kind(0), "regular file");
  EXPECT_EQ(captured.kind(1), "device");
  EXPECT_EQ(captured.kind(2), "standard stream");
}

TEST(StandardStream, NumberAndDirectionTellWhichOne) {
  int sides[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sides), 0);
  const base::UniqueFd one(sides[0]);
  const base::UniqueFd other(sides[1]);
  OwnDescriptors captured({one.get()});
  captured.state.outside = {outside(0, one.get()), outside(1, one.get()), outside(2, one.get())};
  FileView view = captured.views[0];
  view.fd = 2;
  EXPECT_EQ(outside_stream(view, captured.state), 2U);
  view.fd = 10;
  view.info.flags = O_RDONLY;
  EXPECT_EQ(outside_stream(view, captured.state), 0U);
  view.info.flags = O_WRONLY;
  EXPECT_EQ(outside_stream(view, captured.state), 1U);
  view.status.st_ino += 1;
  EXPECT_EQ(outside_stream(view, captured.state), std::nullopt);
}

TEST(StandardStream, ClosedOrWrongStreamIsRefused) {
  const Pipe pipe;
  OwnDescriptors captured({pipe.write.get()});
  captured.state.outside = {outside(1, pipe.write.get())};
  captured.capture();
  Restored restored(captured.model);
  restored.state.streams[1] = pipe.read.get();
  auto findings = check_open_files(captured.model, restored.state);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].reason, HasSubstr("stream 1 is not open for writing"));
  restored.state.streams[1] = 4000;
  findings = check_open_files(captured.model, restored.state);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].reason, HasSubstr("closed"));
  captured.model.mutable_open_files(0)->mutable_standard()->set_stream(3);
  expect_error(base::ErrorCode::bad_image, "stream 3", [&] { restored.make(); });
}

TEST(Terminal, DescriptorsOfTheProgramsTerminalComeBackOnTheNewOne) {
  const Pty pty;
  const base::UniqueFd second =
      open_file(fmt::format("/proc/self/fd/{}", pty.slave.get()), O_RDWR | O_NONBLOCK | O_NOCTTY);
  struct ::winsize size {};
  size.ws_row = 33;
  size.ws_col = 111;
  ASSERT_EQ(::ioctl(pty.slave.get(), TIOCSWINSZ, &size), 0);
  struct ::termios settings {};
  ::tcgetattr(pty.slave.get(), &settings);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
  settings.c_cc[VINTR] = 7;
  ASSERT_EQ(::tcsetattr(pty.slave.get(), TCSANOW, &settings), 0);

  OwnDescriptors captured({pty.slave.get(), second.get()});
  captured.state.outside = {outside(0, pty.slave.get())};
  EXPECT_EQ(captured.kind(), "terminal");
  EXPECT_FALSE(captured.check());
  captured.capture();
  EXPECT_EQ(captured.model.terminal().rows(), 33U);
  EXPECT_EQ(captured.model.terminal().columns(), 111U);
  EXPECT_TRUE(captured.model.open_files(0).standard().terminal());

  const Pty present;
  Restored restored(captured.model);
  restored.state.terminal = present.slave.get();
  restored.make();
  restore_terminal(present.slave.get(), captured.model.terminal());
  EXPECT_EQ(::ttyname(restored.fd(1)), std::string(::ttyname(present.slave.get())));
  EXPECT_EQ(::fcntl(restored.fd(1), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(restored.fd(2), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  ::tcgetattr(restored.fd(1), &settings);
  EXPECT_EQ(settings.c_lflag & (ECHO | ICANON), 0U);
  EXPECT_EQ(settings.c_cc[VINTR], 7);
  ASSERT_EQ(::ioctl(restored.fd(1), TIOCGWINSZ, &size), 0);
  EXPECT_EQ(size.ws_row, 33);
  EXPECT_EQ(size.ws_col, 111);
}

TEST(Terminal, WithoutATerminalTheStreamIsTakenWithAWarning) {
  const Pty pty;
  OwnDescriptors captured({pty.slave.get()});
  captured.state.outside = {outside(1, pty.slave.get())};
  captured.capture();
  const Pipe present;
  Restored restored(captured.model);
  restored.state.streams[1] = present.write.get();
  restored.make();
  EXPECT_EQ(own_view(restored.fd(1)).status.st_ino, own_view(present.write.get()).status.st_ino);
  EXPECT_THAT(restored.state.warnings, SizeIs(1));
}

TEST(Terminal, StrangersTerminalIsRefused) {
  const Pty pty;
  const OwnDescriptors captured({pty.slave.get()});
  ASSERT_TRUE(captured.check(0));
  EXPECT_THAT(captured.check(0)->reason, HasSubstr("not the program's own"));
}

// A session leader with its terminal in a group of its own, and a child in the foreground.
TEST(Terminal, SessionAndForegroundGroupAreKnown) {
  const Pty pty;
  const base::UniqueFd slave(::fcntl(pty.slave.get(), F_DUPFD_CLOEXEC, Program::kFirstKept));
  const Program child([&](const Program::Ready& ready) {
    for (const int stream : {1, 2}) put_at(::open("/dev/null", O_RDWR), stream);
    const pid_t leader = ::fork();
    if (leader != 0) {
      for (;;) ::pause();
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setsid();
    put_at(slave.get(), 0);
    ::ioctl(0, TIOCSCTTY, 0);
    ::signal(SIGTTOU, SIG_IGN);
    const pid_t job = ::fork();
    if (job == 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(job, job);
    if (job != 0) {
      ::tcsetpgrp(0, job);
      put_at(::open("/dev/tty", O_RDWR), 10);
      ready();
    }
    for (;;) ::pause();
  });
  StoppedProgram program(child.pid());
  program.state.outside = {outside(0, slave.get())};
  program.capture();
  ASSERT_EQ(program.model.processes_size(), 3);
  const pid_t leader = program.model.processes(1).pid();
  EXPECT_EQ(program.model.terminal().session(), leader);
  EXPECT_EQ(program.model.terminal().foreground_group(), program.model.processes(2).pid());
  EXPECT_TRUE(program.file(leader, 0).standard().terminal());
  EXPECT_TRUE(program.file(leader, 10).standard().terminal());
  EXPECT_NE(program.id(leader, 0), program.id(leader, 10));
}

TEST(Terminal, SettingsOfAWrongSizeAreABadImage) {
  const Pty pty;
  snapshot::Terminal terminal;
  terminal.set_termios("short");
  expect_error(base::ErrorCode::bad_image, "settings",
               [&] { restore_terminal(pty.slave.get(), terminal); });
}

}  // namespace
}  // namespace torpor::resource
