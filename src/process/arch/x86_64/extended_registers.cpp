#include "process/extended_registers.h"

#include <cpuid.h>

#include <cstdint>
#include <cstring>
#include <span>

#include "process/remote_memory.h"

namespace torpor::process {
namespace {

constexpr std::size_t kLegacyBytes = 512;
constexpr std::size_t kSoftwarePart = 464;  // reserved for software: the kernel's own notes
constexpr std::uint32_t kMagic = 0x46505853;

struct SoftwareBytes {
  std::uint32_t magic, extended_size;
  std::uint64_t features;
  std::uint32_t size;
  std::uint32_t padding[7];
};

// Of all that XCR0 has switched on: CPUID leaf 0Dh, subleaf 0, EBX.
std::size_t size_in_use() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(0xd, 0, &a, &b, &c, &d) != 0 ? b : kLegacyBytes;
}

}  // namespace

std::vector<std::byte> extended_registers_at(pid_t tid, base::RemotePtr place) {
  std::vector<std::byte> state(kLegacyBytes);
  read_memory(tid, place, state);
  SoftwareBytes notes{};
  static_assert(kSoftwarePart + sizeof(notes) == kLegacyBytes);
  std::memcpy(&notes, state.data() + kSoftwarePart, sizeof(notes));
  if (notes.magic != kMagic || notes.size < kLegacyBytes) return state;
  state.resize(notes.size);
  read_memory(tid, place, state);
  // ptrace has the features here, and nothing else.
  std::memset(state.data() + kSoftwarePart, 0, sizeof(notes));
  std::memcpy(state.data() + kSoftwarePart, &notes.features, sizeof(notes.features));
  if (state.size() < size_in_use()) state.resize(size_in_use());
  return state;
}

}  // namespace torpor::process
