// XXH3-64, the checksum of everything in an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace torpor::image {

[[nodiscard]] std::uint64_t checksum(std::span<const std::byte> bytes);

// The checksum of what comes in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void add(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Of `fd` from `from` to `to`; `name` is for errors. Throws Error bad_image if the file is shorter.
[[nodiscard]] std::uint64_t checksum_of_file(int fd, std::uint64_t from, std::uint64_t to,
                                             const std::string& name);

}  // namespace torpor::image
