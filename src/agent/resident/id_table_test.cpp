#include "agent/resident/id_table.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "agent/resident/own_table_test.h"

namespace torpor::agent {
namespace {

bool nobody_else(std::uint32_t /*id*/) { return false; }
bool everybody(std::uint32_t /*id*/) { return true; }

TEST(IdTable, LeavesIdsOfOthersAsTheyAre) {
  const TestTable ids;
  EXPECT_EQ(current_of(*ids, 4711), 4711U);
  EXPECT_EQ(original_of(*ids, 4711), 4711U);
  EXPECT_EQ(current_of(*ids, 0), 0U);
  EXPECT_EQ(original_of(*ids, 0x7fffffff), 0x7fffffffU);
}

TEST(IdTable, TranslatesBothWays) {
  const TestTable ids({{100, 2000}});
  EXPECT_EQ(current_of(*ids, 100), 2000U);
  EXPECT_EQ(original_of(*ids, 2000), 100U);
}

TEST(IdTable, ACurrentIdIsNobodyToTheProgramAndAnOriginalOneNobodyToTheKernel) {
  const TestTable ids({{100, 2000}});
  EXPECT_EQ(current_of(*ids, 2000), kNobody);
  EXPECT_EQ(original_of(*ids, 100), kOutside);
}

TEST(IdTable, IdsMayBeExchanged) {
  const TestTable ids({{100, 200}, {200, 300}, {300, 100}});
  for (const std::uint32_t id : {100U, 200U, 300U}) {
    EXPECT_EQ(original_of(*ids, current_of(*ids, id)), id);
    EXPECT_NE(current_of(*ids, id), id);
  }
}

TEST(IdTable, RefusesASecondPairOfEither) {
  TestTable ids({{100, 200}});
  EXPECT_FALSE(enter_pair(*ids, 100, 201));
  EXPECT_FALSE(enter_pair(*ids, 101, 200));
  EXPECT_FALSE(enter_pair(*ids, 0, 201));
  EXPECT_FALSE(enter_pair(*ids, kIdLimit, 201));
  EXPECT_EQ(current_of(*ids, 100), 200U);
  EXPECT_EQ(current_of(*ids, 101), 101U);
}

TEST(IdTable, AChildKeepsItsIdIfNobodyIsKnownByIt) {
  TestTable ids({{100, 200}});
  EXPECT_EQ(adopt_child(*ids, 500, draw_ticket(*ids), nobody_else), 500U);
  EXPECT_NE(pair_of_current(*ids, 500), 0U);
}

TEST(IdTable, AChildWhoseIdIsKnownGetsAnother) {
  TestTable ids({{100, 200}});
  const std::uint32_t child = adopt_child(*ids, 100, draw_ticket(*ids), nobody_else);
  EXPECT_NE(child, 100U);
  EXPECT_EQ(current_of(*ids, child), 100U);
  EXPECT_EQ(original_of(*ids, 100), child);
  EXPECT_EQ(current_of(*ids, 100), 200U);
}

TEST(IdTable, ParentAndChildAgree) {
  TestTable ids({{100, 200}});
  const std::uint32_t ticket = draw_ticket(*ids);
  const std::uint32_t child = adopt_child(*ids, 100, ticket, nobody_else);
  EXPECT_EQ(adopt_child(*ids, 100, ticket, nobody_else), child);
}

TEST(IdTable, AnIdThatIsGivenAgainIsAnotherChild) {
  TestTable ids({{100, 200}});
  const std::uint32_t first = adopt_child(*ids, 100, draw_ticket(*ids), nobody_else);
  const std::uint32_t second = adopt_child(*ids, 100, draw_ticket(*ids), nobody_else);
  EXPECT_NE(first, second);
  EXPECT_EQ(current_of(*ids, first), first);
  EXPECT_EQ(current_of(*ids, second), 100U);
}

TEST(IdTable, AParentThatComesLateTakesNothingFromAYoungerChild) {
  TestTable ids({{100, 200}});
  const std::uint32_t old_ticket = draw_ticket(*ids);
  const std::uint32_t young = adopt_child(*ids, 100, draw_ticket(*ids), nobody_else);
  adopt_child(*ids, 100, old_ticket, nobody_else);
  EXPECT_EQ(current_of(*ids, young), 100U);
}

TEST(IdTable, NeverGivesAnIdThatIsInUse) {
  TestTable ids({{100, 200}});
  const IdInUse only_one_free = [](std::uint32_t id) { return id != 31234; };
  EXPECT_EQ(adopt_child(*ids, 100, draw_ticket(*ids), only_one_free), 31234U);
}

TEST(IdTable, SaysWhenNoIdIsLeft) {
  TestTable ids({{100, 200}});
  EXPECT_EQ(adopt_child(*ids, 100, draw_ticket(*ids), everybody), 0U);
  EXPECT_EQ(pair_of_current(*ids, 100), 0U);
}

TEST(IdTable, DropsOnlyWhatItWasAskedFor) {
  TestTable ids({{100, 200}});
  const IdWord old = pair_of_current(*ids, 200);
  drop_pair(*ids, 200, old);
  EXPECT_EQ(current_of(*ids, 100), 100U);
  ASSERT_TRUE(enter_pair(*ids, 101, 200));
  drop_pair(*ids, 200, old);
  EXPECT_EQ(current_of(*ids, 101), 200U);
}

TEST(IdTable, ASessionsLeaderCanBeDropped) {
  TestTable ids({{100, 200}});
  const IdWord before = pair_of_current(*ids, 200);
  mark_session(*ids, 200);
  EXPECT_EQ(current_of(*ids, 100), 200U);
  drop_pair(*ids, 200, before);
  EXPECT_EQ(current_of(*ids, 100), 100U);
}

TEST(IdTable, SweepsWhoIsGoneAndKeepsSessions) {
  TestTable ids({{100, 200}, {101, 201}, {102, 5000}});
  mark_session(*ids, 201);
  sweep_ids(*ids, [](std::uint32_t id) { return id == 5000; });
  EXPECT_EQ(current_of(*ids, 100), 100U);
  EXPECT_EQ(current_of(*ids, 101), 201U);
  EXPECT_EQ(current_of(*ids, 102), 5000U);
}

TEST(IdTable, SweepsClaimsOfThoseWhoWereKilled) {
  TestTable ids({{100, 200}});
  ids->by_current[200] = 0;  // killed between the two stores of a drop
  EXPECT_EQ(current_of(*ids, 100), 100U);
  EXPECT_EQ(original_of(*ids, 100), 100U);
  EXPECT_EQ(adopt_child(*ids, 100, draw_ticket(*ids), [](std::uint32_t id) { return id < 31000; }),
            31999U);
  sweep_ids(*ids, [](std::uint32_t id) { return id == 100; });
  EXPECT_EQ(ids->by_original[100], 0U);
}

TEST(IdTable, WalksThroughAllThatHaveAnEntry) {
  const TestTable ids({{1, 4000000}, {2, 511}, {3, 512}, {4, 513}});
  std::vector<std::uint32_t> seen;
  for (std::uint32_t id = next_current(*ids, 0); id != 0; id = next_current(*ids, id)) {
    seen.push_back(id);
  }
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{511, 512, 513, 4000000}));
}

