// System calls to be made by some thread of another process, in order: by its agent now (Batch), or
// by a thread that is being restored, when it starts (ThreadCalls).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/remote_ptr.h"

namespace torpor::process {

// The result of an earlier call of the same list, as an argument.
struct ResultOf {
  std::size_t call;
};

// One argument of a remote system call.
class Argument {
 public:
  template <typename T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  // NOLINTNEXTLINE(google-explicit-constructor): arguments are written as plain numbers
  Argument(T value) : value_(static_cast<std::uint64_t>(value)) {}
  Argument(base::RemotePtr pointer) : value_(pointer.address()) {}        // NOLINT
  Argument(ResultOf earlier) : value_(earlier.call), is_result_(true) {}  // NOLINT

  [[nodiscard]] std::uint64_t value() const { return value_; }
  [[nodiscard]] bool is_result() const { return is_result_; }

 private:
  std::uint64_t value_ = 0;
  bool is_result_ = false;
};

class CallList {
 public:
  virtual ~CallList() = default;

  // Room that the calls can point to; the address is that in the process, 8-aligned, valid while
  // the calls are made. space() is zeros, for results.
  virtual base::RemotePtr data(std::span<const std::byte> bytes) = 0;
  virtual base::RemotePtr space(std::size_t bytes) = 0;

  // Adds a call and returns its index. If it fails, the rest is not made and an Error says what it
  // was to do: "open <path>". A negative number is an agent::Function (Batch only).
  virtual std::size_t call(std::int64_t number, std::vector<Argument> arguments,
                           std::string what) = 0;
  // The same, but an error is only a result.
  virtual std::size_t try_call(std::int64_t number, std::vector<Argument> arguments) = 0;

  base::RemotePtr text(const std::string& text) {
    return data(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
  }
  template <typename T>
  base::RemotePtr value(const T& value) {
    return data(std::as_bytes(std::span(&value, 1)));
  }
};

}  // namespace torpor::process
