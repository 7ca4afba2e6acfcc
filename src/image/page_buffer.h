// Page-aligned buffers, and finding out which of their pages hold nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "base/page_source.h"

namespace torpor::image {

// Aligned as direct I/O wants it; not initialized.
class PageBuffer {
 public:
  explicit PageBuffer(std::size_t size)
      : bytes_(static_cast<std::byte*>(::operator new(size, alignment))), size_(size) {}
  [[nodiscard]] std::span<std::byte> bytes() const { return {bytes_.get(), size_}; }

 private:
  static constexpr std::align_val_t alignment{base::page_size};
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, alignment); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_;
};

// Looks at 64 bytes at a time, which compilers turn into vector instructions; a page with content
// mostly shows it in the first step.
inline bool is_zero(std::span<const std::byte> bytes) {
  constexpr std::size_t step = 64;
  std::size_t at = 0;
  for (; at + step <= bytes.size(); at += step) {
    std::uint64_t words[step / 8];
    std::memcpy(words, bytes.data() + at, step);
    std::uint64_t any = 0;
    for (const std::uint64_t word : words) any |= word;
    if (any != 0) return false;
  }
  for (; at < bytes.size(); ++at) {
    if (bytes[at] != std::byte{0}) return false;
  }
  return true;
}

}  // namespace torpor::image
