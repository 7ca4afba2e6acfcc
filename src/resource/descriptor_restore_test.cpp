// What is done inside processes: the agent of a stopped child with no descriptors of its own plays
// the husk's. Its table is a private copy of the child's, and the descriptors land there.
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "resource/descriptors_test_support.h"
#include "resource/file_lock.h"
#include "resource/file_owner.h"
#include "resource/proc_file.h"

namespace torpor::resource {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// The descriptors of one program given to another, which has none.
class Handover {
 public:
  Handover(const snapshot::Computation& source, pid_t pid)
      : child_([] { ::close(2); }), stopped_(child_.pid()), model_(source), restored_(model_) {
    process::HeldProcess& held = stopped_.held();
    held.seen_pid = pid;
    agent().call(SYS_dup3, {agent().remote_socket(), 900, O_CLOEXEC}, "dup");
    move_socket();
    restored_.state.processes[pid] = &held;
  }

  // The program is to be one with the other's number.
  void renumber(pid_t pid) {
    for (snapshot::OpenFile& file : *model_.mutable_open_files()) {
      if (process_of_path(file.path()) != pid) continue;
      file.set_path(fmt::format("/proc/{}/stat", host_pid()));
    }
    model_.mutable_processes(0)->set_pid(host_pid());
    stopped_.held().seen_pid = host_pid();
    restored_.state.processes = {{host_pid(), &stopped_.held()}};
  }

  void run() {
    restored_.make();
    give_descriptors(restored_.state, stopped_.held(), model_.processes(0));
    finish_descriptors(restored_.state);
  }

  process::AgentClient& agent() { return *stopped_.held().agent; }
  RestoreState& state() { return restored_.state; }
  [[nodiscard]] pid_t host_pid() const { return child_.pid(); }
  std::int64_t fcntl(int fd, int command, process::Argument argument = 0) {
    process::Batch batch(agent());
    const std::size_t call = batch.try_call(SYS_fcntl, {fd, command, argument});
    batch.run();
    return batch.result(call);
  }

 private:
  void move_socket() {
    process::Batch batch(agent());
    batch.call(SYS_close, {agent().remote_socket()}, "close");
    batch.call(agent::kSetSocket, {900}, "use the moved socket");
    batch.run();
    agent().set_remote_socket(900);
  }

