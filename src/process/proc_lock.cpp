#include "process/proc_lock.h"

#include "process/proc_scan.h"

namespace torpor::process {

FileLock parse_lock(std::string_view line, std::string_view file) {
  Scanner text(line, file);
  FileLock lock;
  text.number<uint64_t>();  // its place in the list
  text.expect(":");
  lock.kind = text.word();
  lock.mode = text.word();
  lock.access = text.word();
  lock.pid = text.number<pid_t>();
  lock.dev_major = text.number<uint32_t>(16);
  text.expect(":");
  lock.dev_minor = text.number<uint32_t>(16);
  text.expect(":");
  lock.inode = text.number<uint64_t>();
  lock.start = text.number<uint64_t>();
  lock.last = text.accept("EOF") ? FileLock::to_the_end : text.number<uint64_t>();
  return lock;
}

}  // namespace torpor::process
