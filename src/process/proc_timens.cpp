#include "process/proc_timens.h"

#include <fmt/format.h>

#include "base/error.h"
#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

using base::Error;
using base::ErrorCode;

TimeOffsets parse_time_offsets(std::string_view text, std::string_view file) {
  Scanner rest(text, file);
  TimeOffsets offsets;
  rest.expect("monotonic");
  offsets.mono_sec = rest.number<int64_t>();
  offsets.mono_nsec = rest.number<int64_t>();
  rest.expect("\n");
  rest.expect("boottime");
  offsets.boot_sec = rest.number<int64_t>();
  offsets.boot_nsec = rest.number<int64_t>();
  return offsets;
}

TimeOffsets read_time_offsets(pid_t pid) try {
  const ProcText text(proc_path(pid, "timens_offsets"));
  if (text.view().empty()) {
    throw Error(ErrorCode::program_gone, fmt::format("process {} has ended", pid));
  }
  return parse_time_offsets(text.view(), text.path());
} catch (const Error& error) {
  if (error.code() != ErrorCode::not_found) throw;
  return {};
}

}  // namespace torpor::process
