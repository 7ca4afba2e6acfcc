// Files and directories of the kernel's own file systems: /proc, /sys, cgroups. They are opened
// again by their path; those about a process of the computation by one of its processes, for only
// these have a /proc in which it has its number.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "resource/file_kind.h"

namespace torpor::resource {

std::unique_ptr<FileKind> make_proc_file_kind();

// The process that a path of /proc is about: 4711 of "/proc/4711/stat".
std::optional<pid_t> process_of_path(std::string_view path);

}  // namespace torpor::resource
