// The ways that columns do not describe, against the real kernel.
#include "agent/resident/id_wrap.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/resident/own_table_test.h"
#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {
namespace {

// One for each special way; a new one without a test here fails below.
using Case = std::function<void(TestTable&)>;

std::int64_t kernel_call(void* /*data*/, const IdRequest& r) {
  return sys::raw_syscall(r.number, r.args[0], r.args[1], r.args[2], r.args[3], r.args[4],
                          r.args[5]);
}

std::int64_t call(TestTable& ids, std::int64_t number, std::uint64_t a = 0, std::uint64_t b = 0,
                  std::uint64_t c = 0, std::uint64_t d = 0, std::uint64_t e = 0) {
  const IdRequest request{number, {a, b, c, d, e, 0}};
  const IdCall* row = find_id_call(number, request.args);
  EXPECT_NE(row, nullptr);
  return IdCaller(*ids, {kernel_call, nullptr}).call(*row, request);
}

template <typename T>
std::uint64_t at(T* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

constexpr std::uint32_t kFar = 3000000;  // an original that no process has
std::uint64_t negative(std::uint32_t id) { return static_cast<std::uint64_t>(-std::int64_t{id}); }

// Children with originals far from what the kernel gave them.
pid_t child_in(TestTable& ids, std::uint32_t original, const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  EXPECT_TRUE(enter_pair(*ids, original, static_cast<std::uint32_t>(child)));
  return child;
}

void test_wait(TestTable& ids) {
  const pid_t child = child_in(ids, kFar, [] { _exit(7); });
  int status = 0;
  EXPECT_EQ(call(ids, SYS_wait4, kFar, at(&status)), kFar);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(pair_of_current(*ids, static_cast<std::uint32_t>(child)), 0U);
  EXPECT_EQ(call(ids, SYS_wait4, kFar, at(&status)), -ECHILD);
  EXPECT_EQ(call(ids, SYS_wait4, ~std::uint64_t{0}, at(&status)), -ECHILD);
  child_in(ids, kFar, [] { pause(); });
  EXPECT_EQ(call(ids, SYS_wait4, ~std::uint64_t{0}, at(&status), WNOHANG), 0);
  siginfo_t info{};
  info.si_pid = 5;
  EXPECT_EQ(call(ids, SYS_waitid, P_ALL, 0, at(&info), WEXITED | WNOHANG), 0);
  EXPECT_EQ(info.si_pid, 0);
  EXPECT_EQ(call(ids, SYS_kill, kFar, SIGKILL), 0);
  EXPECT_EQ(call(ids, SYS_waitid, P_PID, kFar, at(&info), WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_pid, static_cast<pid_t>(kFar));
  info = {};
  EXPECT_EQ(call(ids, SYS_waitid, P_ALL, 0, at(&info), WEXITED), 0);
  EXPECT_EQ(info.si_pid, static_cast<pid_t>(kFar));
  EXPECT_EQ(info.si_status, SIGKILL);
  EXPECT_EQ(current_of(*ids, kFar), kFar);
}

// The group lives on without its leader, and is called as before.
void test_group(TestTable& ids) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  pid_t member = 0;
  const pid_t leader = child_in(ids, kFar, [&] {
    setpgid(0, 0);
    member = fork();
    if (member == 0) pause();
    EXPECT_EQ(write(ends[1], &member, sizeof member), sizeof member);
  });
  EXPECT_EQ(read(ends[0], &member, sizeof member), sizeof member);
  EXPECT_EQ(call(ids, SYS_wait4, kFar), kFar);
  EXPECT_EQ(call(ids, SYS_getpgid, static_cast<std::uint64_t>(member)), kFar);
  EXPECT_EQ(call(ids, SYS_kill, negative(kFar), SIGKILL), 0);
  EXPECT_NE(pair_of_current(*ids, static_cast<std::uint32_t>(leader)), 0U);
  close(ends[0]);
  close(ends[1]);
}

void test_setsid(TestTable& ids) {
  child_in(ids, kFar, [&] {
    while (pair_of_current(*ids, static_cast<std::uint32_t>(getpid())) == 0) usleep(1000);
    const bool right = call(ids, SYS_setsid) == kFar && call(ids, SYS_getsid, 0) == kFar;
    _exit(right ? 0 : 1);
  });
  int status = -1;
  EXPECT_EQ(call(ids, SYS_wait4, kFar, at(&status)), kFar);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(current_of(*ids, kFar) == kFar, false) << "a session's id stays known";
}

void test_everybody(TestTable& ids) {
  const auto forever = [] { pause(); };
  const pid_t children[] = {child_in(ids, kFar, forever), child_in(ids, kFar + 1, forever)};
  const pid_t stranger = fork();
  if (stranger == 0) pause();
  EXPECT_EQ(call(ids, SYS_kill, ~std::uint64_t{0}, SIGTERM), 0);
  for (const pid_t child : children) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WTERMSIG(status), SIGTERM);
  }
  EXPECT_EQ(waitpid(stranger, nullptr, WNOHANG), 0);
  kill(stranger, SIGKILL);
  waitpid(stranger, nullptr, 0);
}

