// /proc/PID/status (proc_pid_status(5)).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace torpor::process {

// Lines that the kernel does not print (older, or without memory as in a zombie) leave their
// default. Signal and capability sets: bit n-1 is signal n, bit n is capability n.
struct Status {
  std::string name;    // unescaped
  uint32_t umask = 0;  // not printed once the process has given up its fs state (zombie)
  char state = 0;      // R S D T t Z X I
  pid_t tgid = 0;
  pid_t pid = 0;  // the tid in a thread's file
  pid_t ppid = 0;
  pid_t tracer_pid = 0;         // 0: not traced
  std::array<uid_t, 4> uids{};  // real, effective, saved, file system
  std::array<gid_t, 4> gids{};
  std::vector<gid_t> groups;  // supplementary
  std::vector<pid_t> nstgid;  // one per pid namespace from ours inwards, innermost last
  std::vector<pid_t> nspid;
  std::vector<pid_t> nspgid;  // 0: the group is unknown in that namespace
  std::vector<pid_t> nssid;
  uint64_t sigq_used = 0;  // queued signals of this real user
  uint64_t sigq_limit = 0;
  uint64_t sig_pnd = 0;  // pending for this thread
  uint64_t shd_pnd = 0;  // pending for the process
  uint64_t sig_blk = 0;
  uint64_t sig_ign = 0;
  uint64_t sig_cgt = 0;
  uint64_t cap_inh = 0;
  uint64_t cap_prm = 0;
  uint64_t cap_eff = 0;
  uint64_t cap_bnd = 0;
  uint64_t cap_amb = 0;
  bool no_new_privs = false;
  int seccomp = 0;               // SECCOMP_MODE_*: 0 none, 1 strict, 2 filter
  uint32_t seccomp_filters = 0;  // since Linux 5.9
  uint32_t threads = 0;
  std::string cpus_allowed_list;  // "0-3,7"
  uint64_t vm_rss = 0;            // kB, as the three below
  uint64_t rss_anon = 0;
  uint64_t rss_shmem = 0;
  uint64_t vm_swap = 0;
};

Status read_status(pid_t pid);
Status read_status(pid_t pid, pid_t tid);

// Parses the text of a status file. `file` is for the message of an error.
Status parse_status(std::string_view text, std::string_view file = "status");

}  // namespace torpor::process
