#include "process/page_source.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <climits>
#include <string>

#include "base/error.h"

namespace torpor::process {

using base::page_size;
using base::PageRun;

namespace {

// Linux 6.7, include/uapi/linux/fs.h and Documentation/admin-guide/mm/pagemap.rst. Not in the
// headers of older systems.
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct PagemapScan {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t regions_length;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
static_assert(sizeof(PagemapScan) == 96);

constexpr unsigned long pagemap_scan = _IOWR('f', 16, PagemapScan);

constexpr std::uint64_t category_file = 1U << 2;
constexpr std::uint64_t category_present = 1U << 3;
constexpr std::uint64_t category_swapped = 1U << 4;
constexpr std::uint64_t category_zero_page = 1U << 5;
constexpr std::uint64_t category_guard = 1U << 8;  // Linux 6.15

// Entries of /proc/PID/pagemap.
constexpr std::uint64_t entry_present = std::uint64_t{1} << 63;
constexpr std::uint64_t entry_swapped = std::uint64_t{1} << 62;
constexpr std::uint64_t entry_file = std::uint64_t{1} << 61;   // or shared
constexpr std::uint64_t entry_guard = std::uint64_t{1} << 58;  // Linux 6.15

void append(std::vector<PageRun>& runs, const PageRun& run) {
  if (!runs.empty() && runs.back().end == run.start) {
    runs.back().end = run.end;
  } else {
    runs.push_back(run);
  }
}

// The pages that are there, and none of `never`.
PagemapScan scan_request(std::uint64_t start, std::uint64_t end, std::uint64_t never) {
  PagemapScan request{};
  request.size = sizeof(request);
  request.start = start;
  request.end = end;
  request.category_inverted = never;
  request.category_mask = never;
  request.category_anyof_mask = category_present | category_swapped;
  return request;
}

int scan(int pagemap, PagemapScan& request, std::span<PageRegion> regions) {
  request.regions = reinterpret_cast<std::uintptr_t>(regions.data());
  request.regions_length = regions.size();
  int found = 0;
  do {
    found = ::ioctl(pagemap, pagemap_scan, &request);
  } while (found < 0 && errno == EINTR);
  return found;
}

// Whether this kernel can scan, tried out on no pages at all.
bool can_scan(int pagemap, std::uint64_t never) {
  std::array<PageRegion, 1> region{};
  PagemapScan request = scan_request(page_size, page_size, never);
  return scan(pagemap, request, region) >= 0;
}

std::vector<PageRun> scan_pages(pid_t pid, int pagemap, std::uint64_t start, std::uint64_t end,
                                std::uint64_t never) {
  std::vector<PageRun> runs;
  std::vector<PageRegion> regions(1024);
  while (start < end) {
    PagemapScan request = scan_request(start, end, never);
    const int found = scan(pagemap, request, regions);
    if (found < 0) base::throw_system("looking for the pages of process {} at {:#x}", pid, start);
    for (int i = 0; i < found; ++i) {
      const PageRegion& region = regions[static_cast<std::size_t>(i)];
      append(runs, {region.start, region.end});
    }
    start = request.walk_end;
  }
  return runs;
}

std::vector<PageRun> pages_from_entries(pid_t pid, int pagemap, std::uint64_t start,
                                        std::uint64_t end, std::uint64_t never) {
  std::vector<PageRun> runs;
  std::vector<std::uint64_t> entries(std::min<std::uint64_t>((end - start) / page_size, 65536));
  while (start < end) {
    const std::size_t wanted =
        std::min<std::size_t>(entries.size(), (end - start) / page_size) * sizeof(entries[0]);
    const auto offset = static_cast<off_t>(start / page_size * sizeof(entries[0]));
    const ssize_t n = ::pread(pagemap, entries.data(), wanted, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) base::throw_system("reading the page table of process {} at {:#x}", pid, start);
    const auto count = static_cast<std::size_t>(n) / sizeof(entries[0]);
    for (std::size_t i = 0; i < count; ++i, start += page_size) {
      const bool exists = (entries[i] & (entry_present | entry_swapped)) != 0;
      if (exists && (entries[i] & never) == 0) append(runs, {start, start + page_size});
    }
  }
  return runs;
}

base::UniqueFd open_of_process(pid_t pid, const char* file) {
  const std::string path = fmt::format("/proc/{}/{}", pid, file);
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) return fd;
  const int error = errno == ENOENT ? ESRCH : errno;
  base::throw_errno(error, fmt::format("opening {}", path));
}

PageFinder best_finder(int pagemap) {
  return can_scan(pagemap, category_zero_page) ? PageFinder::scan : PageFinder::entries;
}

}  // namespace

ProcessPageSource::ProcessPageSource(pid_t pid, PageFinder finder, RemoteMemory::Way way)
    : pid_(pid),
      memory_(open_of_process(pid, "mem")),
      pagemap_(open_of_process(pid, "pagemap")),
      finder_(finder == PageFinder::automatic ? best_finder(pagemap_.get()) : finder),
      knows_guards_(can_scan(pagemap_.get(), category_guard)),
      by_call_(way == RemoteMemory::Way::automatic) {
  if (finder_ == PageFinder::scan && !can_scan(pagemap_.get(), category_zero_page)) {
    throw base::Error(base::ErrorCode::host_lacks, "this kernel has no PAGEMAP_SCAN",
                      "it came with Linux 6.7");
  }
}

std::vector<PageRun> ProcessPageSource::existing_pages(std::uint64_t start, std::uint64_t end,
                                                       bool file_backed) {
  if (finder_ == PageFinder::entries) {
    const std::uint64_t never = entry_guard | (file_backed ? entry_file : 0);
    return pages_from_entries(pid_, pagemap_.get(), start, end, never);
  }
  const std::uint64_t never =
      category_zero_page | (knows_guards_ ? category_guard : 0) | (file_backed ? category_file : 0);
  return scan_pages(pid_, pagemap_.get(), start, end, never);
}

void ProcessPageSource::read(std::uint64_t address, std::span<std::byte> into) {
  const PageRun run{address, address + into.size()};
  read_runs(std::span(&run, 1), into);
}

// process_vm_readv(2) takes at most IOV_MAX pieces at once, and ends early at memory that may not
// be read: that piece and those behind it are then read through the file.
void ProcessPageSource::read_runs(std::span<const PageRun> runs, std::span<std::byte> into) {
  while (!runs.empty()) {
    const auto some = runs.first(std::min<std::size_t>(runs.size(), IOV_MAX));
    std::size_t size = 0;
    for (const PageRun& run : some) size += run.size();
    const std::size_t done = read_by_call(some, into.first(size));
    if (done < size) read_through_file(some, into.first(size), done);
    runs = runs.subspan(some.size());
    into = into.subspan(size);
  }
}

std::size_t ProcessPageSource::read_by_call(std::span<const PageRun> runs,
                                            std::span<std::byte> into) {
  if (!by_call_) return 0;
  std::array<iovec, IOV_MAX> remote{};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process
    remote[i] = {reinterpret_cast<void*>(runs[i].start), runs[i].size()};
  }
  const iovec local{into.data(), into.size()};
  const ssize_t n = ::process_vm_readv(pid_, &local, 1, remote.data(), runs.size(), 0);
  if (n < 0 && is_refusal_of_host(errno)) by_call_ = false;
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

// Leaves out the first `done` bytes, which are there already.
void ProcessPageSource::read_through_file(std::span<const PageRun> runs, std::span<std::byte> into,
                                          std::size_t done) const {
  for (const PageRun& run : runs) {
    const std::size_t skip = std::min<std::size_t>(done, run.size());
    read_through_file(run.start + skip, into.subspan(skip, run.size() - skip));
    done -= skip;
    into = into.subspan(run.size());
  }
}

void ProcessPageSource::read_through_file(std::uint64_t address, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t n = ::pread(memory_.get(), into.data(), into.size(), static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      base::throw_system("reading {} bytes of process {} at {:#x}", into.size(), pid_, address);
    if (n == 0) {  // its memory has gone with it: fs/proc/base.c, mem_rw
      throw base::Error(base::ErrorCode::program_gone,
                        fmt::format("process {} ended while its memory was read", pid_));
    }
    address += static_cast<std::uint64_t>(n);
    into = into.subspan(static_cast<std::size_t>(n));
  }
}

}  // namespace torpor::process
