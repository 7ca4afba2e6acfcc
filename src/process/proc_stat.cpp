#include "process/proc_stat.h"

#include <utility>

#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

// Takes "pid (comm) ": comm may hold anything, but nothing behind it holds a parenthesis.
void parse_name(Scanner& text, Stat& into) {
  into.pid = text.number<pid_t>();
  text.expect("(");
  const std::size_t end = text.rest().rfind(')');
  if (end == std::string_view::npos) text.fail();
  into.comm = text.take(end);
  text.expect(")");
}

void skip(Scanner& text, int fields) {
  for (int i = 0; i < fields; ++i) text.word();
}

// Numbers in comments are those of proc_pid_stat(5).
void parse_identity(Scanner& text, Stat& into) {
  into.state = text.word().front();        // 3
  into.ppid = text.number<pid_t>();        // 4
  into.pgrp = text.number<pid_t>();        // 5
  into.session = text.number<pid_t>();     // 6
  into.tty_nr = text.number<int>();        // 7
  into.tpgid = text.number<pid_t>();       // 8
  into.flags = text.number<uint32_t>();    // 9
  skip(text, 8);                           // 10-17: faults, times
  into.priority = text.number<int64_t>();  // 18
  into.nice = text.number<int64_t>();
  into.num_threads = text.number<int64_t>();  // 20
  skip(text, 1);
  into.starttime = text.number<uint64_t>();  // 22
}

void parse_scheduling(Scanner& text, Stat& into) {
  skip(text, 3);                              // 23-25: vsize, rss, rsslim
  into.start_code = text.number<uint64_t>();  // 26
  into.end_code = text.number<uint64_t>();
  into.start_stack = text.number<uint64_t>();  // 28
  skip(text, 9);                               // 29-37: esp, eip, signals, wchan, swap
  into.exit_signal = text.number<int>();       // 38
  into.processor = text.number<int>();
  into.rt_priority = text.number<uint32_t>();  // 40
  into.policy = text.number<uint32_t>();
}

void parse_addresses(Scanner& text, Stat& into) {
  skip(text, 3);                              // 42-44: I/O delay, guest times
  into.start_data = text.number<uint64_t>();  // 45
  into.end_data = text.number<uint64_t>();
  into.start_brk = text.number<uint64_t>();
  into.arg_start = text.number<uint64_t>();  // 48
  into.arg_end = text.number<uint64_t>();
  into.env_start = text.number<uint64_t>();
  into.env_end = text.number<uint64_t>();
  into.exit_code = text.number<int>();  // 52
}

Stat read_from(std::string path) {
  const ProcText text(std::move(path));
  return parse_stat(text.view(), text.path());
}

}  // namespace

Stat parse_stat(std::string_view text, std::string_view file) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  Scanner rest(text, file);
  Stat result;
  parse_name(rest, result);
  parse_identity(rest, result);
  parse_scheduling(rest, result);
  parse_addresses(rest, result);
  return result;
}

Stat read_stat(pid_t pid) { return read_from(proc_path(pid, "stat")); }

Stat read_stat(pid_t pid, pid_t tid) { return read_from(proc_path(pid, tid, "stat")); }

}  // namespace torpor::process