void test_owner(TestTable& ids) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const auto own = static_cast<std::uint32_t>(getpid());
  EXPECT_TRUE(enter_pair(*ids, kFar, own));
  const auto fd = static_cast<std::uint64_t>(ends[0]);
  EXPECT_EQ(call(ids, SYS_fcntl, fd, F_SETOWN, kFar), 0);
  EXPECT_EQ(call(ids, SYS_fcntl, fd, F_GETOWN), kFar);
  const auto group = static_cast<std::uint32_t>(getpgrp());
  if (group != own) {
    EXPECT_TRUE(enter_pair(*ids, kFar + 1, group));
  }
  const std::uint32_t seen = group == own ? kFar : kFar + 1;
  EXPECT_EQ(call(ids, SYS_fcntl, fd, F_SETOWN, negative(seen)), 0);
  EXPECT_EQ(call(ids, SYS_fcntl, fd, F_GETOWN), -static_cast<std::int64_t>(seen));
  EXPECT_EQ(call(ids, SYS_fcntl, 999, F_GETOWN), -EBADF);
  close(ends[0]);
  close(ends[1]);
}

struct Credentials {
  Credentials() {
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
  void put(std::uint32_t pid) {
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    *header = cmsghdr{CMSG_LEN(sizeof(ucred)), SOL_SOCKET, SCM_CREDENTIALS};
    const ucred sender{static_cast<pid_t>(pid), getuid(), getgid()};
    std::memcpy(CMSG_DATA(header), &sender, sizeof sender);
  }
  std::uint32_t pid() const {
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof sender);
    return static_cast<std::uint32_t>(sender.pid);
  }
  char byte = 'x';
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))]{};
  msghdr message{};
};

void test_messages(TestTable& ids) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
  const int on = 1;
  EXPECT_EQ(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  EXPECT_TRUE(enter_pair(*ids, kFar, static_cast<std::uint32_t>(getpid())));
  const auto out = static_cast<std::uint64_t>(ends[0]);
  const auto in = static_cast<std::uint64_t>(ends[1]);
  Credentials sent;
  sent.put(kFar);
  EXPECT_EQ(call(ids, SYS_sendmsg, out, at(&sent.message)), 1);
  EXPECT_EQ(sent.pid(), kFar) << "what the program has written stays";
  Credentials got;
  EXPECT_EQ(call(ids, SYS_recvmsg, in, at(&got.message)), 1);
  EXPECT_EQ(got.pid(), kFar);
  Credentials plain;
  plain.message.msg_controllen = 0;
  mmsghdr many[3] = {{plain.message, 0}, {sent.message, 0}, {sent.message, 0}};
  EXPECT_EQ(call(ids, SYS_sendmmsg, out, at(many), 3), 1);
  EXPECT_EQ(call(ids, SYS_sendmmsg, out, at(many + 1), 2), 1);
  EXPECT_EQ(many[1].msg_len, 1U);
  Credentials first;
  Credentials second;
  mmsghdr received[2] = {{first.message, 0}, {second.message, 0}};
  EXPECT_EQ(call(ids, SYS_recvmmsg, in, at(received), 2, MSG_DONTWAIT), 2);
  EXPECT_EQ(first.pid(), kFar);
  EXPECT_EQ(second.pid(), kFar);
  close(ends[0]);
  close(ends[1]);
}

void test_read(TestTable& ids) {
  EXPECT_TRUE(enter_pair(*ids, kFar, static_cast<std::uint32_t>(getpid())));
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, &before);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK);
  const auto descriptor = static_cast<std::uint64_t>(fd);
  signalfd_siginfo records[2]{};
  char* bytes = reinterpret_cast<char*>(records);
  kill(getpid(), SIGUSR1);
  EXPECT_EQ(call(ids, SYS_read, descriptor, at(bytes), sizeof records), 128);
  EXPECT_EQ(records[0].ssi_pid, kFar);
  for (const std::size_t cut : {128U, 14U, 16U, 5U}) {
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR2);
    const iovec pieces[3] = {{bytes, cut}, {bytes + cut, 100}, {bytes + cut + 100, 156 - cut}};
    EXPECT_EQ(call(ids, SYS_readv, descriptor, at(pieces), 3), 256);
    EXPECT_EQ(records[0].ssi_pid, kFar) << cut;
    EXPECT_EQ(records[1].ssi_pid, kFar) << cut;
    EXPECT_EQ(records[1].ssi_signo, static_cast<unsigned>(SIGUSR2)) << cut;
  }
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  records[0].ssi_pid = 5;
  EXPECT_EQ(write(ends[1], records, 128), 128);
  EXPECT_EQ(call(ids, SYS_read, static_cast<std::uint64_t>(ends[0]), at(bytes), 128), 128);
  EXPECT_EQ(records[0].ssi_pid, 5U);
  for (const int end : {ends[0], ends[1], fd}) close(end);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

