#include "resource/credentials.h"

#include <linux/prctl.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "process/proc_file.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

// That of the leader: the agent's thread was born from it.
std::uint32_t securebits(process::HeldProcess& held) {
  return static_cast<std::uint32_t>(
      held.agent->call(SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0}, "read its securebits"));
}

bool may_set_groups(pid_t pid) {
  try {
    return process::read_proc_file(pid, "setgroups").starts_with("allow");
  } catch (const base::Error& error) {
    if (error.code() == base::ErrorCode::not_found) return true;  // before Linux 3.19
    throw;
  }
}

}  // namespace

snapshot::Credentials credentials_from(const process::Status& status, const IdTranslation& ids) {
  snapshot::Credentials credentials;
  credentials.set_uid(ids.uid(status.uids[0]));
  credentials.set_euid(ids.uid(status.uids[1]));
  credentials.set_suid(ids.uid(status.uids[2]));
  credentials.set_fsuid(ids.uid(status.uids[3]));
  credentials.set_gid(ids.gid(status.gids[0]));
  credentials.set_egid(ids.gid(status.gids[1]));
  credentials.set_sgid(ids.gid(status.gids[2]));
  credentials.set_fsgid(ids.gid(status.gids[3]));
  for (const gid_t group : status.groups) credentials.add_groups(ids.group(group));
  credentials.set_cap_inheritable(status.cap_inh);
  credentials.set_cap_permitted(status.cap_prm);
  credentials.set_cap_effective(status.cap_eff);
  credentials.set_cap_bounding(status.cap_bnd);
  credentials.set_cap_ambient(status.cap_amb);
  credentials.set_no_new_privs(status.no_new_privs);
  return credentials;
}

void capture_credentials(process::HeldProcess& held, snapshot::Process& process) {
  const IdTranslation ids = IdTranslation::of(held.pid);
  const std::uint32_t bits = securebits(held);
  std::string common;
  for (const ThreadView& thread : living_threads(held, process)) {
    snapshot::Credentials own =
        credentials_from(process::read_status(held.pid, thread.stopped->tid()), ids);
    own.set_securebits(bits);
    if (held.resident != nullptr) own.set_no_new_privs(held.resident->no_new_privs());
    const std::string bytes = own.SerializeAsString();
    if (!process.has_credentials()) {
      *process.mutable_credentials() = std::move(own);
      common = bytes;
    } else if (bytes != common) {
      *thread.saved->mutable_credentials() = std::move(own);
    }
  }
}

PresentCredentials present_credentials(pid_t pid) {
  IdTranslation ids = IdTranslation::of(pid);
  return {.credentials = credentials_from(process::read_status(pid), ids),
          .may_set_groups = may_set_groups(pid),
          .ids = std::move(ids)};
}

}  // namespace torpor::resource
