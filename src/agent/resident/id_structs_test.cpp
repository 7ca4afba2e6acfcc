// With the structs of the C library, so that its offsets and ours have to agree.
#include "agent/resident/id_structs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include <cstring>

#include "agent/resident/own_table_test.h"

namespace torpor::agent {
namespace {

constexpr std::int32_t kOriginal = 100;
constexpr std::int32_t kCurrent = 2000;
constexpr std::int32_t kNone = static_cast<std::int32_t>(kNobody);

class IdStructs : public testing::Test {
 protected:
  template <typename T>
  T to_kernel(Id kind, T value) {
    translate_struct(*ids, Way::kToKernel, kind, &value);
    return value;
  }
  template <typename T>
  T to_program(Id kind, T value) {
    translate_struct(*ids, Way::kToProgram, kind, &value);
    return value;
  }
  TestTable ids{{kOriginal, kCurrent}};
};

TEST_F(IdStructs, NumbersOfEveryKind) {
  for (const Id kind : {Id::kProcess, Id::kThread, Id::kGroup, Id::kSession, Id::kSigned}) {
    EXPECT_EQ(translate_id(*ids, Way::kToKernel, kind, kOriginal), kCurrent);
    EXPECT_EQ(translate_id(*ids, Way::kToProgram, kind, kCurrent), kOriginal);
    for (const std::int32_t same : {0, -1, INT32_MIN, INT32_MAX, 77}) {
      EXPECT_EQ(translate_id(*ids, Way::kToKernel, kind, same), same);
      EXPECT_EQ(translate_id(*ids, Way::kToProgram, kind, same), same);
    }
  }
}

TEST_F(IdStructs, NegativeNumbersAreGroupsWhereTheyMayBe) {
  EXPECT_EQ(translate_id(*ids, Way::kToKernel, Id::kSigned, -kOriginal), -kCurrent);
  EXPECT_EQ(translate_id(*ids, Way::kToProgram, Id::kSigned, -kCurrent), -kOriginal);
  EXPECT_EQ(translate_id(*ids, Way::kToKernel, Id::kSigned, -kCurrent), -kNone);
  EXPECT_EQ(translate_id(*ids, Way::kToKernel, Id::kProcess, -kOriginal), -kOriginal);
}

TEST_F(IdStructs, ClocksOfProcesses) {
  const auto clock_of = [](std::int32_t id, std::int32_t kind) {
    return static_cast<std::int32_t>(~static_cast<std::uint32_t>(id) << 3) | kind;
  };
  for (const std::int32_t kind : {0, 1, 2, 4, 5, 6}) {
    EXPECT_EQ(translate_clock(*ids, Way::kToKernel, clock_of(kOriginal, kind)),
              clock_of(kCurrent, kind));
    EXPECT_EQ(translate_clock(*ids, Way::kToKernel, clock_of(0, kind)), clock_of(0, kind));
    EXPECT_LT(translate_clock(*ids, Way::kToKernel, clock_of(kCurrent, kind)), 0);
    EXPECT_NE(translate_clock(*ids, Way::kToKernel, clock_of(kCurrent, kind)),
              clock_of(kCurrent, kind));
  }
  EXPECT_EQ(translate_clock(*ids, Way::kToKernel, clock_of(kOriginal, 3)), clock_of(kOriginal, 3));
  EXPECT_EQ(translate_clock(*ids, Way::kToKernel, CLOCK_BOOTTIME), CLOCK_BOOTTIME);
}

TEST_F(IdStructs, InfoOfSignalsThatWereSent) {
  for (const int code : {SI_USER, SI_QUEUE, SI_TKILL, SI_MESGQ}) {
    siginfo_t info{};
    info.si_signo = SIGUSR1;
    info.si_code = code;
    info.si_pid = kCurrent;
    EXPECT_EQ(to_program(Id::kInfoOut, info).si_pid, kOriginal) << code;
    info.si_pid = kOriginal;
    EXPECT_EQ(to_kernel(Id::kInfoIn, info).si_pid, kCurrent) << code;
  }
}

TEST_F(IdStructs, InfoOfChildren) {
  for (const int code :
       {CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED}) {
    siginfo_t info{};
    info.si_signo = SIGCHLD;
    info.si_code = code;
    info.si_pid = kCurrent;
    EXPECT_EQ(to_program(Id::kInfoOut, info).si_pid, kOriginal) << code;
  }
}

TEST_F(IdStructs, InfoOfStopsThatATracerIsToldOf) {
  constexpr int kStopEvent = 128 << 8;  // PTRACE_EVENT_STOP
  for (const auto& [signal, code] : {std::pair{SIGTRAP, SIGTRAP},
                                     {SIGTRAP, SIGTRAP | 0x80},
                                     {SIGTRAP, SIGTRAP | kStopEvent},
                                     {SIGTSTP, SIGTSTP | kStopEvent}}) {
    siginfo_t info{};
    info.si_signo = signal;
    info.si_code = code;
    info.si_pid = kCurrent;
    EXPECT_EQ(to_program(Id::kInfoOut, info).si_pid, kOriginal) << code;
  }
}

TEST_F(IdStructs, InfoThatNamesNobodyIsLeftAlone) {
  const std::pair<int, int> cases[] = {{SIGSEGV, SEGV_MAPERR}, {SIGALRM, SI_TIMER},
                                       {SIGIO, POLL_IN},       {SIGIO, SI_SIGIO},
                                       {SIGINT, SI_KERNEL},    {SIGTRAP, TRAP_TRACE}};
  for (const auto& [signal, code] : cases) {
    siginfo_t info{};
    info.si_signo = signal;
    info.si_code = code;
    info.si_pid = kCurrent;
    EXPECT_EQ(to_program(Id::kInfoOut, info).si_pid, kCurrent) << signal << ' ' << code;
  }
}

TEST_F(IdStructs, Events) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event._sigev_un._tid = kOriginal;
  EXPECT_EQ(to_kernel(Id::kEventIn, event)._sigev_un._tid, kCurrent);
  event.sigev_notify = SIGEV_SIGNAL;
  EXPECT_EQ(to_kernel(Id::kEventIn, event)._sigev_un._tid, kOriginal);
}

TEST_F(IdStructs, Words) {
  EXPECT_EQ(to_kernel(Id::kWordIn, kOriginal), kCurrent);
  EXPECT_EQ(to_kernel(Id::kWordIn, -kOriginal), -kCurrent);
  EXPECT_EQ(to_program(Id::kWordOut, kCurrent), kOriginal);
}

TEST_F(IdStructs, Owners) {
  EXPECT_EQ(to_kernel(Id::kOwnerIn, f_owner_ex{F_OWNER_PGRP, kOriginal}).pid, kCurrent);
  EXPECT_EQ(to_program(Id::kOwnerOut, f_owner_ex{F_OWNER_TID, kCurrent}).pid, kOriginal);
}

TEST_F(IdStructs, Locks) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_pid = kCurrent;
  EXPECT_EQ(to_program(Id::kLockOut, lock).l_pid, kOriginal);
  lock.l_pid = -1;
  EXPECT_EQ(to_program(Id::kLockOut, lock).l_pid, -1);
  lock.l_type = F_UNLCK;
  lock.l_pid = kCurrent;
  EXPECT_EQ(to_program(Id::kLockOut, lock).l_pid, kCurrent);
}

