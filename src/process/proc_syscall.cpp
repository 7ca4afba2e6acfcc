#include "process/proc_syscall.h"

#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

uint64_t parse_hex(Scanner& text) {
  text.expect("0x");
  return text.number<uint64_t>(16);
}

}  // namespace

// "running", or "-1 sp pc", or "nr six arguments sp pc".
std::optional<BlockedSyscall> parse_syscall(std::string_view text, std::string_view file) {
  Scanner line = Scanner(text, file).line();
  if (line.accept("running")) return std::nullopt;
  BlockedSyscall result;
  result.nr = line.number<long>();
  if (result.nr >= 0) {
    for (uint64_t& argument : result.args) argument = parse_hex(line);
  }
  result.sp = parse_hex(line);
  result.pc = parse_hex(line);
  return result;
}

std::optional<BlockedSyscall> blocked_syscall(pid_t pid, pid_t tid) {
  const ProcText text(proc_path(pid, tid, "syscall"));
  return parse_syscall(text.view(), text.path());
}

}  // namespace torpor::process
