// An address in another process. It cannot be dereferenced here by mistake.
#pragma once

#include <compare>
#include <cstdint>

namespace torpor::base {

class RemotePtr {
 public:
  constexpr RemotePtr() = default;
  constexpr explicit RemotePtr(std::uint64_t address) : address_(address) {}

  [[nodiscard]] constexpr std::uint64_t address() const { return address_; }
  constexpr explicit operator bool() const { return address_ != 0; }

  constexpr RemotePtr operator+(std::uint64_t bytes) const { return RemotePtr(address_ + bytes); }
  constexpr RemotePtr operator-(std::uint64_t bytes) const { return RemotePtr(address_ - bytes); }
  constexpr auto operator<=>(const RemotePtr&) const = default;

 private:
  std::uint64_t address_ = 0;
};

}  // namespace torpor::base
