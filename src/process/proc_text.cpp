#include "process/proc_text.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::process {

using base::Error;
using base::ErrorCode;

std::string proc_path(pid_t pid, std::string_view name) {
  return fmt::format("/proc/{}/{}", pid, name);
}

std::string proc_path(pid_t pid, pid_t tid, std::string_view name) {
  return fmt::format("/proc/{}/task/{}/{}", pid, tid, name);
}

namespace {

// Moves `text` behind `prefix` and the decimal number that follows; the number, or nothing.
std::string_view take_number(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return {};
  const std::string_view after = text.substr(prefix.size());
  const std::string_view number =
      after.substr(0, std::min(after.find_first_not_of("0123456789"), after.size()));
  if (!number.empty()) text = after.substr(number.size());
  return number;
}

bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Throws program_gone if the path's process or thread is not there.
void throw_if_gone(int error, std::string_view path) {
  std::string_view rest = path;
  const std::string_view pid = take_number(rest, "/proc/");
  if (pid.empty()) return;
  const std::string_view tid = take_number(rest, "/task/");
  const std::string_view directory = path.substr(0, path.size() - rest.size());
  if (error == ENOENT && is_there(std::string(directory))) return;
  if (tid.empty()) throw Error(ErrorCode::program_gone, fmt::format("process {} is gone", pid));
  throw Error(ErrorCode::program_gone, fmt::format("thread {} of process {} is gone", tid, pid));
}

// A process that has given up its memory on its way to the end belongs to root in /proc, whoever
// ran it (task_dump_owner() in fs/proc/base.c): that is no lack of permission.
void throw_if_ending(std::string_view path) {
  std::string_view rest = path;
  const std::string_view pid = take_number(rest, "/proc/");
  if (pid.empty()) return;
  const base::UniqueFd file(
      ::open(fmt::format("/proc/{}/status", pid).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> text{};
  const ssize_t got = file ? ::read(file.get(), text.data(), text.size()) : 0;
  const std::string_view status(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  if (status.find("\nVmSize:") != std::string_view::npos) return;
  throw Error(ErrorCode::program_gone, fmt::format("process {} is gone", pid));
}

}  // namespace

void throw_proc_error(int error, std::string_view path) {
  if (error == ENOENT || error == ESRCH) throw_if_gone(error, path);
  if (error == EACCES || error == EPERM) {
    throw_if_ending(path);
    throw Error(
        ErrorCode::permission, fmt::format("{}: {}", path, ::strerror(error)),
        "run torpor as the user of that process; a process that runs a setuid program or has "
        "made itself undumpable can be read by root only");
  }
  base::throw_errno(error, path);
}

// near_ stays as it is, read() fills it. NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init)
ProcText::ProcText(std::string path) : path_(std::move(path)) {
  const base::UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_proc_error(errno, path_);
  for (;;) {
    if (size_ == capacity_) grow();
    const ssize_t got = ::read(fd.get(), data_ + size_, capacity_ - size_);
    if (got == 0) return;  // a shorter read is not yet the end: `maps` comes page by page
    if (got < 0 && errno != EINTR) throw_proc_error(errno, path_);
    if (got > 0) size_ += static_cast<std::size_t>(got);
  }
}

void ProcText::grow() {
  const std::size_t capacity = std::max<std::size_t>(capacity_ * 4, 65536);
  auto larger = std::make_unique_for_overwrite<char[]>(capacity);
  std::copy_n(data_, size_, larger.get());
  far_ = std::move(larger);
  data_ = far_.get();
  capacity_ = capacity;
}

std::vector<int> list_numbers(const std::string& directory) {
  struct Closer {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, Closer> dir(::opendir(directory.c_str()));
  if (!dir) throw_proc_error(errno, directory);
  std::vector<int> numbers;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) numbers.push_back(number);
  }
  if (errno != 0) throw_proc_error(errno, directory);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

int read_link_into(const std::string& path, std::string& target) {
  for (std::size_t capacity = 256;; capacity *= 4) {
    target.resize(capacity);
    const ssize_t got = ::readlink(path.c_str(), target.data(), target.size());
    if (got < 0) return errno;
    if (static_cast<std::size_t>(got) == capacity) continue;  // may have been cut
    target.resize(static_cast<std::size_t>(got));
    return 0;
  }
}

}  // namespace torpor::process
