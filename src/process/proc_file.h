// Reading files and links of /proc in one go.
//
// All readers of this room (proc_*.h) throw base::Error with the code
//   program_gone  the process or thread is not there any more (ESRCH, or ENOENT and its directory
//   is
//                 gone too); the text names the pid and the tid
//   not_found     the process is there, but not this entry: a closed fd, the `exe` of a zombie, a
//   file
//                 that this kernel does not have
//   permission    EACCES, EPERM: not ours, or not dumpable
//   internal      the text of the file is none that we can parse; file and text are in the message
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

namespace torpor::process {

// The whole content of /proc/<pid>/<name>.
std::string read_proc_file(pid_t pid, std::string_view name);

// The whole content of /proc/<pid>/task/<tid>/<name>. When the main thread has exited while others
// go on, files of /proc/<pid> that speak of memory or descriptors are empty: ask a living thread.
std::string read_proc_file(pid_t pid, pid_t tid, std::string_view name);

// The target of a symbolic link, whatever its length. A link of /proc whose target is longer than a
// page cannot be read at all: ENAMETOOLONG, code io.
std::string read_link(const std::string& path);

// The same; nullopt when there is no such link (or its process is gone).
std::optional<std::string> try_read_link(const std::string& path);

}  // namespace torpor::process
