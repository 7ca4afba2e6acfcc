// The memory of a process, read from outside.
#pragma once

#include <sys/types.h>

#include "base/page_source.h"
#include "base/unique_fd.h"
#include "process/remote_memory.h"

namespace torpor::process {

// How to find out which pages exist. `automatic`: PAGEMAP_SCAN (Linux 6.7), else the entries of
// /proc/PID/pagemap.
enum class PageFinder { automatic, scan, entries };

// A process that we may ptrace, ourselves included. Nothing is stopped and nothing is changed: the
// caller holds the process still, or it is a frozen copy. Guard regions are never named as
// existing.
class ProcessPageSource : public base::PageSource {
 public:
  // Throws Error program_gone, permission, or host_lacks (finder == scan on an older kernel).
  explicit ProcessPageSource(pid_t pid, PageFinder finder = PageFinder::automatic,
                             RemoteMemory::Way way = RemoteMemory::Way::automatic);

  std::vector<base::PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                            bool file_backed) override;
  void read(std::uint64_t address, std::span<std::byte> into) override;
  void read_runs(std::span<const base::PageRun> runs, std::span<std::byte> into) override;

 private:
  [[nodiscard]] std::size_t read_by_call(std::span<const base::PageRun> runs,
                                         std::span<std::byte> into);
  void read_through_file(std::span<const base::PageRun> runs, std::span<std::byte> into,
                         std::size_t done) const;
  void read_through_file(std::uint64_t address, std::span<std::byte> into) const;

  pid_t pid_;
  base::UniqueFd memory_;  // /proc/PID/mem: reads what process_vm_readv may not (PROT_NONE)
  base::UniqueFd pagemap_;
  PageFinder finder_;
  bool knows_guards_;
  bool by_call_;  // process_vm_readv has not been refused yet
};

}  // namespace torpor::process
