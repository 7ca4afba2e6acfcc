// What the kernel's exec does for a program, done by us: execve(2), elf(5), getauxval(3).
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/auxvec.h>
#include <linux/mman.h>
#include <linux/prctl.h>

#include "agent/resident/clocks.h"
#include "agent/resident/elf_file.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kCloseOnExec = 02000000;
constexpr std::uint64_t kProgramBase = 0x555555554000;  // ELF_ET_DYN_BASE
constexpr std::uint64_t kBaseBits = 28;
constexpr std::uint64_t kHeapPages = 0x2000;  // the heap begins up to 32 MiB behind the program

struct Auxiliary {
  std::uint64_t type, value;
};

// The parts of a new program's stack.
struct StartStack {
  std::uint64_t* top;
  char** arguments;
  char** environment;
  Auxiliary* auxiliary;
  std::uint64_t auxiliary_bytes;
};

StartStack parts_of(std::uint64_t* top) {
  StartStack stack{};
  stack.top = top;
  stack.arguments = reinterpret_cast<char**>(top + 1);
  stack.environment = stack.arguments + top[0] + 1;
  char** end = stack.environment;
  while (*end != nullptr) ++end;
  stack.auxiliary = reinterpret_cast<Auxiliary*>(end + 1);
  Auxiliary* last = stack.auxiliary;
  while (last->type != AT_NULL) ++last;
  stack.auxiliary_bytes = static_cast<std::uint64_t>(reinterpret_cast<char*>(last + 1) -
                                                     reinterpret_cast<char*>(stack.auxiliary));
  return stack;
}

bool addresses_are_random() {
  constexpr std::uint64_t kAsk = 0xffffffff;
  constexpr std::int64_t kNoRandom = 0x0040000;  // ADDR_NO_RANDOMIZE
  return (raw_syscall(__NR_personality, kAsk) & kNoRandom) == 0;
}

std::uint64_t random_below_bits(std::uint64_t bits) {
  std::uint64_t number = 0;
  raw_syscall(__NR_getrandom, address_of(&number), sizeof(number), 1 /* GRND_NONBLOCK */);
  return number & ((std::uint64_t{1} << bits) - 1);
}

std::int64_t map_program(std::uint64_t descriptor, const ElfHeaders& headers, bool interpreted,
                         bool random, MappedElf& mapped) {
  constexpr int kTries = 8;
  if (headers.file.e_type == ET_EXEC || !interpreted)
    return map_elf(descriptor, headers, 0, mapped);
  for (int i = 0; i < kTries; ++i) {
    const std::uint64_t offset = random ? random_below_bits(kBaseBits) * kPage : 0;
    if (map_elf(descriptor, headers, kProgramBase + offset, mapped) == 0) return 0;
  }
  return map_elf(descriptor, headers, 0, mapped);
}

std::int64_t map_interpreter(const char* path, MappedElf& mapped) {
  const std::int64_t file = raw_syscall(__NR_open, address_of(path), kCloseOnExec, 0);
  if (file < 0) return file;
  const auto descriptor = static_cast<std::uint64_t>(file);
  ElfHeaders headers;
  std::int64_t result = read_headers(descriptor, headers);
  if (result == 0) result = map_elf(descriptor, headers, 0, mapped);
  raw_syscall(__NR_close, descriptor);
  return result;
}

void make_stack_executable(const ElfHeaders& headers, const std::uint64_t* stack) {
  for (int i = 0; i < headers.file.e_phnum; ++i) {
    const Elf64_Phdr& segment = headers.segments[i];
    if (segment.p_type != PT_GNU_STACK || (segment.p_flags & PF_X) == 0) continue;
    raw_syscall(__NR_mprotect, address_of(stack) & ~(kPage - 1), kPage,
                PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN);
  }
}

