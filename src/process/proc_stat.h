// /proc/PID/stat (proc_pid_stat(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace torpor::process {

// Addresses, exit_code: 0 (start_code, end_code: 1) without leave to ptrace the process, and 0 in a
// zombie.
struct Stat {
  pid_t pid = 0;
  std::string comm;  // any bytes: spaces, parentheses, newlines
  char state = 0;    // R S D T t Z X I ...
  pid_t ppid = 0;    // 0: the parent lies outside of our pid namespace
  pid_t pgrp = 0;    // 0: outside of our pid namespace
  pid_t session = 0;
  int tty_nr = 0;      // device number of the controlling terminal as in stat(2), 0: none
  pid_t tpgid = 0;     // foreground process group of that terminal, -1: no terminal
  uint32_t flags = 0;  // PF_* of the kernel
  int64_t priority = 0;
  int64_t nice = 0;
  int64_t num_threads = 0;
  uint64_t starttime = 0;  // clock ticks (sysconf(_SC_CLK_TCK)) since boot
  uint64_t start_code = 0;
  uint64_t end_code = 0;
  uint64_t start_stack = 0;
  int exit_signal = 0;  // sent to the parent at exit; -1 in threads other than the main one
  int processor = 0;    // where it ran last
  uint32_t rt_priority = 0;
  uint32_t policy = 0;  // SCHED_*
  uint64_t start_data = 0;
  uint64_t end_data = 0;
  uint64_t start_brk = 0;
  uint64_t arg_start = 0;
  uint64_t arg_end = 0;
  uint64_t env_start = 0;
  uint64_t env_end = 0;
  int exit_code = 0;  // as waitpid(2) gives it; of meaning in zombies
};

Stat read_stat(pid_t pid);             // of the process: num_threads, times, exit_code of the group
Stat read_stat(pid_t pid, pid_t tid);  // of one thread

// Parses the text of a stat file. `file` is for the message of an error.
Stat parse_stat(std::string_view text, std::string_view file = "stat");

}  // namespace torpor::process
