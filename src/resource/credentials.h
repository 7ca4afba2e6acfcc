// User and group ids, capabilities, securebits and no_new_privs: of each thread, in Linux.
//
// Ids are those that the program sees, in its own user namespace. Supplementary groups that are not
// mapped there (an ordinary user's namespace maps a single group) stay in force all the same; they
// are recorded with the number that they have for us.
#pragma once

#include <sys/types.h>

#include <string>

#include "process/call_list.h"
#include "process/held_process.h"
#include "process/proc_status.h"
#include "proto/snapshot.pb.h"
#include "resource/id_translation.h"

namespace torpor::resource {

// Fills in the process's credentials, and those of threads that have others. Securebits can be read
// only from inside (prctl(2)): they are taken to be the same in all threads of a process.
void capture_credentials(process::HeldProcess& held, snapshot::Process& process);

// What a process that is being built up has already, and its threads will be born with.
struct PresentCredentials {
  snapshot::Credentials credentials;  // securebits are not known
  bool may_set_groups = false;        // setgroups(2) is not denied in its user namespace
  IdTranslation ids;                  // which ids exist in its user namespace
  bool may_install_filters = false;   // seccomp filters, without being root
};
// Read from /proc, without stopping anything. Throws base::Error.
PresentCredentials present_credentials(pid_t pid);

// Adds the calls by which a thread that has `present` ends with exactly `wanted`. Nothing is added
// for what is there already. Raw system calls: each thread does it for itself. Changing ids makes
// the process undumpable and clears the parent-death signal (prctl(2)).
// Throws Error permission, naming what cannot be had.
void restore_credentials(process::CallList& calls, const snapshot::Credentials& wanted,
                         const PresentCredentials& present);

// Why `wanted` cannot be had by one who has `present`: an id or groups that may not be set, a
// capability that it lacks; empty if it can. no_new_privs, which cannot be taken back, is no
// obstacle.
std::string credentials_obstacle(const snapshot::Credentials& wanted,
                                 const PresentCredentials& present);

// The credentials in a status file (securebits are not in it).
snapshot::Credentials credentials_from(const process::Status& status, const IdTranslation& ids);

}  // namespace torpor::resource