TEST_F(IdStructs, SystemV) {
  shmid_ds segment{};
  segment.shm_cpid = kCurrent;
  segment.shm_lpid = 1;
  EXPECT_EQ(to_program(Id::kSegmentOut, segment).shm_cpid, kOriginal);
  EXPECT_EQ(to_program(Id::kSegmentOut, segment).shm_lpid, 1);
  segment.shm_lpid = kCurrent;
  EXPECT_EQ(to_program(Id::kSegmentOut, segment).shm_lpid, kOriginal);
  msqid_ds queue{};
  queue.msg_lspid = kCurrent;
  queue.msg_lrpid = kCurrent;
  EXPECT_EQ(to_program(Id::kQueueOut, queue).msg_lspid, kOriginal);
  EXPECT_EQ(to_program(Id::kQueueOut, queue).msg_lrpid, kOriginal);
}

TEST_F(IdStructs, Capabilities) {
  const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, kOriginal};
  EXPECT_EQ(to_kernel(Id::kCapability, header).pid, kCurrent);
}

TEST_F(IdStructs, PidfdInfo) {
  struct {
    std::uint64_t mask = 7, group = 9;
    std::uint32_t pid = kCurrent, tgid = kCurrent, ppid = 1, uid = kCurrent;
  } const info;
  const auto seen = to_program(Id::kPidfdInfo, info);
  EXPECT_EQ(seen.pid, static_cast<std::uint32_t>(kOriginal));
  EXPECT_EQ(seen.tgid, static_cast<std::uint32_t>(kOriginal));
  EXPECT_EQ(seen.ppid, 1U);
  EXPECT_EQ(seen.uid, static_cast<std::uint32_t>(kCurrent));
}

