#include "resource/signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstring>

#include "resource/held_child.h"

namespace torpor::resource {
namespace {

using process::expect_error;

std::uint64_t mask_of(std::initializer_list<int> signals) {
  std::uint64_t mask = 0;
  for (const int signal : signals) mask |= std::uint64_t{1} << (signal - 1);
  return mask;
}

void block(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

void handler(int) {}

void set_actions() {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART | SA_ONSTACK | SA_NODEFER;
  ::sigaddset(&action.sa_mask, SIGHUP);
  ::sigaddset(&action.sa_mask, SIGRTMAX);
  ::sigaction(SIGUSR1, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

void set_alternate_stack() {
  constexpr std::size_t kSize = 65536;
  stack_t stack{};
  stack.ss_sp = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack.ss_size = kSize;
  stack.ss_flags = static_cast<int>(1U << 31);  // SS_AUTODISARM
  ::sigaltstack(&stack, nullptr);
}

void queue_signals() {
  block({SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMIN + 1});
  ::kill(::getpid(), SIGTERM);
  for (int i = 1; i <= 3; ++i) ::sigqueue(::getpid(), SIGRTMIN + (i & 1), {.sival_int = i});
  ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGUSR2);
}

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_signals(child.held(), process);
  return process;
}

int number_of(const snapshot::Signal& signal) {
  siginfo_t info{};
  std::memcpy(&info, signal.info().data(), sizeof(info));
  return info.si_signo;
}

TEST(Signals, ActionsAreCaptured) {
  const TestChild child([] { set_actions(); });
  HeldChild held(child.pid());
  const snapshot::Process process = captured(held);
  ASSERT_EQ(process.actions_size(), 64);
  const snapshot::SignalAction& user = process.actions(SIGUSR1 - 1);
  EXPECT_EQ(user.handler(), reinterpret_cast<std::uint64_t>(&handler));
  EXPECT_EQ(user.flags() & 0xffffffffU & ~0x04000000U /* SA_RESTORER */,
            static_cast<std::uint64_t>(SA_RESTART | SA_ONSTACK | SA_NODEFER));
  EXPECT_EQ(user.mask(), mask_of({SIGHUP, SIGRTMAX}));
  EXPECT_NE(user.restorer(), 0U);
  EXPECT_EQ(process.actions(SIGPIPE - 1).handler(), 1U);  // SIG_IGN
  EXPECT_EQ(process.actions(SIGINT - 1).handler(), 0U);
}

TEST(Signals, QueuesAreCapturedInOrderAndByWhomTheyAreFor) {
  const TestChild child([] { queue_signals(); });
  HeldChild held(child.pid());
  const snapshot::Process process = captured(held);
  std::vector<int> shared;
  for (const snapshot::Signal& signal : process.pending()) shared.push_back(number_of(signal));
  EXPECT_THAT(shared, testing::ElementsAre(SIGTERM, SIGRTMIN + 1, SIGRTMIN, SIGRTMIN + 1));
  ASSERT_EQ(process.threads(0).pending_size(), 1);
  EXPECT_EQ(number_of(process.threads(0).pending(0)), SIGUSR2);
  EXPECT_FALSE(has_queued_stop(process));
}

TEST(Signals, RoundTrip) {
  const TestChild child([] {
    set_actions();
    set_alternate_stack();
    queue_signals();
  });
  const TestChild bare([] { block({SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMIN + 1}); });
  snapshot::Process saved;
  {
    HeldChild held(child.pid());
    saved = captured(held);
  }
  HeldChild held(bare.pid());
  saved.set_pid(bare.pid());
  saved.mutable_threads(0)->set_tid(bare.pid());
  LeaderCalls calls(held);
  restore_actions(calls, saved);
  restore_thread_signals(calls, saved.threads(0), saved);
  // By the leader, as rt_sigqueueinfo(2) demands; a batch would be made by the agent's thread.
  for (const snapshot::Signal& signal : saved.pending()) {
    calls.call(SYS_rt_sigqueueinfo,
               {bare.pid(), number_of(signal), calls.data(std::as_bytes(std::span(signal.info())))},
               "queue");
  }
  EXPECT_EQ(difference(saved, captured(held)), "");
}

// A handler that is running on the alternate stack must not make it unusable.
TEST(Signals, AlternateStackThatIsInUse) {
  const TestChild child([](const TestChild::Ready& ready) {
    set_alternate_stack();
    stack_t stack{};
    ::sigaltstack(nullptr, &stack);
    stack.ss_flags = 0;
    ::sigaltstack(&stack, nullptr);
    static const TestChild::Ready* announce;
    announce = &ready;
    struct sigaction action {};
    action.sa_handler = [](int) {
      (*announce)();
      for (;;) ::pause();
    };
    action.sa_flags = SA_ONSTACK;
    ::sigaction(SIGUSR1, &action, nullptr);
    ::raise(SIGUSR1);
  });
  const TestChild bare([] {});
  snapshot::Process saved;
  {
    HeldChild held(child.pid());
    saved = captured(held);
  }
  const snapshot::AlternateStack& stack = saved.threads(0).alternate_stack();
  EXPECT_EQ(stack.flags(), static_cast<std::uint32_t>(SS_ONSTACK));
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  snapshot::Thread thread;
  *thread.mutable_alternate_stack() = stack;
  restore_thread_signals(calls, thread, saved);
  const snapshot::AlternateStack again = captured(held).threads(0).alternate_stack();
  EXPECT_EQ(again.address(), stack.address());
  EXPECT_EQ(again.size(), stack.size());
  EXPECT_EQ(again.flags(), 0U);
}

// The process itself takes them out again, in the order in which they came.
TEST(Signals, QueueIsDeliveredInOrder) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const base::UniqueFd reader(ends[0]);
  const base::UniqueFd writer(ends[1]);
  const TestChild child([&] {
    block({SIGRTMIN});
    for (int i = 0; i < 5; ++i) ::sigqueue(::getpid(), SIGRTMIN, {.sival_int = i * i});
  });
  const TestChild bare([&](const TestChild::Ready& ready) {
    block({SIGRTMIN});
    ready();
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGRTMIN);
    for (;;) {
      siginfo_t info{};
      if (::sigwaitinfo(&set, &info) != SIGRTMIN) continue;
      if (::write(writer.get(), &info.si_value.sival_int, sizeof(int)) < 0) ::_exit(1);
    }
  });
  snapshot::Process saved;
  {
    HeldChild held(child.pid());
    saved = captured(held);
  }
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  for (const snapshot::Signal& signal : saved.pending()) {
    *saved.mutable_threads(0)->add_pending() = signal;
  }
  saved.set_pid(bare.pid());
  saved.mutable_threads(0)->set_tid(bare.pid());
  restore_thread_signals(calls, saved.threads(0), saved);
  held.release();
  for (int i = 0; i < 5; ++i) {
    int value = -1;
    ASSERT_EQ(::read(reader.get(), &value, sizeof(value)), static_cast<ssize_t>(sizeof(value)));
    EXPECT_EQ(value, i * i);
  }
}

// More than fit in one message to the agent.
TEST(Signals, ManyQueuedSignals) {
  const TestChild bare([] { block({SIGRTMIN}); });
  HeldChild held(bare.pid());
  snapshot::Process saved = held.model();
  siginfo_t info{};
  info.si_signo = SIGRTMIN;
  info.si_code = SI_QUEUE;
  constexpr int kMany = 700;
  for (int i = 0; i < kMany; ++i) {
    info.si_value.sival_int = i;
    saved.add_pending()->set_info(&info, sizeof(info));
  }
  restore_queued_signals(held.agent(), saved);
  const snapshot::Process again = captured(held);
  ASSERT_EQ(again.pending_size(), kMany);
  for (int i = 0; i < kMany; ++i) EXPECT_EQ(again.pending(i).info(), saved.pending(i).info());
}

snapshot::Process with_pending(const std::string& info) {
  snapshot::Process process;
  process.add_pending()->set_info(info);
  return process;
}

TEST(Signals, QueuedStopIsKeptApart) {
  siginfo_t info{};
  info.si_signo = SIGSTOP;
  const snapshot::Process process =
      with_pending({reinterpret_cast<const char*>(&info), sizeof(info)});
  EXPECT_TRUE(has_queued_stop(process));
  const TestChild bare([] {});
  HeldChild held(bare.pid());
  restore_queued_signals(held.agent(), process);
  EXPECT_EQ(captured(held).pending_size(), 0);
}

TEST(Signals, DamagedSignalIsABadImage) {
  expect_error(base::ErrorCode::bad_image, "no usable description",
               [] { has_queued_stop(with_pending("short")); });
  siginfo_t info{};
  info.si_signo = 65;
  expect_error(base::ErrorCode::bad_image, "number 65", [&] {
    has_queued_stop(with_pending({reinterpret_cast<const char*>(&info), sizeof(info)}));
  });
}

}  // namespace
}  // namespace torpor::resource
