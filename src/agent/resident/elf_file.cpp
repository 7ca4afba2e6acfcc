#include "agent/resident/elf_file.h"

#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/mman.h>

#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kPageMask = kPage - 1;

std::uint64_t page_of(std::uint64_t address) { return address & ~kPageMask; }
std::uint64_t pages_up(std::uint64_t address) { return page_of(address + kPageMask); }
bool failed(std::int64_t result) { return result < 0 && result >= -4095; }

std::uint64_t protection_of(const Elf64_Phdr& segment) {
  std::uint64_t protection = 0;
  if ((segment.p_flags & PF_R) != 0) protection |= PROT_READ;
  if ((segment.p_flags & PF_W) != 0) protection |= PROT_WRITE;
  if ((segment.p_flags & PF_X) != 0) protection |= PROT_EXEC;
  return protection;
}

struct Span {
  std::uint64_t start = ~std::uint64_t{0};
  std::uint64_t end = 0;
  std::uint64_t alignment = kPage;
};

Span span_of(const ElfHeaders& headers) {
  Span span;
  for (int i = 0; i < headers.file.e_phnum; ++i) {
    const Elf64_Phdr& segment = headers.segments[i];
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    const std::uint64_t start = page_of(segment.p_vaddr);
    const std::uint64_t end = pages_up(segment.p_vaddr + segment.p_memsz);
    if (start < span.start) span.start = start;
    if (end > span.end) span.end = end;
    const bool sound = (segment.p_align & (segment.p_align - 1)) == 0;
    if (sound && segment.p_align > span.alignment) span.alignment = segment.p_align;
  }
  return span;
}

// Room for all of it, of which nothing may be touched yet.
std::int64_t reserve(const ElfHeaders& headers, const Span& span, std::uint64_t wish) {
  constexpr std::uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  const std::uint64_t bytes = span.end - span.start;
  if (headers.file.e_type == ET_EXEC) {
    return raw_syscall(__NR_mmap, span.start, bytes, PROT_NONE, kFlags | MAP_FIXED_NOREPLACE,
                       kNowhere, 0);
  }
  if (wish != 0) {
    const std::uint64_t at = wish & ~(span.alignment - 1);
    return raw_syscall(__NR_mmap, at, bytes, PROT_NONE, kFlags | MAP_FIXED_NOREPLACE, kNowhere, 0);
  }
  const std::uint64_t more = span.alignment - kPage;
  const std::int64_t got = raw_syscall(__NR_mmap, 0, bytes + more, PROT_NONE, kFlags, kNowhere, 0);
  if (failed(got) || more == 0) return got;
  const auto start = static_cast<std::uint64_t>(got);
  const std::uint64_t at = (start + span.alignment - 1) & ~(span.alignment - 1);
  if (at > start) raw_syscall(__NR_munmap, start, at - start);
  const std::uint64_t left = start + bytes + more - (at + bytes);
  if (left > 0) raw_syscall(__NR_munmap, at + bytes, left);
  return static_cast<std::int64_t>(at);
}

std::int64_t map_zeros(std::uint64_t start, std::uint64_t end, std::uint64_t protection) {
  if (end <= start) return 0;
  const std::int64_t got =
      raw_syscall(__NR_mmap, start, end - start, protection,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~std::uint64_t{0}, 0);
  return failed(got) ? got : 0;
}

// The file's part, and zeros behind it.
std::int64_t map_segment(std::uint64_t descriptor, const Elf64_Phdr& segment,
                         std::uint64_t offset) {
  const std::uint64_t start = segment.p_vaddr + offset;
  const std::uint64_t file_end = start + segment.p_filesz;
  const std::uint64_t protection = protection_of(segment);
  if (segment.p_filesz != 0) {
    const std::int64_t got =
        raw_syscall(__NR_mmap, page_of(start), file_end - page_of(start), protection,
                    MAP_PRIVATE | MAP_FIXED, descriptor, page_of(segment.p_offset));
    if (failed(got)) return got;
  }
  const std::uint64_t zeros = segment.p_filesz != 0 ? pages_up(file_end) : page_of(start);
  const std::uint64_t end = pages_up(start + segment.p_memsz);
  if (segment.p_memsz > segment.p_filesz && (segment.p_flags & PF_W) != 0) {
    for (std::uint64_t at = file_end; at < zeros; ++at) *reinterpret_cast<char*>(at) = '\0';
  }
  return map_zeros(zeros, end, protection);
}

