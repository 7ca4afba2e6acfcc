#include "process/proc_tree.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <thread>

#include "process/proc_stat.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

bool contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

TEST(ListThreads, ListsAllInOrder) {
  std::promise<pid_t> tid;
  std::promise<void> end;
  std::thread thread([&] {
    tid.set_value(::gettid());
    end.get_future().wait();
  });
  // The kernel's numbers begin anew at some time: a thread may have a lower one than its process.
  std::vector<pid_t> expected{::getpid(), tid.get_future().get()};
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(list_threads(::getpid()), expected);
  end.set_value();
  thread.join();
  expect_error(ErrorCode::program_gone, "is gone", [] { list_threads(ended_pid()); });
}

TEST(ChildrenOf, FindsLivingAndDeadOnes) {
  const TestChild living([] {});
  const TestChild dead([] { ::_exit(0); });
  wait_for_end(dead.pid());
  std::vector<pid_t> expected{living.pid(), dead.pid()};
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(children_of(::getpid()), expected);
  EXPECT_EQ(children_by_scan(::getpid()), expected);
  EXPECT_TRUE(children_of(living.pid()).empty());
  EXPECT_TRUE(children_of(dead.pid()).empty());
}

TEST(ChildrenOf, FindsThoseOfOtherThreads) {
  std::promise<pid_t> born;
  std::promise<void> end;
  std::thread thread([&] {
    const TestChild child([] {});
    born.set_value(child.pid());
    end.get_future().wait();
  });
  const std::vector<pid_t> expected{born.get_future().get()};
  EXPECT_EQ(children_of(::getpid()), expected);
  EXPECT_EQ(children_by_scan(::getpid()), expected);
  end.set_value();
  thread.join();
}

// A child that does this and never comes back.
template <typename Action>
void fork_child(const Action& action) {
  const pid_t parent = ::getpid();
  if (::fork() != 0) return;
  end_with_parent(parent);
  action();
  for (;;) ::pause();
}

// Forks a chain of processes, each the child of the one before, and two leaves below each.
void grow(int depth, const TestChild::Ready& ready) {
  for (int leaf = 0; leaf < 2; ++leaf) fork_child([] {});
  if (depth == 0) return ready();
  fork_child([&] { grow(depth - 1, ready); });
  for (;;) ::pause();
}

TEST(DescendantsOf, ListsParentsBeforeChildren) {
  const TestChild root([](const TestChild::Ready& ready) { grow(3, ready); });
  for (const auto& found : {descendants_of(root.pid()), descendants_by_scan(root.pid())}) {
    EXPECT_EQ(found.size(), 11u);
    std::vector<pid_t> seen{root.pid()};
    for (const pid_t pid : found) {
      EXPECT_TRUE(contains(seen, read_stat(pid).ppid)) << pid;
      EXPECT_FALSE(contains(seen, pid)) << pid;
      seen.push_back(pid);
    }
  }
}

TEST(DescendantsOf, RefusesARootThatIsNotThere) {
  const pid_t pid = ended_pid();
  for (const auto& ask : {children_of, descendants_of, children_by_scan, descendants_by_scan}) {
    expect_error(ErrorCode::program_gone, std::to_string(pid), [&] { ask(pid); });
  }
}

// Forks and waits without pause, two levels deep.
[[noreturn]] void churn() {
  for (;;) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::fork() == 0) ::_exit(0);
      ::waitpid(-1, nullptr, 0);
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
  }
}

TEST(DescendantsOf, ToleratesThoseThatVanish) {
  const TestChild root([](const TestChild::Ready& ready) {
    ready();
    churn();
  });
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  std::size_t met = 0;
  while (std::chrono::steady_clock::now() < end) {
    met += descendants_of(root.pid()).size();
    met += descendants_by_scan(root.pid()).size();
  }
  EXPECT_GT(met, 0u);
}

}  // namespace
}  // namespace torpor::process
