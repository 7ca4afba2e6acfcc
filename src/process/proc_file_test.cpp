#include "process/proc_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "process/proc_maps.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

TestChild child_with_environment(const std::string& variable) {
  return TestChild([&] {
    const char* arguments[] = {"sleep", "60", nullptr};
    const char* environment[] = {variable.c_str(), nullptr};
    ::execve("/bin/sleep", const_cast<char**>(arguments), const_cast<char**>(environment));
    ::_exit(98);
  });
}

// The kernel shows the new environment only some time after exec has closed our pipe.
std::string wait_for_environment(pid_t pid, std::size_t size) {
  std::string text;
  for (int i = 0; i < 5000 && text.size() != size; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    text = read_proc_file(pid, "environ");
  }
  return text;
}

TEST(ReadProcFile, ReadsFilesOfAnySizeWhole) {
  for (const std::size_t size : {10, 4095, 4096, 4097, 65536, 120000}) {
    std::string variable = "X=";
    while (variable.size() < size - 1) variable += static_cast<char>('a' + variable.size() % 26);
    const TestChild child = child_with_environment(variable);
    const std::string expected = variable + '\0';
    EXPECT_EQ(wait_for_environment(child.pid(), expected.size()), expected) << size;
  }
}

TEST(ReadProcFile, ReadsFilesOfThreads) {
  std::string name;
  std::thread([&] {
    ::prctl(PR_SET_NAME, "other name");
    name = read_proc_file(::getpid(), ::gettid(), "comm");
  }).join();
  EXPECT_EQ(name, "other name\n");
  EXPECT_NE(read_proc_file(::getpid(), ::getpid(), "comm"), name);
}

TEST(ReadProcFile, NamesTheProcessThatIsGone) {
  const pid_t pid = ended_pid();
  expect_error(ErrorCode::program_gone, "process " + std::to_string(pid) + " is gone",
               [&] { read_proc_file(pid, "stat"); });
  expect_error(ErrorCode::program_gone, std::to_string(pid),
               [&] { read_proc_file(pid, pid, "stat"); });
}

TEST(ReadProcFile, NamesTheThreadThatIsGone) {
  const pid_t tid = ended_pid();
  expect_error(ErrorCode::program_gone,
               "thread " + std::to_string(tid) + " of process " + std::to_string(::getpid()),
               [&] { read_proc_file(::getpid(), tid, "stat"); });
}

TEST(ReadProcFile, TellsAMissingFileFromAMissingProcess) {
  expect_error(ErrorCode::not_found, "no-such-file",
               [] { read_proc_file(::getpid(), "no-such-file"); });
  expect_error(ErrorCode::not_found, "no-such-file",
               [] { read_proc_file(::getpid(), ::getpid(), "no-such-file"); });
}

TEST(ReadProcFile, ReportsWhatWeMayNotRead) {
  const TestChild target([] { ::prctl(PR_SET_DUMPABLE, 0); });
  const TestChild reader([&] {
    // Root, too, must be refused.
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    try {
      read_maps(target.pid());
    } catch (const base::Error& error) {
      ::_exit(error.code() == ErrorCode::permission ? 0 : 3);
    }
    ::_exit(4);
  });
  wait_for_end(reader.pid());
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(reader.pid()), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(info.si_status, 0);
}

TEST(ReadLink, ReadsTargetsOfAnyLength) {
  const TestDirectory directory;
  for (const std::size_t size : {1, 255, 256, 257, 1024, 4095}) {
    const std::string target(size, 'x');
    const std::string link = directory / std::to_string(size);
    ASSERT_EQ(::symlink(target.c_str(), link.c_str()), 0);
    EXPECT_EQ(read_link(link), target);
    EXPECT_EQ(try_read_link(link), target);
  }
}

TEST(ReadLink, TellsWhatIsMissing) {
  const std::string link = "/proc/" + std::to_string(::getpid()) + "/fd/999999";
  expect_error(ErrorCode::not_found, link, [&] { read_link(link); });
  EXPECT_EQ(try_read_link(link), std::nullopt);
  const pid_t pid = ended_pid();
  const std::string exe = "/proc/" + std::to_string(pid) + "/exe";
  expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { read_link(exe); });
  EXPECT_EQ(try_read_link(exe), std::nullopt);
}

TEST(ReadLink, ReportsWhatIsNoLink) {
  expect_error(ErrorCode::io, "/proc", [] { try_read_link("/proc"); });
}

}  // namespace
}  // namespace torpor::process
