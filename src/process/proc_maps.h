// The mappings of a process: /proc/PID/maps and /proc/PID/smaps (proc_pid_smaps(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace torpor::process {

// The flags of a VmFlags line, by the kernel's own two letters (fs/proc/task_mmu.c); as a bit set.
enum class VmFlag : uint64_t {
  rd = 1ull << 0,   // readable
  wr = 1ull << 1,   // writable
  ex = 1ull << 2,   // executable
  sh = 1ull << 3,   // shared
  mr = 1ull << 4,   // may read, that is, mprotect() may make it so
  mw = 1ull << 5,   // may write
  me = 1ull << 6,   // may execute
  ms = 1ull << 7,   // may share
  gd = 1ull << 8,   // grows down: MAP_GROWSDOWN, the main stack
  pf = 1ull << 9,   // pure page frame numbers, no struct page: device memory
  dw = 1ull << 10,  // denies writes to the file (kernels before 5.15)
  lo = 1ull << 11,  // mlock()
  io = 1ull << 12,  // memory-mapped I/O
  sr = 1ull << 13,  // MADV_SEQUENTIAL
  rr = 1ull << 14,  // MADV_RANDOM
  dc = 1ull << 15,  // MADV_DONTFORK
  de = 1ull << 16,  // mremap() may not grow it
  lf = 1ull << 17,  // mlock2(MLOCK_ONFAULT)
  ac = 1ull << 18,  // counts as committed memory
  nr = 1ull << 19,  // MAP_NORESERVE
  ht = 1ull << 20,  // hugetlb pages
  sf = 1ull << 21,  // MAP_SYNC
  nl = 1ull << 22,  // non-linear (kernels before 4.0)
  ar = 1ull << 23,  // architecture specific; on x86: PAT
  wf = 1ull << 24,  // MADV_WIPEONFORK
  dd = 1ull << 25,  // MADV_DONTDUMP
  bt = 1ull << 26,  // arm64: branch target identification
  sd = 1ull << 27,  // soft-dirty
  mm = 1ull << 28,  // mixed map: page frames and pages
  hg = 1ull << 29,  // MADV_HUGEPAGE
  nh = 1ull << 30,  // MADV_NOHUGEPAGE
  mg = 1ull << 31,  // MADV_MERGEABLE
  um = 1ull << 32,  // userfaultfd, missing pages
  uw = 1ull << 33,  // userfaultfd, write protection
  ui = 1ull << 34,  // userfaultfd, minor faults
  mt = 1ull << 35,  // arm64: memory tagging
  mp = 1ull << 36,  // x86 MPX (kernels before 5.6)
  ss = 1ull << 37,  // shadow stack
  sl = 1ull << 38,  // mseal()
  dp = 1ull << 39,  // MAP_DROPPABLE
  gu = 1ull << 40,  // may hold guard regions (MADV_GUARD_INSTALL; printed since 6.19)
};

struct Mapping {
  uint64_t start = 0;
  uint64_t end = 0;  // first byte behind
  bool read = false;
  bool write = false;
  bool exec = false;
  bool shared = false;
  uint64_t offset = 0;  // in the file, bytes
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  uint64_t inode = 0;
  // As the kernel gives it: "", "/a/file", "/a/file (deleted)", "[heap]", "[anon:name]",
  // "/memfd:name (deleted)", "anon_inode:[io_uring]" ...; newlines decoded.
  std::string path;

  // From smaps only; zero and empty after read_maps().
  uint64_t flags = 0;                      // set of VmFlag
  std::vector<std::string> unknown_flags;  // those that VmFlag has no name for, "??" included
  uint64_t kernel_page_size = 0;           // bytes; > 4096 in hugetlb mappings
  uint32_t protection_key = 0;             // pkey_mprotect(2)

  [[nodiscard]] uint64_t size() const { return end - start; }
  [[nodiscard]] bool has(VmFlag flag) const { return (flags & static_cast<uint64_t>(flag)) != 0; }
};

// The mappings in order of address, with flags, page size and protection key. Costs the kernel a
// walk over the page tables. Needs leave to read the process's memory (PTRACE_MODE_READ_FSCREDS).
// Throws program_gone for a process or thread that has no memory any more (a zombie). The second
// form asks a thread: needed where the main thread has exited and others go on.
std::vector<Mapping> read_smaps(pid_t pid);
std::vector<Mapping> read_smaps(pid_t pid, pid_t tid);

// The same from `maps`: cheaper, and without flags, page size and key.
std::vector<Mapping> read_maps(pid_t pid);
std::vector<Mapping> read_maps(pid_t pid, pid_t tid);

// Parses the text of `maps` or `smaps`. `file` is for the message of an error. The kernel writes a
// newline of a path as \012 and does not escape the backslash, so a path that holds these four
// characters itself is taken for one with a newline; read_maps() and read_smaps() ask again to tell
// the two apart.
std::vector<Mapping> parse_maps(std::string_view text, std::string_view file = "maps");

}  // namespace torpor::process
