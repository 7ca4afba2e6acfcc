// Where the agent stands while it builds up a process: a range that no area of any process of the
// image needs.
#pragma once

#include <cstdint>

#include "agent/resident/resident_abi.h"
#include "proto/snapshot.pb.h"

namespace torpor::restart {

// What lies where in the hole. The same in all husks of one restart.
class Hole {
 public:
  // The lowest range of sufficient size above 4 GiB that is free in every process. Throws Error
  // conflict if there is none.
  static Hole find(const snapshot::Computation& model, std::uint64_t code_bytes);

  // In the wrapped mode: the resident agent's own range, in which it stays. Throws Error conflict
  // if a process of the image has something there.
  static Hole of_resident(const snapshot::Computation& model);

  // Whether the agent is where it belongs from the start, and stays.
  [[nodiscard]] bool is_resident() const { return start_ == agent::kResidentBase; }
  [[nodiscard]] std::uint64_t start() const { return start_; }
  [[nodiscard]] std::uint64_t end() const { return start_ + size_; }
  [[nodiscard]] std::uint64_t code() const { return start_; }
  [[nodiscard]] std::uint64_t context() const { return context_; }
  [[nodiscard]] std::uint64_t vdso_parking() const { return parking_; }     // kParkingBytes
  [[nodiscard]] std::uint64_t thread_area() const { return thread_area_; }  // up to end()
  [[nodiscard]] std::uint64_t thread_area_bytes() const { return end() - thread_area(); }

  static constexpr std::uint64_t kParkingBytes = 1 << 16;
  static constexpr std::uint64_t kBytesPerThread = 1 << 15;

 private:
  std::uint64_t start_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t context_ = 0;
  std::uint64_t parking_ = 0;
  std::uint64_t thread_area_ = 0;
};

}  // namespace torpor::restart
