#include "image/core_export.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "image/file_io.h"
#include "image/verify.h"

namespace torpor::image {

using base::Error;
using base::ErrorCode;

namespace {

const snapshot::Process& process_of(const Image& image, std::int32_t pid) {
  const auto& processes = image.manifest().computation().processes();
  const auto found = std::ranges::find(processes, pid, [](const auto& p) { return p.pid(); });
  if (found == processes.end()) {
    throw Error(ErrorCode::not_found,
                fmt::format("{} has no process {}", image.path().native(), pid),
                "`torpor inspect` lists the processes of an image");
  }
  if (found->memory_file().empty()) {
    throw Error(ErrorCode::refused, fmt::format("process {} had ended, and has no memory", pid));
  }
  return *found;
}

// copy_file_range(2) keeps the holes out of user space, but not between all file systems.
void copy(int from, int to, std::uint64_t size, const std::string& name) {
  std::uint64_t done = 0;
  while (done < size) {
    const ssize_t n = ::copy_file_range(from, nullptr, to, nullptr, size - done, 0);
    if (n <= 0) break;
    done += static_cast<std::uint64_t>(n);
  }
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (; done < size; done += buffer.size()) {
    buffer.resize(std::min<std::uint64_t>(buffer.size(), size - done));
    read_exactly(from, done, buffer, name);
    write_all(to, done, buffer);
  }
}

}  // namespace

void export_core(const Image& image, std::int32_t pid, const std::filesystem::path& to) {
  const snapshot::Process& process = process_of(image, pid);
  base::Progress progress;
  verify_process(image, process, progress, VerifyDepth::everything);

  const FileSizeSignalGuard guard;
  const base::UniqueFd from = image.core(process);
  const base::UniqueFd target = create_file(AT_FDCWD, to);
  try {
    if (::ioctl(target.get(), FICLONE, from.get()) == 0) return;
    copy(from.get(), target.get(), size_of(from.get()), image.path() / process.memory_file());
  } catch (...) {
    ::unlink(to.c_str());
    throw;
  }
}

}  // namespace torpor::image
