#include "resource/credentials.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "resource/held_child.h"

namespace torpor::resource {
namespace {

using process::expect_error;
using testing::HasSubstr;

constexpr std::uint64_t kAll = (std::uint64_t{1} << 41) - 1;
constexpr std::uint32_t kNobody = 65534;

constexpr std::uint64_t bit(unsigned capability) { return std::uint64_t{1} << capability; }

snapshot::Credentials credentials_of(std::uint32_t id, std::uint64_t capabilities) {
  snapshot::Credentials credentials;
  credentials.set_uid(id);
  credentials.set_euid(id);
  credentials.set_suid(id);
  credentials.set_fsuid(id);
  credentials.set_gid(id);
  credentials.set_egid(id);
  credentials.set_sgid(id);
  credentials.set_fsgid(id);
  credentials.add_groups(id);
  credentials.add_groups(27);
  credentials.set_cap_permitted(capabilities);
  credentials.set_cap_effective(capabilities);
  credentials.set_cap_bounding(kAll);
  return credentials;
}

// An ordinary user on a host.
PresentCredentials ordinary() { return {credentials_of(1000, 0), true, {}}; }
// The same in a user namespace of its own.
PresentCredentials in_namespace() {
  return {credentials_of(1000, kAll), false, {{{1000, 1000, 1}}, {{1000, 1000, 1}}}};
}
PresentCredentials root() { return {credentials_of(0, kAll), true, {}}; }

std::vector<std::int64_t> plan(const snapshot::Credentials& wanted,
                               const PresentCredentials& present) {
  RecordedCalls calls;
  restore_credentials(calls, wanted, present);
  return calls.numbers();
}

TEST(Credentials, NothingIsDoneWithoutNeed) {
  EXPECT_THAT(plan(credentials_of(1000, 0), ordinary()), testing::IsEmpty());
}

TEST(Credentials, OrdinaryUserGivesUpTheNamespacesCapabilities) {
  EXPECT_THAT(plan(credentials_of(1000, 0), in_namespace()),
              testing::ElementsAre(SYS_prctl, SYS_prctl, SYS_capset));
}

TEST(Credentials, RootBecomesAnotherInThisOrder) {
  EXPECT_THAT(plan(credentials_of(1000, 0), root()),
              testing::ElementsAre(SYS_prctl, SYS_setgroups, SYS_setresgid, SYS_setfsgid,
                                   SYS_setresuid, SYS_setfsuid, SYS_prctl, SYS_capset));
}

TEST(Credentials, ObstaclesAreNamed) {
  EXPECT_THAT(credentials_obstacle(credentials_of(1001, 0), ordinary()), HasSubstr("1001/1001"));
  // The namespace has no other user, whatever capabilities there are in it.
  EXPECT_THAT(credentials_obstacle(credentials_of(1001, 0), in_namespace()),
              HasSubstr("user ids were 1001/1001/1001"));
  snapshot::Credentials wanted = credentials_of(1000, 0);
  wanted.add_groups(4);
  EXPECT_THAT(credentials_obstacle(wanted, in_namespace()), HasSubstr("groups were 1000,27,4"));
  EXPECT_EQ(credentials_obstacle(wanted, root()), "");
  wanted = credentials_of(1000, bit(CAP_NET_ADMIN));
  EXPECT_THAT(credentials_obstacle(wanted, ordinary()), HasSubstr("capability 12"));
  wanted = credentials_of(1000, 0);
  wanted.set_securebits(1);
  EXPECT_THAT(credentials_obstacle(wanted, ordinary()), HasSubstr("securebits 0x1"));
  wanted = credentials_of(1000, 0);
  wanted.set_cap_bounding(0);
  EXPECT_THAT(credentials_obstacle(wanted, ordinary()), HasSubstr("bounding set"));
  PresentCredentials bounded = root();
  bounded.credentials.set_cap_bounding(kAll & ~bit(CAP_SYS_ADMIN));
  EXPECT_THAT(credentials_obstacle(credentials_of(0, 0), bounded), HasSubstr("held capability 21"));
  RecordedCalls calls;
  expect_error(base::ErrorCode::permission, "1001/1001/1001",
               [&] { restore_credentials(calls, credentials_of(1001, 0), ordinary()); });
  EXPECT_THAT(calls.calls, testing::IsEmpty());
}

TEST(Credentials, OrderAndRepetitionOfGroupsDoNotMatter) {
  snapshot::Credentials wanted = credentials_of(1000, 0);
  wanted.clear_groups();
  for (const std::uint32_t group : {27U, 1000U, 27U}) wanted.add_groups(group);
  EXPECT_EQ(credentials_obstacle(wanted, ordinary()), "");
}

TEST(Credentials, IdsCanBeExchangedWithoutPrivilege) {
  PresentCredentials present = ordinary();
  present.credentials.set_euid(2000);
  present.credentials.set_suid(2000);
  snapshot::Credentials wanted = present.credentials;
  wanted.set_euid(1000);
  wanted.set_fsuid(1000);
  EXPECT_EQ(credentials_obstacle(wanted, present), "");
}

TEST(Credentials, IdsOfAnotherNamespace) {
  const auto ranges =
      IdTranslation::parse("         0       1000          1\n      100     100000      65536\n");
  ASSERT_EQ(ranges.size(), 2U);
  const IdTranslation ids(ranges, {{5, 50, 2}});
  EXPECT_EQ(ids.uid(1000), 0U);
  EXPECT_EQ(ids.uid(1001), kNobody);
  EXPECT_EQ(ids.uid(100007), 107U);
  EXPECT_EQ(ids.gid(51), 6U);
  EXPECT_EQ(ids.gid(52), kNobody);
  EXPECT_EQ(ids.group(52), 52U);
  EXPECT_TRUE(ids.has_uid(107));
  EXPECT_FALSE(ids.has_uid(1));
  expect_error(base::ErrorCode::internal, "uid_map", [] { IdTranslation::parse("0 x 1\n"); });
}

// ---------------------------------------------------------------------------- real processes

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_credentials(child.held(), process);
  return process;
}

snapshot::Credentials captured(pid_t pid) {
  HeldChild held(pid);
  return captured(held).credentials();
}

std::string text_of(const snapshot::Credentials& credentials) {
  return credentials.ShortDebugString();
}

// Gives `wanted` to the leader of `bare`, and expects it to have it then.
void expect_round_trip(const snapshot::Credentials& wanted, pid_t bare) {
  HeldChild held(bare);
  const PresentCredentials present = present_credentials(bare);
  LeaderCalls calls(held);
  restore_credentials(calls, wanted, present);
  snapshot::Credentials now = credentials_from(process::read_status(bare), IdTranslation::of(bare));
  process::BorrowedCalls ask(held.held());
  now.set_securebits(static_cast<std::uint32_t>(
      ask.call(held.leader(), SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0})));
  EXPECT_EQ(text_of(wanted), text_of(now));
}

