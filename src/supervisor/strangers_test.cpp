#include "supervisor/strangers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

namespace torpor::supervisor {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Strangers, AreThereUntilTheyAreReaped) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  Strangers strangers;
  strangers.add(std::array{child});
  EXPECT_THAT(strangers.present(), ElementsAre(child));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_THAT(strangers.present(), IsEmpty());
  strangers.add(std::array{child});
  EXPECT_THAT(strangers.present(), IsEmpty());
}

}  // namespace
}  // namespace torpor::supervisor
