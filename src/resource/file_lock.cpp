#include "resource/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <set>
#include <tuple>

#include "base/error.h"
#include "process/proc_lock.h"

namespace torpor::resource {
namespace {

using snapshot::FileLock;

std::optional<FileLock::Kind> kind_named(const std::string& kind) {
  if (kind == "FLOCK") return FileLock::FLOCK;
  if (kind == "POSIX") return FileLock::POSIX;
  if (kind == "OFDLCK") return FileLock::OFD;
  return std::nullopt;
}

// A lock can be taken only through a description that is open for what it locks against; flock
// does not care.
bool can_take(FileLock::Kind kind, bool exclusive, std::uint32_t flags) {
  if (kind == FileLock::FLOCK) return true;
  const auto mode = static_cast<int>(flags) & O_ACCMODE;
  return exclusive ? mode != O_RDONLY : mode != O_WRONLY;
}

struct ::flock record_of(const FileLock& lock) {
  struct ::flock record {};
  record.l_type = lock.exclusive() ? F_WRLCK : F_RDLCK;
  record.l_whence = SEEK_SET;
  record.l_start = static_cast<off_t>(lock.start());
  record.l_len = static_cast<off_t>(lock.length());
  return record;
}

[[noreturn]] void taken(const snapshot::OpenFile& file, int error) {
  if (error != EAGAIN && error != EACCES) {
    base::throw_errno(error, fmt::format("cannot lock {} as the program had it", file.path()));
  }
  throw base::Error(
      base::ErrorCode::conflict,
      fmt::format("{} was locked by the program, and somebody else holds the lock now",
                  file.path()),
      "end the other program that locks it, or wait until it is done");
}

class LockCapture {
 public:
  explicit LockCapture(CaptureState& state) : state_(state) {}

  void add(const FoundLock& found) {
    const process::FileLock lock = process::parse_lock(found.line);
    const auto kind = kind_named(lock.kind);
    if (!kind || lock.access == "UNLCK") return;
    const bool posix = *kind == FileLock::POSIX;
    if (posix && lock.pid != found.pid) return;
    snapshot::OpenFile& file =
        *state_.model->mutable_open_files(static_cast<int>(found.open_file) - 1);
    const bool exclusive = lock.access == "WRITE";
    if (!can_take(*kind, exclusive, file.flags()) || !is_new(found, lock, posix)) return;
    FileLock& saved = *file.add_locks();
    saved.set_kind(*kind);
    saved.set_exclusive(exclusive);
    saved.set_start(lock.start);
    const bool to_the_end = lock.last == process::FileLock::to_the_end;
    saved.set_length(to_the_end ? 0 : lock.last - lock.start + 1);
    if (posix) saved.set_pid(state_.processes.at(found.pid)->seen_pid);
  }

 private:
  bool is_new(const FoundLock& found, const process::FileLock& lock, bool posix) {
    // POSIX locks are the process's on the file, the others the description's.
    const std::uint64_t owner = posix ? static_cast<std::uint64_t>(lock.pid) : found.open_file;
    const std::uint64_t device = (std::uint64_t{lock.dev_major} << 32) | lock.dev_minor;
    return seen_.emplace(lock.kind, owner, device, lock.inode, lock.start).second;
  }

  CaptureState& state_;
  std::set<std::tuple<std::string, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t>>
      seen_;
};

}  // namespace

std::optional<Refusal> check_locks(const process::FdInfo& info) {
  for (const std::string& line : info.locks) {
    if (!kind_named(process::parse_lock(line).kind)) {
      return Refusal{"the program holds a lease on it (fcntl F_SETLEASE), which cannot be saved",
                     "let the program give the lease up before"};
    }
  }
  return std::nullopt;
}

void capture_locks(std::span<const FoundLock> found, CaptureState& state) {
  LockCapture capture(state);
  for (const FoundLock& lock : found) capture.add(lock);
}

void restore_description_locks(int fd, const snapshot::OpenFile& file) {
  for (const FileLock& lock : file.locks()) {
    int result = 0;
    if (lock.kind() == FileLock::FLOCK) {
      result = ::flock(fd, (lock.exclusive() ? LOCK_EX : LOCK_SH) | LOCK_NB);
    } else if (lock.kind() == FileLock::OFD) {
      struct ::flock record = record_of(lock);
      result = ::fcntl(fd, F_OFD_SETLK, &record);
    }
    if (result != 0) taken(file, errno);
  }
}

void restore_process_locks(process::HeldProcess& held, int fd, const snapshot::OpenFile& file) {
  std::optional<process::Batch> batch;
  std::vector<std::size_t> calls;
  const auto run = [&] {
    batch->run();
    for (const std::size_t call : calls) {
      if (batch->result(call) < 0) taken(file, static_cast<int>(-batch->result(call)));
    }
    batch.reset();
    calls.clear();
  };
  for (const FileLock& lock : file.locks()) {
    if (lock.kind() != FileLock::POSIX || lock.pid() != held.seen_pid) continue;
    if (batch && !batch->fits(1, sizeof(struct ::flock))) run();
    if (!batch) batch.emplace(*held.agent);
    calls.push_back(batch->try_call(SYS_fcntl, {fd, F_SETLK, batch->value(record_of(lock))}));
  }
  if (batch) run();
}

}  // namespace torpor::resource