void must(bool done, int code) {
  if (!done) ::_exit(code);
}

void raise_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  must(::syscall(SYS_capget, &header, data) == 0, 10);
  data[capability / 32].inheritable |= 1U << (capability % 32);
  must(::syscall(SYS_capset, &header, data) == 0, 11);
  must(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0, 12);
}

bool write_text(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  return file.good();
}

// As the husks of an ordinary user are: one user and one group, both unchanged, all capabilities.
void enter_user_namespace() {
  const uid_t uid = ::getuid();
  const gid_t gid = ::getgid();
  must(::prctl(PR_SET_DUMPABLE, 1) == 0, 20);  // else /proc/self belongs to root
  must(::unshare(CLONE_NEWUSER) == 0, 21);
  must(write_text("/proc/self/setgroups", "deny"), 22);
  must(write_text("/proc/self/uid_map", fmt::format("{} {} 1", uid, uid)), 23);
  must(write_text("/proc/self/gid_map", fmt::format("{} {} 1", gid, gid)), 24);
}

bool user_namespaces_work() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(::unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
  int status = 1;
  ::waitpid(pid, &status, 0);
  return status == 0;
}

class AsRoot : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

using CredentialsAsRoot = AsRoot;

void become_nobody() {
  const gid_t groups[] = {7, 4711};
  must(::setgroups(2, groups) == 0, 1);
  must(::setresgid(kNobody, kNobody, kNobody) == 0, 2);
  must(::setresuid(kNobody, kNobody, kNobody) == 0, 3);
}

TEST_F(CredentialsAsRoot, RoundTripOfAnotherUser) {
  const TestChild child([] { become_nobody(); });
  const TestChild bare([] {});
  const snapshot::Credentials wanted = captured(child.pid());
  EXPECT_EQ(wanted.euid(), kNobody);
  EXPECT_THAT(wanted.groups(), testing::ElementsAre(7, 4711));
  EXPECT_EQ(wanted.cap_permitted(), 0U);
  expect_round_trip(wanted, bare.pid());
}

