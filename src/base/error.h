// The one error type of torpor: what failed, and what the reader can do about it.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace torpor::base {

// Exit codes of every command. They are part of the interface: never renumber. They lie above the
// range that programs use themselves, because `launch` and `restart` exit with the program's own.
enum class ErrorCode : int {
  usage = 100,         // the command line is wrong
  refused = 101,       // the program has something that cannot be saved or restored (I5)
  not_found = 102,     // no such computation, image, generation, process
  permission = 103,    // the kernel does not let this user do it
  bad_image = 104,     // damaged, truncated or newer image (I6)
  io = 105,            // reading or writing failed: disk full, unreadable ...
  host_lacks = 106,    // this host lacks a kernel or CPU feature that is needed
  program_gone = 107,  // the program ended meanwhile
  conflict = 108,      // taken: a name, a pid, an address, a second restart
  timeout = 109,       // something did not happen in its bounded time
  internal = 110,      // a bug of torpor
};

// Stable lower-case name of the code, for --json.
std::string_view error_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  // `what`: what failed, on which pid/fd/path, and why. `remedy`: what to do, may be empty.
  Error(ErrorCode code, const std::string& what, std::string remedy = {})
      : std::runtime_error(what), code_(code), remedy_(std::move(remedy)) {}

  [[nodiscard]] ErrorCode code() const { return code_; }
  [[nodiscard]] const std::string& remedy() const { return remedy_; }

 private:
  ErrorCode code_;
  std::string remedy_;
};

// The code that fits an errno value: EPERM is `permission`, ENOSPC is `io`, ESRCH is gone ...
ErrorCode code_for_errno(int error);

// Throws Error "<what>: <strerror(error)>", with a remedy where the errno has an obvious one.
[[noreturn]] void throw_errno(int error, std::string_view what);

// The same with ErrorCode::host_lacks: what this host's kernel or its policy does not allow.
[[noreturn]] void throw_host_lacks(int error, std::string_view what, std::string_view remedy);

// Throws for the current errno.
template <typename... Args>
[[noreturn]] void throw_system(fmt::format_string<Args...> format, Args&&... args) {
  const int error = errno;  // before formatting can change it
  throw_errno(error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace torpor::base
