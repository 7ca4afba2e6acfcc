#include "process/injection.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>

#include "process/descriptor_passing.h"
#include "process/proc_fdinfo.h"
#include "process/proc_stat.h"
#include "process/proc_test_support.h"
#include "process/proc_tree.h"
#include "process/remote_memory.h"

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
INSTANTIATE_TEST_SUITE_P(Ways, Injection, testing::Values(Reach::automatic, Reach::called),
                         [](const auto& info) {
                           return std::string(info.param == Reach::called ? "Called" : "Automatic");
                         });

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

// From now on the agent's thread, and it alone, is told that there is no clone3(2).
void take_clone3_from(AgentClient& agent) {
  std::array<sock_filter, 4> filter{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
                                     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                                     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  Batch batch(agent);
  struct {
    std::uint64_t length = std::tuple_size_v<decltype(filter)>;
    std::uint64_t instructions = 0;
  } program;
  program.instructions = batch.value(filter).address();
  batch.call(SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0}, "give up privileges");
  batch.call(SYS_seccomp, {SECCOMP_SET_MODE_FILTER, 0, batch.value(program)}, "filter");
  batch.run();
}

TEST(Snapshot, IsMadeWhereThereIsNoClone3) {
  static volatile int value;
  value = 5;
  const TestChild child([] {});
  StoppedTree tree = StoppedTree::stop({.root = child.pid(), .reaper = 0, .not_ours = {}}, 5000);
  const auto agent = InjectedAgent::enter(tree.processes().front());
  AgentClient& client = agent->client();
  take_clone3_from(client);
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  base::UniqueFd control(ends[0]);
  base::UniqueFd theirs(ends[1]);
  pass_credentials(control.get());
  const int number = client.give_fd_anywhere(theirs.get());
  theirs.reset();
  client.call(agent::kSnapshot, {number}, "copy");
  std::byte note{};
  const pid_t copy = receive_with_pid(control.get(), &note, sizeof(note), 10000);
  EXPECT_NE(copy, child.pid());
  const auto place = base::RemotePtr(reinterpret_cast<std::uint64_t>(&value));
  write_value(child.pid(), place, 6);
  EXPECT_EQ(read_value<int>(copy, place), 5);
  ::kill(copy, SIGKILL);
}

}  // namespace
}  // namespace torpor::process