TEST_F(CredentialsAsRoot, RoundTripOfEverythingDifferent) {
  const TestChild child([] {
    must(::prctl(PR_CAPBSET_DROP, CAP_SYS_RAWIO, 0, 0, 0) == 0, 1);
    raise_capability(CAP_NET_RAW);
    const unsigned long bits =
        SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS;
    must(::prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) == 0, 2);
    must(::setgroups(0, nullptr) == 0, 3);
    must(::syscall(SYS_setresgid, 1, 2, 3) == 0, 4);
    must(::syscall(SYS_setfsgid, 4) >= 0, 5);
    must(::syscall(SYS_setresuid, 5, 6, 7) == 0, 6);
    must(::syscall(SYS_setfsuid, 8) >= 0, 7);
    must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, 8);
  });
  const TestChild bare([] {});
  const snapshot::Credentials wanted = captured(child.pid());
  EXPECT_EQ(wanted.fsuid(), 8U);
  EXPECT_EQ(wanted.fsgid(), 4U);
  EXPECT_EQ(wanted.cap_ambient(), bit(CAP_NET_RAW));
  EXPECT_EQ(wanted.cap_bounding() & bit(CAP_SYS_RAWIO), 0U);
  EXPECT_TRUE(wanted.no_new_privs());
  EXPECT_NE(wanted.securebits(), 0U);
  expect_round_trip(wanted, bare.pid());
}

TEST_F(CredentialsAsRoot, ThreadsOfTheirOwn) {
  const TestChild child([](const TestChild::Ready& ready) {
    std::thread([&] {
      must(::syscall(SYS_setresuid, 5, 5, 5) == 0, 1);
      ::prctl(PR_SET_DUMPABLE, 1);
      ready();
      for (;;) ::pause();
    }).join();
  });
  HeldChild held(child.pid());
  const snapshot::Process process = captured(held);
  EXPECT_EQ(process.credentials().uid(), 0U);
  ASSERT_EQ(process.threads_size(), 2);
  EXPECT_FALSE(process.threads(0).has_credentials());
  EXPECT_EQ(process.threads(1).credentials().uid(), 5U);
}

// The way of an ordinary user: out of a namespace in which one is all-powerful.
TEST_F(CredentialsAsRoot, OrdinaryUserInANamespace) {
  if (!user_namespaces_work()) GTEST_SKIP() << "no user namespaces";
  const TestChild child([] {
    become_nobody();
    ::prctl(PR_SET_DUMPABLE, 1);
  });
  const TestChild bare([] {
    become_nobody();
    enter_user_namespace();
  });
  const snapshot::Credentials wanted = captured(child.pid());
  const PresentCredentials present = present_credentials(bare.pid());
  EXPECT_FALSE(present.may_set_groups);
  EXPECT_NE(present.credentials.cap_effective(), 0U);
  EXPECT_FALSE(present.ids.has_uid(0));
  expect_round_trip(wanted, bare.pid());
}

TEST(Credentials, RoundTripInOnesOwnNamespace) {
  if (!user_namespaces_work()) GTEST_SKIP() << "no user namespaces";
  const TestChild child([] {
    // What an ordinary user has; root gives up the same.
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    must(::syscall(SYS_capset, &header, data) == 0, 1);
  });
  const TestChild bare([] { enter_user_namespace(); });
  const snapshot::Credentials wanted = captured(child.pid());
  EXPECT_EQ(wanted.cap_effective(), 0U);
  expect_round_trip(wanted, bare.pid());
}

// A second checkpoint, of a program that was restarted into a namespace where it has another id.
TEST(Credentials, CapturedAsTheProgramSeesThem) {
  if (!user_namespaces_work()) GTEST_SKIP() << "no user namespaces";
  const TestChild child([] {
    const uid_t uid = ::getuid();
    must(::unshare(CLONE_NEWUSER) == 0, 21);
    must(write_text("/proc/self/uid_map", fmt::format("4711 {} 1", uid)), 23);
  });
  const snapshot::Credentials wanted = captured(child.pid());
  EXPECT_EQ(wanted.uid(), 4711U);
  EXPECT_EQ(wanted.gid(), kNobody);
}

}  // namespace
}  // namespace torpor::resource
