#include "process/proc_status.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <thread>

#include "process/proc_test_support.h"
#include "process/proc_tree.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

constexpr std::string_view status_6_18 =
    "Name:\ta) (\\nb\\\\c d\nUmask:\t0027\nState:\tS "
    "(sleeping)\nTgid:\t5128\nNgid:\t0\nPid:\t5129\n"
    "PPid:\t5085\nTracerPid:\t9\nUid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t4294967294\n"
    "FDSize:\t64\nGroups:\t4 24 1000 \nNStgid:\t5128\t12\t1\nNSpid:\t5129\t13\t2\n"
    "NSpgid:\t5082\t0\t0\nNSsid:\t2487\t0\t0\nKthread:\t0\nVmPeak:\t    3060 kB\n"
    "VmSize:\t    3060 kB\nVmRSS:\t    1704 kB\nRssAnon:\t     112 kB\nRssFile:\t    1592 kB\n"
    "RssShmem:\t      16 kB\nVmSwap:\t       8 kB\nHugetlbPages:\t       0 kB\nCoreDumping:\t0\n"
    "THP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\nThreads:\t3\nSigQ:\t5/96365\n"
    "SigPnd:\t0000000000000001\nShdPnd:\t8000000000000000\nSigBlk:\t0000000000010000\n"
    "SigIgn:\t0000000001001000\nSigCgt:\t0000000000000002\nCapInh:\t0000000000000001\n"
    "CapPrm:\t000001fffeffffff\nCapEff:\t0000000000000003\nCapBnd:\t000001ffffffffff\n"
    "CapAmb:\t0000000000000004\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t11\n"
    "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n"
    "Cpus_allowed:\t3\nCpus_allowed_list:\t0-1,7\nMems_allowed:\t00000000,00000001\n"
    "Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t0\n";

TEST(ParseStatus, ReadsWhoItIs) {
  const Status status = parse_status(status_6_18);
  EXPECT_EQ(status.name, "a) (\nb\\c d");
  EXPECT_EQ(status.umask, 027u);
  EXPECT_EQ(status.state, 'S');
  EXPECT_EQ(status.tgid, 5128);
  EXPECT_EQ(status.pid, 5129);
  EXPECT_EQ(status.ppid, 5085);
  EXPECT_EQ(status.tracer_pid, 9);
  EXPECT_EQ(status.uids, (std::array<uid_t, 4>{1000, 1001, 1002, 1003}));
  EXPECT_EQ(status.gids, (std::array<gid_t, 4>{100, 101, 102, 4294967294}));
  EXPECT_EQ(status.groups, (std::vector<gid_t>{4, 24, 1000}));
  EXPECT_EQ(status.nstgid, (std::vector<pid_t>{5128, 12, 1}));
  EXPECT_EQ(status.nspid, (std::vector<pid_t>{5129, 13, 2}));
  EXPECT_EQ(status.nspgid, (std::vector<pid_t>{5082, 0, 0}));
  EXPECT_EQ(status.nssid, (std::vector<pid_t>{2487, 0, 0}));
}

TEST(ParseStatus, ReadsSignalsCapabilitiesAndMemory) {
  const Status status = parse_status(status_6_18);
  EXPECT_EQ(status.sigq_used, 5u);
  EXPECT_EQ(status.sigq_limit, 96365u);
  EXPECT_EQ(status.sig_pnd, 1u);
  EXPECT_EQ(status.shd_pnd, uint64_t{1} << 63);
  EXPECT_EQ(status.sig_blk, 0x10000u);
  EXPECT_EQ(status.sig_ign, 0x1001000u);
  EXPECT_EQ(status.sig_cgt, 2u);
  EXPECT_EQ(status.cap_inh, 1u);
  EXPECT_EQ(status.cap_prm, 0x1fffeffffffu);
  EXPECT_EQ(status.cap_eff, 3u);
  EXPECT_EQ(status.cap_bnd, 0x1ffffffffffu);
  EXPECT_EQ(status.cap_amb, 4u);
  EXPECT_TRUE(status.no_new_privs);
  EXPECT_EQ(status.seccomp, 2);
  EXPECT_EQ(status.seccomp_filters, 11u);
  EXPECT_EQ(status.threads, 3u);
  EXPECT_EQ(status.cpus_allowed_list, "0-1,7");
  EXPECT_EQ(status.vm_rss, 1704u);
  EXPECT_EQ(status.rss_anon, 112u);
  EXPECT_EQ(status.rss_shmem, 16u);
  EXPECT_EQ(status.vm_swap, 8u);
}

TEST(ParseStatus, ReadsWhatOlderKernelsPrint) {
  const Status status = parse_status(
      "Name:\tsh\nState:\tR (running)\nTgid:\t7\nPid:\t7\nPPid:\t1\nTracerPid:\t0\n"
      "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\nGroups:\t\nThreads:\t1\n");
  EXPECT_EQ(status.name, "sh");
  EXPECT_EQ(status.pid, 7);
  EXPECT_TRUE(status.groups.empty());
  EXPECT_TRUE(status.nspid.empty());
  EXPECT_EQ(status.seccomp_filters, 0u);
}

