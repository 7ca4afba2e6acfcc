// What of an ELF file is needed to load it; elf(5).
#pragma once

#include <linux/elf.h>

#include <cstdint>

namespace torpor::agent {

inline constexpr int kMaxSegments = 32;
inline constexpr std::int64_t kInterpreterBytes = 256;

struct ElfHeaders {
  Elf64_Ehdr file;
  Elf64_Phdr segments[kMaxSegments];
};

// 64 bit, this processor, an executable or position independent.
bool is_loadable(const Elf64_Ehdr& header);
// Zero or -errno: ENOEXEC if it cannot be loaded.
std::int64_t read_headers(std::uint64_t descriptor, ElfHeaders& headers);
// The length of the path with its end, zero if none is asked for, or -errno.
std::int64_t read_interpreter(std::uint64_t descriptor, const Elf64_Ehdr& header, char* path);

// A file that has been mapped.
struct MappedElf {
  std::uint64_t offset = 0;  // of its addresses
  std::uint64_t entry = 0;
  std::uint64_t headers = 0;  // address of its segment headers, as AT_PHDR says
  std::uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0;
  std::uint64_t end = 0;  // of all
};
// Maps its segments: an executable at its own addresses, another at `wish` or, if that is zero,
// where the kernel likes. Zero or -errno.
std::int64_t map_elf(std::uint64_t descriptor, const ElfHeaders& headers, std::uint64_t wish,
                     MappedElf& mapped);

}  // namespace torpor::agent
