// What this host offers of what torpor uses where it is there (docs/kernel-requirements.md), found
// out by trying it, harmlessly, in children of ours.
#pragma once

#include <string_view>
#include <vector>

namespace torpor::process {

enum class Facility {
  trace,           // ptrace(2) of an own child
  memory,          // process_vm_readv(2) of an own child
  descriptors,     // pidfd_getfd(2) of an own child
  comparison,      // kcmp(2)
  plain_clone3,    // clone3(2) without set_tid
  user_namespace,  // these with a user namespace around them, unless we are privileged
  pid_namespace,
  time_namespace,
  chosen_ids,  // clone3(2) with set_tid, in such a pid namespace
  fresh_proc,  // a /proc of such a pid namespace
  filter,      // a seccomp filter
  executable_memfd,
  page_scan,  // PAGEMAP_SCAN
};

struct Offer {
  Facility facility;
  std::string_view name;  // for people and scripts
  int error = 0;          // why not (errno); 0: it is there
};

// In the order of the enumeration.
std::vector<Offer> probe_host();

bool is_offered(const std::vector<Offer>& offers, Facility facility);

}  // namespace torpor::process