TEST_F(IdStructs, Peers) {
  EXPECT_EQ(to_program(Id::kPeer, ucred{kCurrent, 1, 2}).pid, kOriginal);
  EXPECT_EQ(to_program(Id::kPeer, ucred{kOriginal, 1, 2}).pid, 0);
}

TEST_F(IdStructs, SignalRecords) {
  signalfd_siginfo record{};
  record.ssi_signo = SIGCHLD;
  record.ssi_code = CLD_EXITED;
  record.ssi_pid = kCurrent;
  translate_signal_record(*ids, &record);
  EXPECT_EQ(record.ssi_pid, static_cast<std::uint32_t>(kOriginal));
  static_assert(sizeof(record) == kSignalRecordBytes);
}

// Credentials behind descriptors.
struct Messages {
  Messages() {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* first = CMSG_FIRSTHDR(&message);
    *first = cmsghdr{CMSG_LEN(3 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    std::memset(CMSG_DATA(first), 0, 3 * sizeof(int));
    cmsghdr* second = CMSG_NXTHDR(&message, first);
    *second = cmsghdr{CMSG_LEN(sizeof(ucred)), SOL_SOCKET, SCM_CREDENTIALS};
    const ucred credentials{kCurrent, 5, 6};
    std::memcpy(CMSG_DATA(second), &credentials, sizeof credentials);
    place = CMSG_DATA(second);
  }
  std::int32_t pid() const {
    std::int32_t id = 0;
    std::memcpy(&id, place, sizeof id);
    return id;
  }
  alignas(cmsghdr) char control[CMSG_SPACE(3 * sizeof(int)) + CMSG_SPACE(sizeof(ucred))]{};
  msghdr message{};
  const unsigned char* place = nullptr;
};

TEST_F(IdStructs, CredentialsInMessages) {
  Messages messages;
  translate_control(*ids, Way::kToProgram, messages.control, sizeof messages.control);
  EXPECT_EQ(messages.pid(), kOriginal);
  translate_control(*ids, Way::kToKernel, messages.control, sizeof messages.control);
  EXPECT_EQ(messages.pid(), kCurrent);
}

TEST_F(IdStructs, ControlMessagesThatAreCutOff) {
  for (std::size_t bytes = 0; bytes < sizeof Messages{}.control - 4; ++bytes) {
    Messages messages;
    translate_control(*ids, Way::kToProgram, messages.control, bytes);
    EXPECT_EQ(messages.pid(), kCurrent) << bytes;
  }
}

}  // namespace
}  // namespace torpor::agent