void correct_auxiliary(const StartStack& stack, const ElfHeaders& headers, const MappedElf& program,
                       const MappedElf& interpreter, const char* name) {
  for (Auxiliary* entry = stack.auxiliary; entry->type != AT_NULL; ++entry) {
    switch (entry->type) {
      case AT_PHDR: entry->value = program.headers; break;
      case AT_PHNUM: entry->value = headers.file.e_phnum; break;
      case AT_BASE: entry->value = interpreter.entry != 0 ? interpreter.offset : 0; break;
      case AT_ENTRY: entry->value = program.entry; break;
      case AT_EXECFN: entry->value = address_of(name); break;
      default: break;
    }
  }
}

// Where its clocks cannot be had from the vdso the program is told of none, and asks the kernel.
void note_vdso(const StartStack& stack) {
  for (Auxiliary* entry = stack.auxiliary; entry->type != AT_NULL; ++entry) {
    if (entry->type == AT_SYSINFO_EHDR && use_vdso(entry->value) < 0) entry->type = AT_IGNORE;
  }
}

std::uint64_t end_of_last(char** words, std::uint64_t otherwise) {
  if (*words == nullptr) return otherwise;
  while (words[1] != nullptr) ++words;
  return address_of(*words + length_of(*words) + 1);
}

// So that /proc tells of the program and its heap follows it; prctl(2), PR_SET_MM_MAP (Linux 3.18).
void tell_kernel(const StartStack& stack, const MappedElf& program, bool random) {
  prctl_mm_map map{};
  map.start_code = program.code_start;
  map.end_code = program.code_end;
  map.start_data = program.data_start;
  map.end_data = program.data_end;
  const std::uint64_t heap = (program.end + kPage - 1) & ~(kPage - 1);
  map.start_brk = heap + (random ? random_below_bits(13) % kHeapPages * kPage : 0);
  map.brk = map.start_brk;
  map.start_stack = address_of(stack.top);
  map.arg_start = address_of(stack.arguments[0]);
  map.arg_end = end_of_last(stack.arguments, map.arg_start);
  map.env_start = map.arg_end;
  map.env_end = end_of_last(stack.environment, map.env_start);
  map.auxv = reinterpret_cast<__u64*>(stack.auxiliary);
  map.auxv_size = static_cast<std::uint32_t>(stack.auxiliary_bytes);
  map.exe_fd = ~0U;
  raw_syscall(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, address_of(&map), sizeof(map), 0);
}

void set_name(const char* path) {
  const char* name = path;
  for (const char* at = path; *at != '\0'; ++at) {
    if (*at == '/') name = at + 1;
  }
  raw_syscall(__NR_prctl, PR_SET_NAME, address_of(name));
}

void note_executable(std::uint64_t descriptor) {
  char path[40];
  constexpr std::uint64_t kHead = 14;
  copy_bytes(path, "/proc/self/fd/", kHead);
  put_number(path + kHead, descriptor);
  char* place = resident().executable;
  const std::int64_t length = raw_syscall(__NR_readlink, address_of(&path[0]), address_of(place),
                                          sizeof(Resident::executable) - 1);
  place[length > 0 ? length : 0] = '\0';
}

}  // namespace

std::int64_t load_program(std::uint64_t descriptor, const char* name, std::uint64_t* top) {
  ElfHeaders headers;
  const std::int64_t read = read_headers(descriptor, headers);
  if (read < 0) return read;
  char path[kInterpreterBytes];
  const std::int64_t asked = read_interpreter(descriptor, headers.file, path);
  if (asked < 0) return asked;
  const bool random = addresses_are_random();
  MappedElf program;
  MappedElf interpreter;
  const std::int64_t mapped = map_program(descriptor, headers, asked > 0, random, program);
  if (mapped < 0) return mapped;
  const std::int64_t found = asked > 0 ? map_interpreter(path, interpreter) : 0;
  if (found < 0) return found;
  make_stack_executable(headers, top);
  const StartStack stack = parts_of(top);
  correct_auxiliary(stack, headers, program, interpreter, name);
  note_vdso(stack);
  tell_kernel(stack, program, random);
  note_executable(descriptor);
  set_name(name);
  return static_cast<std::int64_t>(asked > 0 ? interpreter.entry : program.entry);
}

}  // namespace torpor::agent