TEST(ParseStatus, RefusesOtherText) {
  for (const std::string_view text :
       {"", "hello\n", "State:\tS\nPid:\tx\n", "State:\tS\nUid:\t0\t0\n",
        "State:\tS\nSigCgt:\tfffffffffffffffff\n"}) {
    expect_error(ErrorCode::internal, "cannot parse /proc/7/status",
                 [&] { parse_status(text, "/proc/7/status"); });
  }
}

TEST(ReadStatus, AgreesWithWhatTheProcessKnows) {
  const Status status = read_status(::getpid());
  std::array<uid_t, 3> uids{};
  std::array<gid_t, 3> gids{};
  ASSERT_EQ(::getresuid(&uids[0], &uids[1], &uids[2]), 0);
  ASSERT_EQ(::getresgid(&gids[0], &gids[1], &gids[2]), 0);
  EXPECT_TRUE(std::equal(uids.begin(), uids.end(), status.uids.begin()));
  EXPECT_TRUE(std::equal(gids.begin(), gids.end(), status.gids.begin()));
  std::vector<gid_t> groups(static_cast<std::size_t>(::getgroups(0, nullptr)));
  ASSERT_GE(::getgroups(static_cast<int>(groups.size()), groups.data()), 0);
  EXPECT_EQ(status.groups, groups);
  EXPECT_EQ(status.tgid, ::getpid());
  EXPECT_EQ(status.ppid, ::getppid());
  EXPECT_EQ(status.nstgid.back(), ::getpid());
  EXPECT_EQ(status.nssid.front(), ::getsid(0));
  EXPECT_GT(status.vm_rss, status.rss_anon);
  EXPECT_GT(status.rss_anon, 0u);
  EXPECT_FALSE(status.cpus_allowed_list.empty());
}

uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }

void block(int signal) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

TEST(ReadStatus, SeesSignalsUmaskAndName) {
  const TestChild child([] {
    ::umask(0137);
    ::prctl(PR_SET_NAME, " x\n\\n\\");
    block(SIGUSR1);
    block(SIGRTMAX);
    ::signal(SIGUSR2, SIG_IGN);
    ::signal(SIGHUP, [](int) {});
    ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGUSR1);
    ::kill(::getpid(), SIGRTMAX);
  });
  const Status status = read_status(child.pid());
  EXPECT_EQ(status.umask, 0137u);
  EXPECT_EQ(status.name, " x\n\\n\\");
  EXPECT_EQ(status.sig_blk, bit(SIGUSR1) | bit(SIGRTMAX));
  EXPECT_EQ(status.sig_pnd, bit(SIGUSR1));
  EXPECT_EQ(status.shd_pnd, bit(SIGRTMAX));
  EXPECT_TRUE((status.sig_ign & bit(SIGUSR2)) != 0 && (status.sig_ign & bit(SIGHUP)) == 0);
  EXPECT_TRUE((status.sig_cgt & bit(SIGHUP)) != 0 && (status.sig_cgt & bit(SIGUSR2)) == 0);
  EXPECT_GE(status.sigq_used, 1u);
}

TEST(ReadStatus, ReadsAThread) {
  std::thread([] {
    const Status status = read_status(::getpid(), ::gettid());
    EXPECT_EQ(status.pid, ::gettid());
    EXPECT_EQ(status.tgid, ::getpid());
    EXPECT_EQ(status.threads, 2u);
  }).join();
}

TEST(ReadStatus, ReadsAZombie) {
  const TestChild child([] { ::_exit(0); });
  wait_for_end(child.pid());
  const Status status = read_status(child.pid());
  EXPECT_EQ(status.state, 'Z');
  EXPECT_EQ(status.ppid, ::getpid());
  EXPECT_EQ(status.vm_rss, 0u);
}

TEST(ReadStatus, SeesTheIdsOfInnerNamespaces) {
  const TestChild outer([](const TestChild::Ready& ready) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) ::_exit(1);
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ready();  // not before, or it might outlive us
    }
    for (;;) ::pause();
  });
  std::vector<pid_t> inner;
  try {
    inner = children_of(outer.pid());
  } catch (const base::Error&) {
  }
  if (inner.empty()) GTEST_SKIP() << "no user namespaces here";
  const Status status = read_status(inner.front());
  EXPECT_EQ(status.nspid, (std::vector<pid_t>{inner.front(), 1}));
  EXPECT_EQ(status.nstgid, (std::vector<pid_t>{inner.front(), 1}));
  EXPECT_EQ(status.nssid, (std::vector<pid_t>{::getsid(0), 0}));
}

}  // namespace
}  // namespace torpor::process
