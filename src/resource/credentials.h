// User and group ids, capabilities, securebits and no_new_privs: of each thread, in Linux.
//
// Ids are those that the program sees, in its own user namespace. Supplementary groups that are not
// mapped there (an ordinary user's namespace maps a single group) stay in force all the same; they
// are recorded with the number that they have for us.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "process/call_list.h"
#include "process/held_process.h"
#include "process/proc_status.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

// Fills in the process's credentials, and those of threads that have others. Securebits can be read
// only from inside (prctl(2)): they are taken to be the same in all threads of a process.
void capture_credentials(process::HeldProcess& held, snapshot::Process& process);

// What a process that is being built up has already, and its threads will be born with.
struct PresentCredentials {
  snapshot::Credentials credentials;  // securebits are not known
  bool may_set_groups = false;        // setgroups(2) is not denied in its user namespace
};
// Read from /proc, without stopping anything. Throws base::Error.
PresentCredentials present_credentials(pid_t pid);

// Adds the calls by which a thread that has `present` ends with exactly `wanted`. Nothing is added
// for what is there already. Raw system calls: each thread does it for itself. Changing ids or
// capabilities makes the process undumpable and clears the parent-death signal (prctl(2)).
// Throws Error permission, naming what cannot be had: ids or groups that may not be set, a
// capability that `present` lacks.
void restore_credentials(process::CallList& calls, const snapshot::Credentials& wanted,
                         const PresentCredentials& present);

// Why `wanted` cannot be had by one who has `present`; empty if it can. For the dry pass.
std::string credentials_obstacle(const snapshot::Credentials& wanted,
                                 const PresentCredentials& present);

// The credentials in a status file, its ids translated by the user namespace of that process.
class IdTranslation;
snapshot::Credentials credentials_from(const process::Status& status, const IdTranslation& ids);

// From ids as we see them to those that a process sees (user_namespaces(7)).
class IdTranslation {
 public:
  struct Range {
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    std::uint32_t count = 0;
  };
  // Nothing to translate.
  IdTranslation() = default;
  IdTranslation(std::vector<Range> uids, std::vector<Range> gids)
      : same_(false), uids_(std::move(uids)), gids_(std::move(gids)) {}
  // Of the user namespace that `pid` is in.
  static IdTranslation of(pid_t pid);
  // Parses the text of /proc/PID/uid_map or gid_map.
  static std::vector<Range> parse(std::string_view text, std::string_view file);

  [[nodiscard]] std::uint32_t uid(std::uint32_t ours) const;    // 65534 if it is not mapped
  [[nodiscard]] std::uint32_t gid(std::uint32_t ours) const;    // 65534 if it is not mapped
  [[nodiscard]] std::uint32_t group(std::uint32_t ours) const;  // `ours` if it is not mapped

 private:
  bool same_ = true;
  std::vector<Range> uids_;
  std::vector<Range> gids_;
};

}  // namespace torpor::resource