std::set<std::string> listing(TestTable& ids, const char* path) {
  const int fd = open(path, O_RDONLY | O_DIRECTORY);
  std::set<std::string> names;
  char bytes[700];
  for (;;) {
    const std::int64_t used =
        call(ids, SYS_getdents64, static_cast<std::uint64_t>(fd), at(bytes), sizeof bytes);
    EXPECT_GE(used, 0);
    if (used <= 0) break;
    for (std::int64_t i = 0; i < used;) {
      std::uint16_t length = 0;
      std::memcpy(&length, bytes + i + 16, sizeof length);
      names.insert(bytes + i + 19);
      i += length;
    }
  }
  close(fd);
  return names;
}

void test_listing(TestTable& ids) {
  EXPECT_TRUE(enter_pair(*ids, kFar, static_cast<std::uint32_t>(getpid())));
  for (const char* path : {"/proc", "/proc/self/task"}) {
    const auto names = listing(ids, path);
    EXPECT_TRUE(names.contains(std::to_string(kFar))) << path;
    EXPECT_FALSE(names.contains(std::to_string(getpid()))) << path;
  }
  EXPECT_TRUE(listing(ids, "/proc").contains("self"));
}

void test_link(TestTable& ids) {
  EXPECT_TRUE(enter_pair(*ids, kFar, static_cast<std::uint32_t>(getpid())));
  const std::string id = std::to_string(kFar);
  const auto link = [&](const char* path) {
    char text[64]{};
    EXPECT_GT(call(ids, SYS_readlink, at(path), at(text), sizeof text), 0) << path;
    return std::string(text);
  };
  EXPECT_EQ(link("/proc/self"), id);
  EXPECT_EQ(link("/proc/thread-self"), id + "/task/" + id);
  const int fd = open("/proc/self/task", O_RDONLY);
  EXPECT_EQ(link(("/proc/self/fd/" + std::to_string(fd)).c_str()), "/proc/" + id + "/task");
  EXPECT_EQ(link(("/proc/" + id + "/fd/" + std::to_string(fd)).c_str()), "/proc/" + id + "/task");
  close(fd);
  const int proc = open("/proc", O_RDONLY);
  char text[64]{};
  EXPECT_GT(call(ids, SYS_readlinkat, static_cast<std::uint64_t>(proc), at("self"), at(text), 64),
            0);
  EXPECT_EQ(text, id);
  close(proc);
}

void test_priority(TestTable& ids) {
  constexpr std::uint64_t kLock = 6 | 128;
  constexpr std::uint64_t kUnlock = 7 | 128;
  constexpr std::uint64_t kTry = 8 | 128;
  EXPECT_TRUE(enter_pair(*ids, kFar, static_cast<std::uint32_t>(gettid())));
  std::uint32_t word = 0;
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kLock), 0);
  EXPECT_EQ(word, kFar);
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kLock), -EDEADLK);
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kUnlock), 0);
  EXPECT_EQ(word, 0U);
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kUnlock), -EPERM);
  word = 77;
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kTry), -EAGAIN);
  const timespec past{1, 0};
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kLock, 0, at(&past)), -ETIMEDOUT);
  EXPECT_EQ(word, 77U | 0x80000000U);
  word = 0x40000000;  // its owner has died
  EXPECT_EQ(call(ids, SYS_futex, at(&word), kTry), 0);
  EXPECT_EQ(word, kFar | 0x40000000U);
}

// Threads that exclude each other by a futex of this kind.
void test_exclusion(TestTable& ids) {
  std::uint32_t word = 0;
  int inside = 0;
  std::vector<std::thread> threads;
  std::atomic<std::uint32_t> next = kFar;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      EXPECT_TRUE(enter_pair(*ids, next++, static_cast<std::uint32_t>(gettid())));
      for (int i = 0; i < 2000; ++i) {
        EXPECT_EQ(call(ids, SYS_futex, at(&word), 6 | 128), 0);
        ++inside;
        EXPECT_EQ(call(ids, SYS_futex, at(&word), 7 | 128), 0);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(inside, 8000);
  EXPECT_EQ(word, 0U);
}

TEST(IdWrap, EverySpecialWay) {
  const std::pair<How, Case> cases[] = {
      {How::kWait, test_wait},         {How::kWait, test_group},
      {How::kSetsid, test_setsid},     {How::kEverybody, test_everybody},
      {How::kOwner, test_owner},       {How::kMessages, test_messages},
      {How::kRead, test_read},         {How::kListing, test_listing},
      {How::kLink, test_link},         {How::kPriority, test_priority},
      {How::kPriority, test_exclusion}};
  // Tested by programs that run under the agent, as they need it.
  std::set<How> tested{How::kColumns, How::kExec, How::kFork, How::kExit,
                       How::kEvent,   How::kPeek, How::kHole, How::kNothing};
  for (const auto& [how, body] : cases) {
    TestTable own;
    SCOPED_TRACE(static_cast<int>(how));
    body(own);
    tested.insert(how);
  }
  for (const IdCall& row : id_calls) EXPECT_TRUE(tested.contains(row.how)) << row.name;
}

}  // namespace
}  // namespace torpor::agent
