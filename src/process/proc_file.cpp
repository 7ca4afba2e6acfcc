#include "process/proc_file.h"

#include <cerrno>

#include "process/proc_text.h"

namespace torpor::process {

std::string read_proc_file(pid_t pid, std::string_view name) {
  return std::string(ProcText(proc_path(pid, name)).view());
}

std::string read_proc_file(pid_t pid, pid_t tid, std::string_view name) {
  return std::string(ProcText(proc_path(pid, tid, name)).view());
}

std::string read_link(const std::string& path) {
  std::string target;
  if (const int error = read_link_into(path, target)) throw_proc_error(error, path);
  return target;
}

std::optional<std::string> try_read_link(const std::string& path) {
  std::string target;
  const int error = read_link_into(path, target);
  if (error == 0) return target;
  if (error == ENOENT || error == ESRCH || error == ENOTDIR) return std::nullopt;
  throw_proc_error(error, path);
}

}  // namespace torpor::process
