// Where an open file is: its path now, and opening it again by that path.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "resource/file_kind.h"

namespace torpor::resource {

// The path under which the file of the view can be found again by us, or why not.
struct FoundPath {
  std::string path;
  std::optional<Refusal> refusal;
};

// The link's own text if that path still leads to the file; else the name that the same directory
// has for it now: a file that was opened under a name, given another with link(2) and then
// unlinked, an O_TMPFILE file that was given a name. Looks at one directory at most.
FoundPath find_path(const FileView& view);

// The link's text without the kernel's " (deleted)".
std::string_view without_deleted(std::string_view target);

// No name leads to the file any more, nor will one.
bool is_unlinked(const FileView& view);

// f_type of statfs(2). 0 for a file on a real device, which is not asked.
std::uint32_t file_system_of(const FileView& view);

// A file or directory that lies in an ordinary file system under a path: not in one of the kernel's
// own (proc, sysfs, cgroup, mqueue, namespaces).
bool is_ordinary(const FileView& view);
// In proc, sysfs or cgroup.
bool is_kernels_own(const FileView& view);

// What open(2) is to be given to make the description again; close-on-exec, never with a side
// effect (creation, truncation, controlling terminal).
int reopening_flags(const snapshot::OpenFile& file);

// Opens `path` so. Flags that this file system or user may not have (O_DIRECT, O_NOATIME) are left
// out with a warning. Throws Error not_found, permission, io.
base::UniqueFd reopen(const std::string& path, const snapshot::OpenFile& file, RestoreState& state);

// A second description of what `fd` of ours refers to. Throws as reopen().
base::UniqueFd reopen_descriptor(int fd, const snapshot::OpenFile& file, RestoreState& state);

// Could it be opened? The refusal says that the path is gone, is of another type, or not permitted.
std::optional<Refusal> check_path(const snapshot::OpenFile& file, const snapshot::FileFacts& facts);

}  // namespace torpor::resource