TEST(IdTable, ItIsTimeToSweepOnceInSoManyBirths) {
  TestTable ids;
  std::uint32_t times = 0;
  for (std::uint32_t i = 0; i < 3 * kBirthsBetweenSweeps; ++i) times += is_time_to_sweep(*ids);
  EXPECT_EQ(times, 3U);
}

// A kernel of our own: gives ids in turn, takes them back. Against a map that is obviously right.
TEST(IdTable, AgreesWithAMapThroughALongLife) {
  TestTable ids;
  std::mt19937 engine(7);
  const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
  std::map<std::uint32_t, std::uint32_t> current;  // of original
  std::set<std::uint32_t> running;
  for (std::uint32_t id = 1000; id < 1200; ++id) {
    ASSERT_TRUE(enter_pair(*ids, id, id + 50));
    current[id] = id + 50;
    running.insert(id + 50);
  }
  for (int step = 0; step < 20000; ++step) {
    const std::uint32_t next = 1000 + random() % 400;
    if (running.insert(next).second) {
      const std::uint32_t original = adopt_child(*ids, next, draw_ticket(*ids), nobody_else);
      ASSERT_TRUE(current.emplace(original, next).second) << original;
    } else {
      const std::uint32_t original = original_of(*ids, next);
      ASSERT_EQ(current.at(original), next);
      drop_pair(*ids, next, pair_of_current(*ids, next));
      current.erase(original);
      running.erase(next);
    }
    const std::uint32_t asked = 1000 + random() % 400;
    const auto known = current.find(asked);
    const std::uint32_t expected = known != current.end()    ? known->second
                                   : running.contains(asked) ? kNobody
                                                             : asked;
    ASSERT_EQ(current_of(*ids, asked), expected);
  }
}