  Program child_;
  StoppedProgram stopped_;
  snapshot::Computation model_;
  Restored restored_;
};

TEST(DescriptorRestore, EachNumberHasItsDescription) {
  const TestDirectory directory;
  write_file(directory / "file", "0123456789");
  const Program child([&] {
    put_at(::open((directory / "file").c_str(), O_RDWR), 10);
    ::lseek(10, 4, SEEK_SET);
    ::dup2(10, 3);
    ::fcntl(3, F_SETFD, FD_CLOEXEC);
    put_at(::open((directory / "file").c_str(), O_RDONLY), 200);
  });
  StoppedProgram program(child.pid());
  program.capture();
  program.model.mutable_processes(0)->mutable_descriptors()->erase(
      program.model.processes(0).descriptors().begin());  // standard error: the test's own
  Handover handover(program.model, child.pid());
  handover.run();
  const base::UniqueFd ten = handover.agent().take_fd(10);
  const base::UniqueFd three = handover.agent().take_fd(3);
  const base::UniqueFd other = handover.agent().take_fd(200);
  EXPECT_EQ(::lseek(three.get(), 0, SEEK_CUR), 4);
  ::lseek(ten.get(), 7, SEEK_SET);
  EXPECT_EQ(::lseek(three.get(), 0, SEEK_CUR), 7) << "not one description";
  EXPECT_EQ(::lseek(other.get(), 0, SEEK_CUR), 0);
  EXPECT_EQ(handover.fcntl(3, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(handover.fcntl(10, F_GETFD), 0);
  EXPECT_EQ(handover.fcntl(4, F_GETFD), -EBADF);
}

TEST(DescriptorRestore, LocksOfAllThreeKindsAreTakenAgain) {
  const TestDirectory directory;
  write_file(directory / "file", "0123456789");
  const std::string path = directory / "file";
  auto child = std::make_unique<Program>([&] {
    put_at(::open(path.c_str(), O_RDWR), 10);
    put_at(::open(path.c_str(), O_RDONLY), 11);
    put_at(::open(path.c_str(), O_RDWR), 12);
    ::close(2);
    if (::flock(11, LOCK_SH) != 0) ::_exit(95);
    struct ::flock record {};
    record.l_type = F_WRLCK;
    record.l_start = 2;
    record.l_len = 3;
    if (::fcntl(10, F_SETLK, &record) != 0) ::_exit(96);
    record.l_start = 8;
    record.l_len = 0;
    if (::fcntl(12, F_OFD_SETLK, &record) != 0) ::_exit(97);
  });
  const pid_t pid = child->pid();
  snapshot::Computation model;
  {
    StoppedProgram program(pid);
    program.capture();
    model = program.model;
    EXPECT_THAT(program.file(pid, 11).locks(), SizeIs(1));
    EXPECT_EQ(program.file(pid, 11).locks(0).kind(), snapshot::FileLock::FLOCK);
    EXPECT_FALSE(program.file(pid, 11).locks(0).exclusive());
    ASSERT_THAT(program.file(pid, 10).locks(), SizeIs(1));
    const snapshot::FileLock& posix = program.file(pid, 10).locks(0);
    EXPECT_EQ(posix.kind(), snapshot::FileLock::POSIX);
    EXPECT_TRUE(posix.exclusive());
    EXPECT_EQ(posix.start(), 2U);
    EXPECT_EQ(posix.length(), 3U);
    EXPECT_EQ(posix.pid(), pid);
    ASSERT_THAT(program.file(pid, 12).locks(), SizeIs(1));
    EXPECT_EQ(program.file(pid, 12).locks(0).kind(), snapshot::FileLock::OFD);
    EXPECT_EQ(program.file(pid, 12).locks(0).length(), 0U);
  }
  {
    Handover early(model, pid);
    expect_error(base::ErrorCode::conflict, path, [&] { early.run(); });
  }
  child.reset();
  Handover handover(model, pid);
  handover.run();
  const base::UniqueFd stranger = open_file(path, O_RDWR);
  EXPECT_EQ(::flock(stranger.get(), LOCK_EX | LOCK_NB), -1);
  EXPECT_EQ(::flock(stranger.get(), LOCK_SH | LOCK_NB), 0);
  const auto holder_of = [&](off_t start) {
    struct ::flock record {};
    record.l_type = F_WRLCK;
    record.l_start = start;
    record.l_len = 1;
    ::fcntl(stranger.get(), F_OFD_GETLK, &record);
    return record.l_type == F_UNLCK ? 0 : record.l_pid;
  };
  EXPECT_EQ(holder_of(1), 0);
  EXPECT_EQ(holder_of(2), handover.host_pid());
  EXPECT_EQ(holder_of(4), handover.host_pid());
  EXPECT_EQ(holder_of(5), 0);
  EXPECT_EQ(holder_of(100), -1) << "a lock of a description has no process";
}

TEST(FileLock, OfAnotherProcessThroughTheSameDescriptionIsThatOnes) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  const Program child([&](const Program::Ready& ready) {
    put_at(::open((directory / "file").c_str(), O_RDWR), 10);
    struct ::flock record {};
    record.l_type = F_WRLCK;
    if (::fcntl(10, F_SETLK, &record) != 0) ::_exit(96);
    if (::fork() == 0) {
      put_at(::open((directory / "file").c_str(), O_RDWR), 11);
      ready();
    }
    for (;;) ::pause();
  });
  StoppedProgram program(child.pid());
  program.capture();
  ASSERT_EQ(program.model.processes_size(), 2);
  ASSERT_THAT(program.file(child.pid(), 10).locks(), SizeIs(1));
  EXPECT_EQ(program.file(child.pid(), 10).locks(0).pid(), child.pid());
  EXPECT_THAT(program.file(program.model.processes(1).pid(), 11).locks(), IsEmpty());
}

TEST(FileOwner, IsSetAgainFromInside) {
  const Program child([&] {
    int sides[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, sides) != 0) ::_exit(97);
    put_at(sides[1], 11);
    put_at(sides[0], 10);
    ::close(2);
    struct ::f_owner_ex owner {};
    owner.type = F_OWNER_PID;
    owner.pid = ::getpid();
    ::fcntl(10, F_SETSIG, SIGUSR1);
    ::fcntl(10, F_SETOWN_EX, &owner);
    ::fcntl(10, F_SETFL, O_RDWR | O_ASYNC);
  });
  StoppedProgram program(child.pid());
  program.capture();
  const snapshot::OpenFile& file = program.file(child.pid(), 10);
  EXPECT_EQ(file.owner().type(), F_OWNER_PID);
  EXPECT_EQ(file.owner().id(), child.pid());
  EXPECT_EQ(file.owner().signal(), SIGUSR1);
  EXPECT_TRUE(file.flags() & O_ASYNC);
  EXPECT_FALSE(program.file(child.pid(), 11).has_owner());

  Handover handover(program.model, child.pid());
  handover.run();
  const base::UniqueFd socket = handover.agent().take_fd(10);
  struct ::f_owner_ex owner {};
  ASSERT_EQ(::fcntl(socket.get(), F_GETOWN_EX, &owner), 0);
  EXPECT_EQ(owner.pid, child.pid());
  EXPECT_EQ(::fcntl(socket.get(), F_GETSIG), SIGUSR1);
  EXPECT_TRUE(::fcntl(socket.get(), F_GETFL) & O_ASYNC);
  EXPECT_THAT(handover.state().warnings, IsEmpty());
}

TEST(FileOwner, ThatIsGoneIsAWarning) {
  const Program child([] { ::close(2); });
  StoppedProgram program(child.pid());
  snapshot::OpenFile file;
  file.set_path("/some/file");
  file.mutable_owner()->set_type(F_OWNER_PID);
  file.mutable_owner()->set_id(process::ended_pid());
  RestoreState state;
  const base::UniqueFd null = open_file("/dev/null", O_RDONLY);
  const int fd = program.held().agent->give_fd_anywhere(null.get());
  restore_owner(program.held(), fd, file, state);
  EXPECT_THAT(state.warnings, ElementsAre(HasSubstr("/some/file")));
}

TEST(DescriptorRestore, ProcFilesAreOpenedInside) {
  const Program child([] {
    put_at(::open("/proc/self/stat", O_RDONLY), 10);
    ::dup2(10, 11);
    ::close(2);
  });
  StoppedProgram program(child.pid());
  program.capture();
  Handover handover(program.model, child.pid());
  // It does not have its number in this /proc.
  expect_error(base::ErrorCode::host_lacks, "/stat", [&] { handover.run(); });

  Handover same(program.model, child.pid());
  same.renumber(child.pid());
  same.run();
  const base::UniqueFd stat = same.agent().take_fd(10);
  EXPECT_THAT(read_all(stat.get()), testing::StartsWith(fmt::format("{} (", same.host_pid())));
  const base::UniqueFd other = same.agent().take_fd(11);
  EXPECT_GT(::lseek(other.get(), 0, SEEK_CUR), 0) << "not one description";
}

TEST(DescriptorRestore, ContradictingTablesAreABadImage) {
  snapshot::Computation model;
  Restored restored(model);
  const auto expect_bad = [&](std::string_view text) {
    expect_error(base::ErrorCode::bad_image, text, [&] { restored.make(); });
    expect_error(base::ErrorCode::bad_image, text,
                 [&] { check_open_files(model, restored.state); });
  };
  snapshot::Process& process = *model.add_processes();
  process.set_pid(7);
  snapshot::Descriptor& descriptor = *process.add_descriptors();
  descriptor.set_number(3);
  descriptor.set_open_file(1);
  expect_bad("refers to open file 1");
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(1);
  expect_bad("no kind");
  file.set_path("/dev/null");
  file.mutable_device()->set_major(1);
  file.mutable_device()->set_minor(3);
  EXPECT_THAT(check_open_files(model, restored.state), IsEmpty());
  *process.add_descriptors() = descriptor;
  expect_bad("descriptor 3 twice");
  process.mutable_descriptors()->RemoveLast();
  descriptor.set_number(-1);
  expect_bad("descriptor -1");
  descriptor.set_number(3);
  *model.add_open_files() = file;
  expect_bad("two open files 1");
  model.mutable_open_files()->RemoveLast();
  process.set_state(snapshot::Process::ZOMBIE);
  expect_bad("has ended");
}

TEST(DescriptorRestore, ErrorNamesTheHolder) {
  snapshot::Computation model;
  snapshot::Process& process = *model.add_processes();
  process.set_pid(7);
  snapshot::Descriptor& descriptor = *process.add_descriptors();
  descriptor.set_number(3);
  descriptor.set_open_file(1);
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(1);
  file.set_path("/nowhere/file");
  file.mutable_regular();
  Restored restored(model);
  expect_error(base::ErrorCode::not_found, "descriptor 3 of process 7 (/nowhere/file)",
               [&] { restored.make(); });
}

}  // namespace
}  // namespace torpor::resource