// What lies between two segments is nobody's.
void unmap_gaps(const ElfHeaders& headers, std::uint64_t offset) {
  std::uint64_t end = 0;
  for (int i = 0; i < headers.file.e_phnum; ++i) {
    const Elf64_Phdr& segment = headers.segments[i];
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    const std::uint64_t start = page_of(segment.p_vaddr + offset);
    if (end != 0 && start > end) raw_syscall(__NR_munmap, end, start - end);
    end = pages_up(segment.p_vaddr + offset + segment.p_memsz);
  }
}

void note_segment(const Elf64_Ehdr& file, const Elf64_Phdr& segment, MappedElf& mapped) {
  const std::uint64_t start = segment.p_vaddr + mapped.offset;
  const std::uint64_t file_end = start + segment.p_filesz;
  const std::uint64_t end = start + segment.p_memsz;
  if (file.e_phoff >= segment.p_offset && file.e_phoff < segment.p_offset + segment.p_filesz) {
    mapped.headers = start + file.e_phoff - segment.p_offset;
  }
  if (mapped.code_start == 0 || start < mapped.code_start) mapped.code_start = start;
  if (start > mapped.data_start) mapped.data_start = start;
  if ((segment.p_flags & PF_X) != 0 && file_end > mapped.code_end) mapped.code_end = file_end;
  if (file_end > mapped.data_end) mapped.data_end = file_end;
  if (end > mapped.end) mapped.end = end;
}

}  // namespace

bool is_loadable(const Elf64_Ehdr& header) {
  return header.e_ident[0] == 0x7f && header.e_ident[1] == 'E' && header.e_ident[2] == 'L' &&
         header.e_ident[3] == 'F' && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_machine == EM_X86_64 && (header.e_type == ET_EXEC || header.e_type == ET_DYN);
}

std::int64_t read_headers(std::uint64_t descriptor, ElfHeaders& headers) {
  const std::int64_t got =
      raw_syscall(__NR_pread64, descriptor, address_of(&headers.file), sizeof(headers.file), 0);
  if (got < 0) return got;
  const bool sound = got == sizeof(headers.file) && is_loadable(headers.file) &&
                     headers.file.e_phentsize == sizeof(Elf64_Phdr) && headers.file.e_phnum > 0 &&
                     headers.file.e_phnum <= kMaxSegments;
  if (!sound) return -ENOEXEC;
  const std::uint64_t bytes = headers.file.e_phnum * sizeof(Elf64_Phdr);
  const std::int64_t more = raw_syscall(__NR_pread64, descriptor, address_of(&headers.segments[0]),
                                        bytes, headers.file.e_phoff);
  if (more < 0) return more;
  return more == static_cast<std::int64_t>(bytes) ? 0 : -ENOEXEC;
}

// One header after the other: where this is called there is little stack.
std::int64_t read_interpreter(std::uint64_t descriptor, const Elf64_Ehdr& header, char* path) {
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments) return -ENOEXEC;
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const std::int64_t read = raw_syscall(__NR_pread64, descriptor, address_of(&segment),
                                          sizeof(segment), header.e_phoff + i * sizeof(segment));
    if (read < 0) return read;
    if (read != sizeof(segment)) return -ENOEXEC;
    if (segment.p_type != PT_INTERP) continue;
    if (segment.p_filesz < 2 || segment.p_filesz > kInterpreterBytes) return -ENOEXEC;
    const std::int64_t got =
        raw_syscall(__NR_pread64, descriptor, address_of(path), segment.p_filesz, segment.p_offset);
    if (got < 0) return got;
    const bool ended = got == static_cast<std::int64_t>(segment.p_filesz) && path[got - 1] == '\0';
    return ended ? got : -ENOEXEC;
  }
  return 0;
}

std::int64_t map_elf(std::uint64_t descriptor, const ElfHeaders& headers, std::uint64_t wish,
                     MappedElf& mapped) {
  const Span span = span_of(headers);
  if (span.end <= span.start) return -ENOEXEC;
  const std::int64_t base = reserve(headers, span, wish);
  if (failed(base)) return base;
  mapped.offset = static_cast<std::uint64_t>(base) - span.start;
  for (int i = 0; i < headers.file.e_phnum; ++i) {
    const Elf64_Phdr& segment = headers.segments[i];
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    const std::int64_t result = map_segment(descriptor, segment, mapped.offset);
    if (result < 0) return result;
    note_segment(headers.file, segment, mapped);
  }
  unmap_gaps(headers, mapped.offset);
  mapped.entry = headers.file.e_entry + mapped.offset;
  return 0;
}

}  // namespace torpor::agent
