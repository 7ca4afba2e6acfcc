#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <functional>

#include "process/proc_status.h"
#include "resource/descriptors_test_support.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using Body = std::function<void()>;

[[noreturn]] void wait_for_ever() {
  for (;;) ::pause();
}

int run(void* body) {
  (*static_cast<Body*>(body))();
  wait_for_ever();
}

// A child of the test's child; both live for ever.
pid_t clone_child(int flags, Body body) {
  auto* stack = new std::array<std::byte, 65536>;
  return ::clone(run, stack->data() + stack->size(), flags | SIGCHLD, new Body(std::move(body)));
}

std::vector<Obstacle> obstacles_of(const Program& child) {
  StoppedProgram program(child.pid());
  std::vector<process::HeldProcess*> processes;
  for (std::size_t i = 0; i < program.count(); ++i) processes.push_back(&program.held(i));
  std::vector<Obstacle> obstacles;
  check_stopped_sharing(processes, obstacles);
  return obstacles;
}

struct Case {
  const char* name;
  int flags;
  const char* reason;  // null: none
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class StoppedSharing : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Flags, StoppedSharing,
                         testing::Values(Case{"nothing", 0, nullptr},
                                         Case{"memory", CLONE_VM, "its memory"},
                                         Case{"directories", CLONE_FS, "its working directory"},
                                         // not to be seen; warned of by check_sharing()
                                         Case{"descriptors", CLONE_FILES, nullptr}));

TEST_P(StoppedSharing, IsFoundAndMasksStayAsTheyWere) {
  const Program child([&](const Program::Ready& ready) {
    ::umask(027);
    clone_child(GetParam().flags, ready);
    wait_for_ever();
  });
  const std::vector<Obstacle> obstacles = obstacles_of(child);
  EXPECT_EQ(obstacles.empty(), GetParam().reason == nullptr);
  for (const Obstacle& found : obstacles) {
    EXPECT_TRUE(found.fatal);
    EXPECT_NE(found.reason.find(GetParam().reason), std::string::npos) << found.reason;
  }
  EXPECT_EQ(process::read_status(child.pid()).umask, 027U);
}

TEST(StoppedSharing, OfMemoryByAgentsAtTheSamePlace) {
  const Program child([] {});
  StoppedProgram program(child.pid());
  const std::array<process::HeldProcess*, 2> twice{&program.held(), &program.held()};
  std::vector<Obstacle> obstacles;
  check_stopped_sharing(twice, obstacles);
  ASSERT_FALSE(obstacles.empty());
  EXPECT_NE(obstacles.front().reason.find("its memory"), std::string::npos);
}

TEST(StoppedSharing, ThreadWithDirectoriesOfItsOwn) {
  for (const bool own : {false, true}) {
    const Program child([&](const Program::Ready& ready) {
      constexpr int kThread = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES;
      auto* stack = new std::array<std::byte, 65536>;
      ::clone(run, stack->data() + stack->size(), kThread | (own ? 0 : CLONE_FS), new Body(ready));
      wait_for_ever();
    });
    const std::vector<Obstacle> obstacles = obstacles_of(child);
    ASSERT_EQ(obstacles.empty(), !own);
    if (!own) continue;
    EXPECT_NE(obstacles.front().what.find("thread"), std::string::npos);
  }
}

}  // namespace
}  // namespace torpor::resource
