// From one set of credentials to another, by the rules of capabilities(7) and credentials(7).
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <bit>

#include "base/error.h"
#include "resource/credentials.h"

namespace torpor::resource {
namespace {

using snapshot::Credentials;

constexpr std::uint64_t bit(unsigned capability) { return std::uint64_t{1} << capability; }

bool same_uids(const Credentials& a, const Credentials& b) {
  return a.uid() == b.uid() && a.euid() == b.euid() && a.suid() == b.suid() &&
         a.fsuid() == b.fsuid();
}

bool same_gids(const Credentials& a, const Credentials& b) {
  return a.gid() == b.gid() && a.egid() == b.egid() && a.sgid() == b.sgid() &&
         a.fsgid() == b.fsgid();
}

bool same_groups(const Credentials& a, const Credentials& b) {
  const auto sorted = [](const Credentials& credentials) {
    std::vector<std::uint32_t> groups(credentials.groups().begin(), credentials.groups().end());
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    return groups;
  };
  return sorted(a) == sorted(b);
}

bool same_capabilities(const Credentials& a, const Credentials& b) {
  return a.cap_inheritable() == b.cap_inheritable() && a.cap_permitted() == b.cap_permitted() &&
         a.cap_effective() == b.cap_effective() && a.cap_ambient() == b.cap_ambient();
}

// Without CAP_SETUID (or CAP_SETGID) only the ids that one has can be exchanged.
bool among(std::uint32_t id, std::array<std::uint32_t, 4> present) {
  return std::find(present.begin(), present.end(), id) != present.end();
}

bool uids_allowed(const Credentials& wanted, const PresentCredentials& present) {
  const Credentials& have = present.credentials;
  const bool free = (have.cap_effective() & bit(CAP_SETUID)) != 0;
  const std::array<std::uint32_t, 4> wishes{wanted.uid(), wanted.euid(), wanted.suid(),
                                            wanted.fsuid()};
  return std::all_of(wishes.begin(), wishes.end(), [&](std::uint32_t uid) {
    return among(uid, {have.uid(), have.euid(), have.suid(), have.fsuid()}) ||
           (free && present.ids.has_uid(uid));
  });
}

bool gids_allowed(const Credentials& wanted, const PresentCredentials& present) {
  const Credentials& have = present.credentials;
  const bool free = (have.cap_effective() & bit(CAP_SETGID)) != 0;
  const std::array<std::uint32_t, 4> wishes{wanted.gid(), wanted.egid(), wanted.sgid(),
                                            wanted.fsgid()};
  return std::all_of(wishes.begin(), wishes.end(), [&](std::uint32_t gid) {
    return among(gid, {have.gid(), have.egid(), have.sgid(), have.fsgid()}) ||
           (free && present.ids.has_gid(gid));
  });
}

bool groups_allowed(const Credentials& wanted, const PresentCredentials& present) {
  if (same_groups(wanted, present.credentials)) return true;
  if (!present.may_set_groups) return false;
  if ((present.credentials.cap_effective() & bit(CAP_SETGID)) == 0) return false;
  return std::all_of(wanted.groups().begin(), wanted.groups().end(),
                     [&](std::uint32_t gid) { return present.ids.has_gid(gid); });
}

std::string group_list(const Credentials& credentials) {
  return fmt::format("{}", fmt::join(credentials.groups(), ","));
}

std::string capability_obstacle(const Credentials& wanted, const Credentials& present) {
  const std::uint64_t missing = wanted.cap_permitted() & ~present.cap_permitted();
  if (missing != 0) {
    return fmt::format("it had capability {} (of capabilities(7)), which the restart has not",
                       std::countr_zero(missing));
  }
  const std::uint64_t reachable =
      present.cap_inheritable() | (present.cap_permitted() & present.cap_bounding());
  if ((wanted.cap_inheritable() & ~reachable) != 0) {
    return fmt::format("its inheritable capabilities {:#x} cannot be set here",
                       wanted.cap_inheritable());
  }
  const std::uint64_t unbounded = wanted.cap_bounding() & ~present.cap_bounding();
  if (unbounded != 0) {
    return fmt::format("its capability bounding set held capability {}, which is taken away here",
                       std::countr_zero(unbounded));
  }
  return {};
}

bool may_set_bits(const Credentials& present) {
  return (present.cap_effective() & bit(CAP_SETPCAP)) != 0;
}

// The one of the securebits that needs no privilege, by a call of its own.
constexpr std::uint32_t kForEverybody = issecure_mask(SECURE_KEEP_CAPS);

void set_securebits(process::CallList& calls, std::uint32_t bits) {
  calls.call(SYS_prctl, {PR_SET_SECUREBITS, bits, 0, 0, 0}, "set its securebits");
}

void set_capabilities(process::CallList& calls, std::uint64_t effective, std::uint64_t permitted,
                      std::uint64_t inheritable) {
  const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  for (unsigned half = 0; half < 2; ++half) {
    sets[half] = {static_cast<__u32>(effective >> (32 * half)),
                  static_cast<__u32>(permitted >> (32 * half)),
                  static_cast<__u32>(inheritable >> (32 * half))};
  }
  calls.call(SYS_capset, {calls.value(header), calls.value(sets)},
             fmt::format("set its capabilities (permitted {:#x}, effective {:#x}, inheritable "
                         "{:#x})",
                         permitted, effective, inheritable));
}

void set_ids(process::CallList& calls, const Credentials& wanted, const Credentials& present) {
  if (!same_groups(wanted, present)) {
    const std::vector<std::uint32_t> groups(wanted.groups().begin(), wanted.groups().end());
    calls.call(SYS_setgroups, {groups.size(), calls.data(std::as_bytes(std::span(groups)))},
               fmt::format("set its groups {}", group_list(wanted)));
  }
  if (!same_gids(wanted, present)) {
    calls.call(
        SYS_setresgid, {wanted.gid(), wanted.egid(), wanted.sgid()},
        fmt::format("set its group ids {}/{}/{}", wanted.gid(), wanted.egid(), wanted.sgid()));
    calls.call(SYS_setfsgid, {wanted.fsgid()}, "set its file system group");
  }
  if (!same_uids(wanted, present)) {
    calls.call(
        SYS_setresuid, {wanted.uid(), wanted.euid(), wanted.suid()},
        fmt::format("set its user ids {}/{}/{}", wanted.uid(), wanted.euid(), wanted.suid()));
    calls.call(SYS_setfsuid, {wanted.fsuid()}, "set its file system user");
  }
}

template <typename Action>
void for_each_bit(std::uint64_t set, const Action& action) {
  for (; set != 0; set &= set - 1) action(std::countr_zero(set));
}

void set_ambient(process::CallList& calls, const Credentials& wanted, const Credentials& present) {
  if (wanted.cap_ambient() == present.cap_ambient()) return;
  calls.call(SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0},
             "clear its ambient capabilities");
  for_each_bit(wanted.cap_ambient(), [&](int capability) {
    calls.call(SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0},
               fmt::format("raise ambient capability {}", capability));
  });
}

