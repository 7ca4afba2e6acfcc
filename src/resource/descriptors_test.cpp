#include "resource/descriptors.h"

#include <sys/inotify.h>
#include <sys/socket.h>

#include <thread>

#include "resource/description_table.h"
#include "resource/descriptors_test_support.h"

namespace torpor::resource {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const snapshot::Descriptor& descriptor(const snapshot::Process& process, int number) {
  for (const snapshot::Descriptor& descriptor : process.descriptors()) {
    if (descriptor.number() == number) return descriptor;
  }
  ADD_FAILURE() << "no descriptor " << number;
  return snapshot::Descriptor::default_instance();
}

TEST(Descriptors, SharedDescriptionsAreFoundThroughDupAndFork) {
  const TestDirectory directory;
  write_file(directory / "file", "0123456789");
  const Program child([&](const Program::Ready& ready) {
    put_at(::open((directory / "file").c_str(), O_RDWR | O_APPEND), 10);
    ::dup2(10, 11);
    ::fcntl(11, F_SETFD, FD_CLOEXEC);
    put_at(::open((directory / "file").c_str(), O_RDWR | O_APPEND), 12);
    ::lseek(10, 4, SEEK_SET);
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(11);
      put_at(::open((directory / "file").c_str(), O_RDONLY | O_NONBLOCK), 13);
      ready();
    }
    for (;;) ::pause();
  });
  StoppedProgram program(child.pid());
  program.capture();
  ASSERT_EQ(program.model.processes_size(), 2);
  const pid_t first = program.model.processes(0).pid();
  const pid_t second = program.model.processes(1).pid();

  EXPECT_EQ(program.id(first, 10), program.id(first, 11));
  EXPECT_NE(program.id(first, 10), program.id(first, 12));
  EXPECT_EQ(program.id(first, 10), program.id(second, 10));
  EXPECT_EQ(program.id(first, 12), program.id(second, 12));
  EXPECT_NE(program.id(second, 13), program.id(second, 12));
  EXPECT_EQ(program.model.open_files_size(), 4) << "standard error and three more";
  EXPECT_EQ(program.model.processes(0).descriptors_size(), 4);
  EXPECT_EQ(program.model.processes(1).descriptors_size(), 4);

  EXPECT_TRUE(descriptor(program.model.processes(0), 11).close_on_exec());
  EXPECT_FALSE(descriptor(program.model.processes(0), 10).close_on_exec());
  EXPECT_EQ(program.file(first, 10).position(), 4U);
  EXPECT_EQ(program.file(first, 12).position(), 0U);
  EXPECT_EQ(program.file(first, 10).flags() & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_CLOEXEC),
            static_cast<unsigned>(O_RDWR | O_APPEND));
  EXPECT_EQ(program.file(second, 13).flags() & (O_ACCMODE | O_APPEND | O_NONBLOCK),
            static_cast<unsigned>(O_RDONLY | O_NONBLOCK));
  EXPECT_EQ(program.file(first, 10).path(), directory / "file");
  EXPECT_THAT(program.state.holders, SizeIs(8));
}

TEST(Descriptors, DescriptionPassedBetweenUnrelatedNumbersIsOne) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  const Program child([&](const Program::Ready& ready) {
    put_at(::open((directory / "file").c_str(), O_RDONLY), 20);
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      put_at(::open((directory / "file").c_str(), O_RDONLY), 30);
      put_at(20, 31);
      ready();
    }
    for (;;) ::pause();
  });
  StoppedProgram program(child.pid());
  program.capture();
  const pid_t first = program.model.processes(0).pid();
  const pid_t second = program.model.processes(1).pid();
  EXPECT_EQ(program.id(first, 20), program.id(second, 31));
  EXPECT_NE(program.id(first, 20), program.id(second, 30));
}

