#include "resource/file_kind.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "process/raw_process.h"

namespace torpor::resource {

base::UniqueFd FileView::take() const {
  if (pid == ::getpid()) {
    base::UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) base::throw_system("cannot duplicate descriptor {}", fd);
    return copy;
  }
  // Where the kernel or the host does not let us the agent is asked.
  base::UniqueFd taken(process::take_descriptor(pid, fd));
  if (!taken && agent != nullptr) return agent->take_fd(fd);
  if (!taken) base::throw_system("process {}: cannot take {}", pid, describe());
  return taken;
}

std::optional<base::UniqueFd> FileView::take_if_allowed() const {
  try {
    return take();
  } catch (const base::Error& error) {
    const bool refused =
        error.code() == base::ErrorCode::permission || error.code() == base::ErrorCode::host_lacks;
    if (agent != nullptr || !refused) throw;
    return std::nullopt;
  }
}

bool FileView::still_there(const base::UniqueFd& taken) const {
  struct ::stat now {};
  return ::fstat(taken.get(), &now) == 0 && now.st_dev == status.st_dev &&
         now.st_ino == status.st_ino;
}

std::string FileView::link() const {
  if (tid == 0 || tid == pid) return fmt::format("/proc/{}/fd/{}", pid, fd);
  return fmt::format("/proc/{}/task/{}/fd/{}", pid, tid, fd);
}

[[noreturn]] void refuse(const FileView& view, const Refusal& refusal) {
  throw base::Error(base::ErrorCode::refused,
                    fmt::format("process {}: {}: {}", view.pid, view.describe(), refusal.reason),
                    refusal.remedy);
}

std::string FileView::describe() const { return fmt::format("descriptor {} ({})", fd, target); }

}  // namespace torpor::resource
