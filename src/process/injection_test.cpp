#include "process/injection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "process/proc_fdinfo.h"
#include "process/proc_stat.h"
#include "process/proc_test_support.h"
#include "process/proc_tree.h"

namespace torpor::process {
namespace {

using Reach = InjectedAgent::Reach;

// With the agent's socket taken, and with the agent calling us.
class Injection : public testing::TestWithParam<Reach> {
 protected:
  // Everything that the agent could leave behind.
  struct Traces {
    std::vector<int> descriptors;
    std::size_t threads = 0;
    bool operator==(const Traces&) const = default;
  };
  static Traces traces_of(pid_t pid) {
    return {.descriptors = list_fds(pid), .threads = list_threads(pid).size()};
  }

  static StoppedTree stop(pid_t pid) {
    return StoppedTree::stop({.root = pid, .reaper = 0, .not_ours = {}}, 5000);
  }
};
INSTANTIATE_TEST_SUITE_P(Ways, Injection, testing::Values(Reach::automatic, Reach::called));

TEST_P(Injection, ServesAndLeavesNothing) {
  const TestChild child([] {});
  const Traces before = traces_of(child.pid());
  StoppedTree tree = stop(child.pid());
  const Registers registers = tree.processes().front().threads.front().registers();
  for (int i = 0; i < 3; ++i) {
    const auto agent = InjectedAgent::enter(tree.processes().front(), GetParam());
    EXPECT_EQ(agent->client().call(SYS_getpid, {}, "ask"), child.pid());
    EXPECT_EQ(list_fds(child.pid()), before.descriptors);
    agent->leave();
    EXPECT_EQ(traces_of(child.pid()), before);
  }
  const Registers after = tree.processes().front().threads.front().registers();
  EXPECT_EQ(std::memcmp(&registers, &after, sizeof(after)), 0);
}

TEST_P(Injection, PassesDescriptors) {
  TestDirectory directory;
  const base::UniqueFd file = directory.create("file", 7);
  const TestChild child([] {});  // has it too
  StoppedTree tree = stop(child.pid());
  const auto agent = InjectedAgent::enter(tree.processes().front(), GetParam());
  const base::UniqueFd taken = agent->client().take_fd(file.get());
  EXPECT_EQ(::lseek(taken.get(), 0, SEEK_END), 7);
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 7);  // the same description
}

TEST_P(Injection, IntoAGroupStop) {
  const TestChild child([] {});
  ::kill(child.pid(), SIGSTOP);
  while (read_stat(child.pid()).state != 'T') ::usleep(1000);
  const Traces before = traces_of(child.pid());
  {
    StoppedTree tree = stop(child.pid());
    const auto agent = InjectedAgent::enter(tree.processes().front(), GetParam());
    EXPECT_EQ(agent->client().call(SYS_getpid, {}, "ask"), child.pid());
    agent->leave();
    tree.release();
  }
  EXPECT_EQ(read_stat(child.pid()).state, 'T');
  EXPECT_EQ(traces_of(child.pid()), before);
}

}  // namespace
}  // namespace torpor::process
