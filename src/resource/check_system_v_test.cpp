#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <unistd.h>

#include <array>

#include "resource/refusals.h"

namespace torpor::resource {
namespace {

std::vector<std::string> obstacles_of(pid_t pid) {
  std::vector<Obstacle> obstacles;
  const std::array<pid_t, 1> pids{pid};
  check_system_v(pids, obstacles);
  std::vector<std::string> all;
  for (const Obstacle& found : obstacles) all.push_back(found.what);
  return all;
}

TEST(CheckSystemV, SemaphoresThatWereUsed) {
  const int set = ::semget(IPC_PRIVATE, 2, 0600);
  ASSERT_GE(set, 0);
  const std::string name = "System V semaphore set " + std::to_string(set);
  EXPECT_THAT(obstacles_of(::getpid()), testing::Not(testing::Contains(name)));
  sembuf add{1, 1, 0};
  ASSERT_EQ(::semop(set, &add, 1), 0);
  EXPECT_THAT(obstacles_of(::getpid()), testing::Contains(name));
  EXPECT_THAT(obstacles_of(::getppid()), testing::Not(testing::Contains(name)));
  ::semctl(set, 0, IPC_RMID);
}

TEST(CheckSystemV, MessageQueuesThatWereUsed) {
  const int queue = ::msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(queue, 0);
  const std::string name = "System V message queue " + std::to_string(queue);
  EXPECT_THAT(obstacles_of(::getpid()), testing::Not(testing::Contains(name)));
  const long message[2] = {1, 0};
  ASSERT_EQ(::msgsnd(queue, message, sizeof(long), 0), 0);
  EXPECT_THAT(obstacles_of(::getpid()), testing::Contains(name));
  ::msgctl(queue, IPC_RMID, nullptr);
}

}  // namespace
}  // namespace torpor::resource
