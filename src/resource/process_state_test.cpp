#include "resource/process_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "resource/held_child.h"
#include "resource/seccomp.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_process_state(child.held(), process);
  return process;
}

// Something of every kind.
void make_unusual() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGRTMIN);
  ::sigaddset(&set, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::sigqueue(::getpid(), SIGRTMIN, {.sival_int = 1});
  ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGUSR1);
  ::signal(SIGHUP, SIG_IGN);
  ::prctl(PR_SET_NAME, "unusual");
  ::prctl(PR_SET_TIMERSLACK, 99999);
  ::umask(0123);
  ::setpriority(PRIO_PROCESS, 0, 3);
  const rlimit limit{100, 100};
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const itimerval alarm{{0, 0}, {5000, 0}};
  ::setitimer(ITIMER_REAL, &alarm, nullptr);
  timer_t timer = nullptr;
  ::timer_create(CLOCK_MONOTONIC, nullptr, &timer);
}

void forget_differences(snapshot::Process& process) {
  process.mutable_interval_timers(0)->set_remaining_us(1000000000);
  snapshot::Thread& thread = *process.mutable_threads(0);
  // Children of one parent have the C library's registration from birth.
  thread.clear_rseq();
  thread.set_clear_child_tid(0);
}

// Everything that a restart does in a process with one thread, in its order.
TEST(ProcessState, RoundTrip) {
  const TestChild child([] { make_unusual(); });
  const TestChild bare([] {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
  });
  snapshot::Process saved;
  {
    HeldChild held(child.pid());
    saved = captured(held);
  }
  forget_differences(saved);
  saved.set_pid(bare.pid());
  saved.mutable_threads(0)->set_tid(bare.pid());
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  restore_process_early(calls, saved);
  restore_process_late(calls, saved);
  restore_queued(held.agent(), saved);
  restore_thread(calls, saved.threads(0), saved);
  restore_privileges(calls, saved.threads(0), saved, present_credentials(bare.pid()));
  restore_seccomp(calls, saved);
  snapshot::Process again = captured(held);
  forget_differences(again);
  EXPECT_EQ(difference(saved, again), "");
}

// The program must not notice that its threads were asked.
TEST(ProcessState, CaptureIsNotNoticed) {
  struct Shared {
    std::atomic<int> wrong{0};
    std::atomic<int> rounds{0};
  };
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* shared = new (memory) Shared;
  const TestChild child([&](const TestChild::Ready& ready) {
    const auto work = [&] {
      for (;;) {
        const timespec nap{0, 1000000};
        if (::clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr) != 0) ++shared->wrong;
        if (::poll(nullptr, 0, 1) != 0) ++shared->wrong;
        ++shared->rounds;
      }
    };
    std::thread(work).detach();
    std::thread([&] {
      volatile double sum = 0;
      for (;;) {
        double terms = 0;
        for (int i = 1; i < 1000; ++i) terms += 1.0 / i;
        if (sum != 0 && sum != terms) ++shared->wrong;
        sum = terms;
      }
    }).detach();
    ready();
    work();
  });
  for (int i = 0; i < 20; ++i) {
    const int before = shared->rounds;
    {
      HeldChild held(child.pid());
      EXPECT_EQ(captured(held).threads_size(), 3);
    }
    while (shared->rounds < before + 4) ::usleep(1000);
  }
  EXPECT_EQ(shared->wrong, 0);
  ::munmap(memory, sizeof(Shared));
}

TEST(ProcessState, GroupStoppedProcess) {
  const TestChild child([] {});
  ::kill(child.pid(), SIGSTOP);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED | WNOWAIT);
  {
    HeldChild held(child.pid());
    EXPECT_EQ(captured(held).threads_size(), 1);
  }
  EXPECT_EQ(process::read_status(child.pid()).state, 'T');
}

TEST(ProcessState, LeaderThatHasExited) {
  const TestChild child([](const TestChild::Ready& ready) {
    static const TestChild::Ready* announce;
    announce = &ready;
    static const pthread_t leader = ::pthread_self();
    std::thread([] {
      ::pthread_join(leader, nullptr);
      ::prctl(PR_SET_NAME, "survivor");
      while (process::read_status(::getpid()).state != 'Z') ::usleep(100);
      (*announce)();
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);
  });
  HeldChild held(child.pid());
  ASSERT_TRUE(held.held().stopped->leader_dead);
  snapshot::Process process;
  process.set_pid(child.pid());
  snapshot::Thread& leader = *process.add_threads();
  leader.set_tid(child.pid());
  leader.set_dead(true);
  process.add_threads()->set_tid(held.leader().tid());
  capture_process_state(held.held(), process);
  EXPECT_EQ(process.threads(1).name(), "survivor");
  EXPECT_FALSE(process.context().working_directory().empty());
  EXPECT_EQ(process.credentials().uid(), ::getuid());
}

TEST(ProcessState, ModelWithoutItsThreadsIsABug) {
  const TestChild child([] {});
  HeldChild held(child.pid());
  snapshot::Process process;
  process::expect_error(base::ErrorCode::internal, "1 threads are held, 0 are in the model",
                        [&] { capture_process_state(held.held(), process); });
}

TEST(ProcessState, ManyThreads) {
  constexpr int kThreads = 200;
  const TestChild child([](const TestChild::Ready& ready) {
    for (int i = 1; i < kThreads; ++i) {
      std::thread([] {
        for (;;) ::pause();
      }).detach();
    }
    ready();
    for (;;) ::pause();
  });
  HeldChild held(child.pid());
  const auto began = std::chrono::steady_clock::now();
  const snapshot::Process process = captured(held);
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - began;
  RecordProperty("microseconds_per_thread", static_cast<int>(took.count() / kThreads));
  EXPECT_EQ(process.threads_size(), kThreads);
}

}  // namespace
}  // namespace torpor::resource
