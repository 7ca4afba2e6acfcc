// What the /proc readers share: paths, the content of a file for the length of a parse, errors.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace torpor::process {

std::string proc_path(pid_t pid, std::string_view name);
std::string proc_path(pid_t pid, pid_t tid, std::string_view name);

// Throws what proc_file.h promises for this errno of an access to a path that starts with
// /proc/<pid>.
[[noreturn]] void throw_proc_error(int error, std::string_view path);

// The whole content of a file of unknown length. Short ones, that is, nearly all, stay on the
// stack.
class ProcText {
 public:
  explicit ProcText(std::string path);
  ProcText(const ProcText&) = delete;
  ProcText& operator=(const ProcText&) = delete;

  [[nodiscard]] std::string_view view() const { return {data_, size_}; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void grow();

  std::string path_;
  std::array<char, 4096> near_;  // not initialized: read() fills it
  std::unique_ptr<char[]> far_;
  char* data_ = near_.data();
  std::size_t capacity_ = near_.size();
  std::size_t size_ = 0;
};

// The names of a directory that are decimal numbers, in ascending order.
std::vector<int> list_numbers(const std::string& directory);

// readlink(2) of any length into `target`; 0 or errno.
int read_link_into(const std::string& path, std::string& target);

}  // namespace torpor::process