// As where a container refuses kcmp(2).
TEST(Descriptors, SharedDescriptionsAreFoundWithoutKcmp) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  const Program child([&](const Program::Ready& ready) {
    put_at(::open((directory / "file").c_str(), O_RDONLY), 20);
    put_at(::open((directory / "file").c_str(), O_RDONLY), 21);
    if (::fork() == 0) {
      put_at(::open((directory / "file").c_str(), O_RDONLY), 30);
      ::dup2(21, 31);
      ready();
    }
    for (;;) ::pause();
  });
  StoppedProgram program(child.pid());
  program.state.kcmp = false;
  program.capture();
  const pid_t first = program.model.processes(0).pid();
  const pid_t second = program.model.processes(1).pid();
  EXPECT_EQ(program.id(first, 20), program.id(second, 20));
  EXPECT_EQ(program.id(first, 21), program.id(second, 31));
  EXPECT_NE(program.id(first, 20), program.id(first, 21));
  EXPECT_NE(program.id(first, 20), program.id(second, 30));
  EXPECT_EQ(program.id(first, 2), program.id(second, 2));
  EXPECT_EQ(program.model.open_files_size(), 4);
}

TEST(Descriptors, LeaderThatHasExitedStillHasThem) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  const Program child([&](const Program::Ready& ready) {
    put_at(::open((directory / "file").c_str(), O_RDONLY), 10);
    std::thread([&ready] {
      while (process::read_stat(::getpid()).state != 'Z') ::usleep(1000);
      ready();
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);
  });
  const std::vector<pid_t> pids{child.pid()};
  CaptureState dry;
  EXPECT_THAT(check_descriptors(pids, dry), IsEmpty());
  EXPECT_THAT(dry.holders, SizeIs(2));

  StoppedProgram program(child.pid());
  program.capture();
  EXPECT_EQ(program.file(child.pid(), 10).path(), directory / "file");
}

TEST(Descriptors, DryPassNamesWhatCannotBeSaved) {
  if (!process::is_kcmp_allowed()) GTEST_SKIP() << "needs kcmp(2)";
  const Program child([] {
    put_at(::inotify_init1(0), 10);
    put_at(::socket(AF_INET, SOCK_DGRAM, 0), 11);
    put_at(::open("/dev/null", O_RDONLY), 12);
    if (::fork() == 0) {  // the same descriptors: they are not named twice
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) ::pause();
    }
  });
  std::vector<pid_t> pids = process::members_of({child.pid(), 0, {}});
  ASSERT_THAT(pids, SizeIs(2));
  CaptureState state;
  const auto findings = check_descriptors(pids, state);
  ASSERT_THAT(findings, SizeIs(2));
  EXPECT_EQ(findings[0].pid, child.pid());
  EXPECT_EQ(findings[0].fd, 10);
  EXPECT_THAT(findings[0].what, HasSubstr("descriptor 10 (anon_inode:inotify)"));
  EXPECT_THAT(findings[0].reason, HasSubstr("inotify"));
  EXPECT_FALSE(findings[0].remedy.empty());
  EXPECT_EQ(findings[1].fd, 11);
  EXPECT_THAT(findings[1].reason, HasSubstr("IPv4 datagram"));
}

TEST(Descriptors, CaptureRefusesNamingAllOfThem) {
  const Program child([] {
    put_at(::inotify_init1(0), 10);
    put_at(::socket(AF_INET, SOCK_STREAM, 0), 11);
  });
  StoppedProgram program(child.pid());
  expect_error(base::ErrorCode::refused, "descriptor 10 (anon_inode:inotify)",
               [&] { program.capture(); });
}

TEST(Descriptors, DryPassPassesOverProcessesThatAreGone) {
  const std::vector<pid_t> pids{process::ended_pid()};
  CaptureState state;
  EXPECT_THAT(check_descriptors(pids, state), IsEmpty());
}

TEST(Descriptors, LeaseIsRefused) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  const Program child([&] {
    put_at(::open((directory / "file").c_str(), O_RDONLY), 10);
    if (::fcntl(10, F_SETLEASE, F_RDLCK) != 0) ::_exit(97);
  });
  const std::vector<pid_t> pids{child.pid()};
  CaptureState state;
  const auto findings = check_descriptors(pids, state);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].reason, HasSubstr("lease"));
}