void drop_bounding(process::CallList& calls, const Credentials& wanted,
                   const Credentials& present) {
  for_each_bit(present.cap_bounding() & ~wanted.cap_bounding(), [&](int capability) {
    calls.call(SYS_prctl, {PR_CAPBSET_DROP, capability, 0, 0, 0},
               fmt::format("drop capability {} from its bounding set", capability));
  });
}

}  // namespace

std::string credentials_obstacle(const snapshot::Credentials& wanted,
                                 const PresentCredentials& present) {
  const Credentials& have = present.credentials;
  if (!uids_allowed(wanted, present)) {
    return fmt::format("its user ids were {}/{}/{}, and the restart may only use {}", wanted.uid(),
                       wanted.euid(), wanted.suid(), have.uid());
  }
  if (!gids_allowed(wanted, present)) {
    return fmt::format("its group ids were {}/{}/{}, and the restart may only use {}", wanted.gid(),
                       wanted.egid(), wanted.sgid(), have.gid());
  }
  if (!groups_allowed(wanted, present)) {
    return fmt::format("its supplementary groups were {}, and the restart has to keep {}",
                       group_list(wanted), group_list(have));
  }
  if (!may_set_bits(have) && (wanted.securebits() & ~kForEverybody) != 0) {
    return fmt::format("its securebits {:#x} cannot be set here", wanted.securebits());
  }
  if (!may_set_bits(have) && (have.cap_bounding() & ~wanted.cap_bounding()) != 0) {
    return "its smaller capability bounding set cannot be set here";
  }
  return capability_obstacle(wanted, have);
}

void restore_credentials(process::CallList& calls, const snapshot::Credentials& wanted,
                         const PresentCredentials& present) {
  const std::string obstacle = credentials_obstacle(wanted, present);
  if (!obstacle.empty()) {
    throw base::Error(base::ErrorCode::permission,
                      "cannot give back who the program ran as: " + obstacle);
  }
  const Credentials& have = present.credentials;
  // While ids change, capabilities stay as they are; and ambient ones may be raised.
  if (may_set_bits(have)) set_securebits(calls, issecure_mask(SECURE_NO_SETUID_FIXUP));
  if ((wanted.cap_inheritable() & ~have.cap_inheritable()) != 0) {
    set_capabilities(calls, have.cap_effective(), have.cap_permitted(),
                     have.cap_inheritable() | wanted.cap_inheritable());
  }
  set_ids(calls, wanted, have);
  set_ambient(calls, wanted, have);
  drop_bounding(calls, wanted, have);
  if (may_set_bits(have)) {
    set_securebits(calls, wanted.securebits());
  } else if (wanted.securebits() != 0) {
    calls.call(SYS_prctl, {PR_SET_KEEPCAPS, 1, 0, 0, 0}, "have it keep its capabilities");
  }
  if (!same_capabilities(wanted, have)) {
    set_capabilities(calls, wanted.cap_effective(), wanted.cap_permitted(),
                     wanted.cap_inheritable());
  }
  if (wanted.no_new_privs() && !have.no_new_privs()) {
    calls.call(SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0}, "set no_new_privs");
  }
}

}  // namespace torpor::resource
