#include "process/proc_sched.h"

#include "base/error.h"
#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

// "926869.860240" milliseconds, always six decimals.
uint64_t parse_nanoseconds(Scanner& value) {
  const auto milliseconds = value.number<uint64_t>();
  value.expect(".");
  if (value.rest().size() != 6) value.fail();
  return milliseconds * 1'000'000 + value.number<uint64_t>();
}

}  // namespace

std::optional<uint64_t> parse_exec_start(std::string_view text, std::string_view file) {
  // The program chooses what stands above the ruler: its name, in which newlines are not escaped.
  // The ruler is longer than any name.
  constexpr std::string_view ruler = "\n----------------------------------------";
  const std::size_t at = text.find(ruler);
  Scanner rest(text.substr(at == std::string_view::npos ? text.size() : at + 1), file);
  while (!rest.empty()) {
    Scanner line = rest.line();
    if (!line.accept("se.exec_start")) continue;
    line.expect(":");
    return parse_nanoseconds(line);
  }
  return std::nullopt;
}

std::optional<uint64_t> exec_start_ns(pid_t pid, pid_t tid) try {
  const ProcText text(proc_path(pid, tid, "sched"));
  return parse_exec_start(text.view(), text.path());
} catch (const base::Error& error) {
  if (error.code() != base::ErrorCode::not_found) throw;
  return std::nullopt;
}

}  // namespace torpor::process
