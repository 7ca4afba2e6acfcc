#include "resource/thread_pointers.h"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/rseq.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>

#include <atomic>
#include <thread>

#include "resource/held_child.h"

namespace torpor::resource {
namespace {

constexpr std::uint32_t kSignature = 0x53053053;
constexpr int kThreads = 3;

// What a thread says about itself.
struct Facts {
  pid_t tid = 0;
  std::uint64_t robust_list = 0;
  std::uint64_t robust_length = 0;
  std::uint64_t clear_child_tid = 0;
};

struct Shared {
  Facts facts[kThreads];
  std::atomic<int> told{0};
};

Shared* shared_memory() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return new (memory) Shared;
}

void tell(Shared& shared) {
  Facts& facts = shared.facts[shared.told.fetch_add(1)];
  facts.tid = ::gettid();
  ::syscall(SYS_get_robust_list, 0, &facts.robust_list, &facts.robust_length);
  ::prctl(PR_GET_TID_ADDRESS, &facts.clear_child_tid);
}

snapshot::Process captured(HeldChild& child) {
  snapshot::Process process = child.model();
  capture_thread_pointers(child.held(), process);
  return process;
}

TEST(ThreadPointers, AreThoseThatTheThreadsKnow) {
  Shared* shared = shared_memory();
  const TestChild child([&](const TestChild::Ready& ready) {
    tell(*shared);
    for (int i = 1; i < kThreads; ++i) {
      std::thread([&] {
        tell(*shared);
        for (;;) ::pause();
      }).detach();
    }
    while (shared->told < kThreads) ::sched_yield();
    ::usleep(1000);  // the last one is still writing
    ready();
    for (;;) ::pause();
  });
  HeldChild held(child.pid());
  const snapshot::Process process = captured(held);
  ASSERT_EQ(process.threads_size(), kThreads);
  for (const Facts& facts : shared->facts) {
    bool found = false;
    for (const snapshot::Thread& thread : process.threads()) {
      if (thread.tid() != facts.tid) continue;
      found = true;
      EXPECT_EQ(thread.robust_list(), facts.robust_list);
      EXPECT_EQ(thread.robust_list_length(), facts.robust_length);
      EXPECT_EQ(thread.clear_child_tid(), facts.clear_child_tid);
      EXPECT_NE(thread.clear_child_tid(), 0U);
    }
    EXPECT_TRUE(found) << facts.tid;
  }
  ::munmap(shared, sizeof(Shared));
}

// In memory that both children have at the same address.
struct Area {
  alignas(32) struct ::rseq rseq {};
  robust_list_head robust{};
  int word = 0;
};

void leave_rseq() {
  // The C library has registered one (glibc 2.35).
  const auto* own = reinterpret_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset;
  if (__rseq_size == 0) return;
  if (::syscall(SYS_rseq, own, 32, RSEQ_FLAG_UNREGISTER, kSignature) != 0) ::_exit(1);
}

TEST(ThreadPointers, RoundTrip) {
  void* memory =
      ::mmap(nullptr, sizeof(Area), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* area = new (memory) Area;
  const TestChild child([&] {
    leave_rseq();
    if (::syscall(SYS_rseq, &area->rseq, sizeof(area->rseq), 0, kSignature) != 0) ::_exit(2);
    ::syscall(SYS_set_robust_list, &area->robust, sizeof(area->robust));
    ::syscall(SYS_set_tid_address, &area->word);
  });
  const TestChild bare([] { leave_rseq(); });
  snapshot::Process saved;
  {
    HeldChild held(child.pid());
    saved = captured(held);
  }
  const snapshot::Thread& thread = saved.threads(0);
  EXPECT_EQ(thread.rseq().address(), reinterpret_cast<std::uint64_t>(&area->rseq));
  EXPECT_EQ(thread.rseq().signature(), kSignature);
  EXPECT_EQ(thread.robust_list(), reinterpret_cast<std::uint64_t>(&area->robust));
  EXPECT_EQ(thread.clear_child_tid(), reinterpret_cast<std::uint64_t>(&area->word));
  HeldChild held(bare.pid());
  LeaderCalls calls(held);
  restore_thread_pointers(calls, thread);
  snapshot::Process again = captured(held);
  again.set_pid(saved.pid());
  again.mutable_threads(0)->set_tid(thread.tid());
  EXPECT_EQ(difference(saved, again), "");
  ::munmap(memory, sizeof(Area));
}

TEST(ThreadPointers, ThreadWithoutAny) {
  const TestChild child([] {
    leave_rseq();
    ::syscall(SYS_set_robust_list, nullptr, sizeof(robust_list_head));
    ::syscall(SYS_set_tid_address, nullptr);
  });
  HeldChild held(child.pid());
  const snapshot::Process saved = captured(held);
  EXPECT_FALSE(saved.threads(0).has_rseq());
  EXPECT_EQ(saved.threads(0).robust_list(), 0U);
  EXPECT_EQ(saved.threads(0).clear_child_tid(), 0U);
  RecordedCalls calls;
  restore_thread_pointers(calls, saved.threads(0));
  EXPECT_EQ(calls.numbers(), std::vector<std::int64_t>{SYS_set_tid_address});
}

}  // namespace
}  // namespace torpor::resource