TEST(Descriptors, ThreadWithItsOwnTableIsRefused) {
  const Program child([](const Program::Ready& ready) {
    std::thread([&ready] {
      // With kcmp(2) refused only a difference shows.
      if (::unshare(CLONE_FILES) != 0) ::_exit(97);
      put_at(::open("/dev/null", O_RDONLY), 10);
      ready();
      for (;;) ::pause();
    }).detach();
    for (;;) ::pause();
  });
  StoppedProgram program(child.pid());
  expect_error(base::ErrorCode::refused, "descriptor table of its own", [&] { program.capture(); });
}

TEST(Descriptors, OneOfOurOwnIsIdentified) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  const base::UniqueFd shared(
      ::fcntl(open_file(directory / "file", O_RDONLY).get(), F_DUPFD_CLOEXEC, Program::kFirstKept));
  const Program child([&] { put_at(shared.get(), 40); });
  StoppedProgram program(child.pid());
  program.capture();
  const int known = program.model.open_files_size();
  EXPECT_EQ(program.state.identify(shared.get()), program.id(child.pid(), 40));
  EXPECT_EQ(program.model.open_files_size(), known);

  const base::UniqueFd other = open_file(directory / "file", O_RDONLY);
  const std::uint64_t id = program.state.identify(other.get());
  EXPECT_EQ(id, static_cast<std::uint64_t>(known) + 1);
  EXPECT_EQ(program.state.identify(other.get()), id);
  EXPECT_EQ(program.model.open_files(known).path(), directory / "file");
}

// Attached: nobody says what the launcher's streams were.
TEST(Descriptors, StreamsThatLeadOutsideAreStandardStreams) {
  int outside[2];
  ASSERT_EQ(::pipe2(outside, O_CLOEXEC), 0);
  const base::UniqueFd reader(outside[0]);
  const base::UniqueFd writer(::fcntl(outside[1], F_DUPFD_CLOEXEC, Program::kFirstKept));
  ::close(outside[1]);
  const Program child([&] {
    int inside[2];
    if (::pipe(inside) != 0) ::_exit(97);
    put_at(inside[1], 10);  // standard input is its own
    put_at(writer.get(), 1);
    ::dup2(1, 11);
    put_at(::open("/dev/null", O_WRONLY), 2);
  });
  StoppedProgram program(child.pid());
  program.capture();
  EXPECT_TRUE(program.file(child.pid(), 0).has_pipe());
  ASSERT_TRUE(program.file(child.pid(), 1).has_standard());
  EXPECT_EQ(program.file(child.pid(), 1).standard().stream(), 1U);
  EXPECT_EQ(program.id(child.pid(), 1), program.id(child.pid(), 11));
  EXPECT_TRUE(program.file(child.pid(), 2).has_device());
}

TEST(Descriptors, PipeToTheOutsideIsRefused) {
  int outside[2];
  ASSERT_EQ(::pipe2(outside, O_CLOEXEC), 0);
  const base::UniqueFd reader(outside[0]);
  const base::UniqueFd writer(::fcntl(outside[1], F_DUPFD_CLOEXEC, Program::kFirstKept));
  ::close(outside[1]);
  const Program child([&] { put_at(writer.get(), 20); });
  const std::vector<pid_t> pids{child.pid()};
  CaptureState dry;
  const auto findings = check_descriptors(pids, dry);
  if (dry.kcmp) {  // where that is refused one cannot see who has the other end either
    ASSERT_THAT(findings, SizeIs(1));
    EXPECT_THAT(findings[0].reason, HasSubstr("the read end of this pipe is held by"));
    EXPECT_FALSE(findings[0].certain);
  }

  StoppedProgram program(child.pid());
  expect_error(base::ErrorCode::refused, "descriptor 20", [&] { program.capture(); });
}

TEST(Descriptors, PipeWhoseOtherEndIsClosedIsNone) {
  const Program child([&] {
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(97);
    if (::write(ends[1], "last", 4) != 4) ::_exit(96);
    ::close(ends[1]);
    put_at(ends[0], 20);
  });
  const std::vector<pid_t> pids{child.pid()};
  CaptureState dry;
  EXPECT_THAT(check_descriptors(pids, dry), IsEmpty());
  StoppedProgram program(child.pid());
  program.capture();
  ASSERT_EQ(program.model.pipes_size(), 1);
  EXPECT_EQ(program.model.pipes(0).content(), "last");
}

}  // namespace
}  // namespace torpor::resource