// Parents and children adopt at once; each child's pair has to be one and the same for both, and no
// original is ever given to two.
TEST(IdTable, ThreadsAgree) {
  constexpr std::uint32_t kChildren = 20000;
  TestTable ids;
  for (std::uint32_t id = 0; id < kChildren; id += 2)
    ASSERT_TRUE(enter_pair(*ids, 1000 + id, 60000 + id));
  std::vector<std::uint32_t> seen[2];
  std::vector<std::uint32_t> tickets(kChildren);
  for (auto& ticket : tickets) ticket = draw_ticket(*ids);
  auto adopt_all = [&](std::vector<std::uint32_t>& mine) {
    for (std::uint32_t i = 0; i < kChildren; ++i) {
      mine.push_back(adopt_child(*ids, 1000 + i, tickets[i], nobody_else));
    }
  };
  std::thread parent(adopt_all, std::ref(seen[0]));
  std::thread child(adopt_all, std::ref(seen[1]));
  parent.join();
  child.join();
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(std::set<std::uint32_t>(seen[0].begin(), seen[0].end()).size(), kChildren);
}

// Readers while others come and go: an original leads to its own current id, or to nobody of ours.
TEST(IdTable, ReadersNeverSeeSomebodyElse) {
  TestTable ids({{100, 200}});
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 200000; ++i) {
      drop_pair(*ids, 200, pair_of_current(*ids, 200));
      enter_pair(*ids, 100 + static_cast<std::uint32_t>(i % 2), 200);
    }
    stop = true;
  });
  while (!stop) {
    const std::uint32_t current = current_of(*ids, 100);
    ASSERT_TRUE(current == 200 || current == 100) << current;
    const std::uint32_t original = original_of(*ids, 200);
    ASSERT_TRUE(original == 100 || original == 101 || original == 200) << original;
  }
  writer.join();
}

// Processes that adopt and drop over and over are killed at any instruction.
TEST(IdTable, SurvivesWritersThatAreKilled) {
  TestTable ids({{100, 200}});
  for (int round = 0; round < 60; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      for (std::uint32_t i = 0;; ++i) {
        const std::uint32_t id = 100 + i % 50;
        adopt_child(*ids, id, draw_ticket(*ids), nobody_else);
        drop_pair(*ids, id, pair_of_current(*ids, id));
      }
    }
    usleep(static_cast<useconds_t>(500 + 37 * round));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    std::set<std::uint32_t> originals;
    for (std::uint32_t id = 100; id < 150; ++id) {
      const std::uint32_t original = adopt_child(*ids, id, draw_ticket(*ids), nobody_else);
      ASSERT_TRUE(originals.insert(original).second);
      ASSERT_EQ(current_of(*ids, original), id);
    }
    ASSERT_EQ(current_of(*ids, 100), 200U);
  }
}

}  // namespace
}  // namespace torpor::agent
