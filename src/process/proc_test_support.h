// For the tests of the /proc readers: processes to look at, and a place for files.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::process {

// In a child: makes it end with its parent, whenever that ends.
inline void end_with_parent(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(97);  // it had ended before
}

// The constructor returns when `prepare` has run in the child, which then sleeps in pause(), or has
// called `ready`, exec'd or ended the child.
class TestChild {
 public:
  using Ready = std::function<void()>;

  explicit TestChild(const std::function<void(const Ready&)>& prepare) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) base::throw_system("pipe2");
    base::UniqueFd reader(ends[0]);
    base::UniqueFd writer(ends[1]);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      end_with_parent(parent);
      run(prepare, writer.get());
    }
    writer.reset();
    char byte = 0;
    while (::read(reader.get(), &byte, 1) < 0 && errno == EINTR) continue;
  }

  explicit TestChild(const std::function<void()>& prepare)
      : TestChild([&](const Ready&) { prepare(); }) {}

  TestChild(const TestChild&) = delete;
  TestChild& operator=(const TestChild&) = delete;

  ~TestChild() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  [[noreturn]] static void run(const std::function<void(const Ready&)>& prepare, int writer) {
    const Ready ready = [&] {
      if (::write(writer, "r", 1) != 1) ::_exit(99);
    };
    prepare(ready);
    ready();
    for (;;) ::pause();
  }

  pid_t pid_ = -1;
};

// Waits until the process is a zombie, and leaves it one.
inline void wait_for_end(pid_t pid) {
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
}

// The number of a process that has ended and been waited for.
inline pid_t ended_pid() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

// A directory for the time of a test.
class TestDirectory {
 public:
  TestDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "torpor-proc-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) base::throw_system("mkdtemp {}", name);
    path_ = name;
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  ~TestDirectory() { std::filesystem::remove_all(path_); }

  [[nodiscard]] std::string operator/(std::string_view name) const { return path_ / name; }

  // Opens a new file of `size` zero bytes for reading and writing.
  [[nodiscard]] base::UniqueFd create(std::string_view name, off_t size = 0) const {
    base::UniqueFd fd(::open((path_ / name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd || ::ftruncate(fd.get(), size) != 0) base::throw_system("create {}", name);
    return fd;
  }

 private:
  std::filesystem::path path_;
};

// Expects `action` to throw base::Error with this code and this text in its message.
template <typename Action>
void expect_error(base::ErrorCode code, std::string_view text, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with " << text;
  } catch (const base::Error& error) {
    EXPECT_EQ(base::error_name(error.code()), base::error_name(code)) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(text), std::string_view::npos) << error.what();
  }
}

}  // namespace torpor::process
