// The notes of an ELF core: what a debugger wants to know besides memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "proto/snapshot.pb.h"

namespace torpor::image {

struct MappedFile {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // in the file, bytes
  std::string path;
};

// The file mappings of the process, as NT_FILE wants them.
std::vector<MappedFile> mapped_files(const snapshot::Process& process);

// Content of the PT_NOTE segment: for the first living thread NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO,
// NT_AUXV, NT_FILE, NT_FPREGSET, NT_X86_XSTATE; for every further living one NT_PRSTATUS,
// NT_FPREGSET, NT_X86_XSTATE. Throws Error internal when registers have the wrong size.
std::vector<std::byte> core_notes(const snapshot::Process& process,
                                  const std::vector<MappedFile>& files);

}  // namespace torpor::image
