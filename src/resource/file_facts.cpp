#include "resource/file_facts.h"

#include "base/error.h"

namespace torpor::resource {
namespace {

std::int64_t modified_ns(const struct ::stat& status) {
  return status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
}

}  // namespace

snapshot::FileFacts file_facts(const struct ::stat& status) {
  snapshot::FileFacts facts;
  facts.set_size(static_cast<std::uint64_t>(status.st_size));
  facts.set_modified_ns(modified_ns(status));
  facts.set_mode(status.st_mode);
  facts.set_inode(status.st_ino);
  facts.set_device(status.st_dev);
  return facts;
}

snapshot::FileFacts file_facts_of(pid_t pid, const std::string& path) {
  struct ::stat status {};
  const std::string rooted = fmt::format("/proc/{}/root{}", pid, path);
  if (::stat(rooted.c_str(), &status) != 0 && ::stat(path.c_str(), &status) != 0) {
    base::throw_system("process {}: cannot look at {}", pid, path);
  }
  return file_facts(status);
}

std::optional<std::string> difference(const snapshot::FileFacts& was, const struct ::stat& now) {
  const auto size = static_cast<std::uint64_t>(now.st_size);
  if (size != was.size()) return fmt::format("its size is {}, it was {}", size, was.size());
  if (modified_ns(now) != was.modified_ns()) {
    return fmt::format("it was modified at {}.{:09} s, then at {}.{:09} s",
                       was.modified_ns() / 1000000000, was.modified_ns() % 1000000000,
                       now.st_mtim.tv_sec, now.st_mtim.tv_nsec);
  }
  return std::nullopt;
}

}  // namespace torpor::resource
