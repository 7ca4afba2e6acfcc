// Where the agent stands while it builds up a process: a range that no area of any process of the
// image needs.
#pragma once

#include <cstdint>

#include "proto/snapshot.pb.h"

namespace torpor::restart {

// What lies where in the hole. The same in all husks of one restart.
class Hole {
 public:
  // The lowest range of sufficient size above 4 GiB that is free in every process. Throws Error
  // conflict if there is none.
  static Hole find(const snapshot::Computation& model, std::uint64_t code_bytes);

  [[nodiscard]] std::uint64_t start() const { return start_; }
  [[nodiscard]] std::uint64_t end() const { return start_ + size_; }
  [[nodiscard]] std::uint64_t code() const { return start_; }
  [[nodiscard]] std::uint64_t context() const { return start_ + code_bytes_; }
  [[nodiscard]] std::uint64_t vdso_parking() const;  // kParkingBytes
  [[nodiscard]] std::uint64_t thread_area() const;   // up to end()
  [[nodiscard]] std::uint64_t thread_area_bytes() const { return end() - thread_area(); }

  static constexpr std::uint64_t kParkingBytes = 1 << 16;
  static constexpr std::uint64_t kBytesPerThread = 1 << 15;

 private:
  std::uint64_t start_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t code_bytes_ = 0;
};

}  // namespace torpor::restart
