// The file of a program, as exec looks at it: execve(2), elf(5).
#pragma once

#include <cstdint>

namespace torpor::agent {

enum class FileKind {
  ours,    // ELF, of this processor in 64 bits: we can load it
  script,  // #!
  other,   // the kernel may know what to do with it, we do not
};

struct ProgramFile {
  static constexpr std::int64_t kHeadBytes = 256;  // as the kernel reads (BINPRM_BUF_SIZE)
  std::int64_t descriptor = -1;
  FileKind kind = FileKind::other;
  alignas(8) char head[kHeadBytes + 1];
};

// Opens it as execveat(2) would find it. Zero or -errno; a file that may not be executed is EACCES.
std::int64_t open_program(ProgramFile& file, std::uint64_t directory, const char* path,
                          std::uint64_t flags);
// Whether the interpreter that the ELF file asks for is there; zero or -errno.
std::int64_t check_interpreter(const ProgramFile& file);

// The words of a script's first line, ended in place. `argument` is null if there is none.
struct ScriptLine {
  char* interpreter = nullptr;
  char* argument = nullptr;
};
bool read_script_line(ProgramFile& file, ScriptLine& line);

}  // namespace torpor::agent
