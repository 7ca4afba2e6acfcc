#include "image/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/directory_lock.h"
#include "image/generation_name.h"
#include "image/manifest_io.h"
#include "image/test_support.h"

namespace torpor::image {
namespace {

namespace fs = std::filesystem;
using base::ErrorCode;
using testing::TempDirectory;
using Generations = std::vector<std::uint64_t>;
using Names = std::vector<std::string>;

// A generation that is sound: a manifest and nothing else.
void make_generation(const Store& store, std::uint64_t generation) {
  fs::create_directories(store.path_of(generation));
  snapshot::Manifest manifest;
  manifest.set_format_version(format_version);
  testing::put(store.path_of(generation) / manifest_name, encode_manifest(manifest));
}

void damage(const Store& store, std::uint64_t generation) {
  testing::put(store.path_of(generation) / manifest_name, "rubbish");
}

TEST(Names, OfComputations) {
  for (const char* good : {"a", "job", "Job_1.2+x-y", "7", "_x"}) EXPECT_NO_THROW(check_name(good));
  for (const char* bad : {"", ".", "..", ".hidden", "-x", "a/b", "a b", "a@1", "\xc3\xa4"}) {
    EXPECT_EQ(testing::error_of([&] { check_name(bad); }), ErrorCode::usage) << bad;
  }
  EXPECT_NO_THROW(check_name(std::string(128, 'x')));
  EXPECT_EQ(testing::error_of([] { check_name(std::string(129, 'x')); }), ErrorCode::usage);
}

TEST(Names, OfGenerations) {
  EXPECT_EQ(parse_generation("1"), 1U);
  EXPECT_EQ(parse_generation("999999999999999999"), 999999999999999999U);
  for (const char* bad : {"", "0", "01", "1a", "-1", "+1", " 1", "9999999999999999999", ".7"}) {
    EXPECT_FALSE(parse_generation(bad)) << bad;
  }
  EXPECT_EQ(parse_hidden(".partial-12-345"), 12U);
  EXPECT_EQ(parse_hidden(".removing-7-345-1"), 7U);
  EXPECT_EQ(parse_hidden(partial_name(5)), 5U);
  EXPECT_EQ(parse_hidden(removing_name(5)), 5U);
  for (const char* bad : {".partial-", ".partial-x-1", "partial-1-1", "5", ".other-1-1"}) {
    EXPECT_FALSE(parse_hidden(bad)) << bad;
  }
}

TEST(Store, NothingThereIsNothingFound) {
  const TempDirectory directory;
  EXPECT_TRUE(computations(directory.path() / "none").empty());
  const Store store(directory.path() / "none", "job");
  EXPECT_TRUE(store.generations().empty());
  EXPECT_FALSE(store.latest());
  EXPECT_EQ(store.next_generation(), 1U);
  EXPECT_FALSE(fs::exists(directory.path() / "none"));
}

TEST(Store, ListsNumbersInOrderAndNothingElse) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  for (const std::uint64_t generation : {10, 9, 100}) make_generation(store, generation);
  fs::create_directories(store.path() / ".partial-200-1");
  fs::create_directories(store.path() / "notes");
  testing::put(store.path() / "300", "a file");
  fs::create_directories(directory.path() / "empty");
  make_generation(Store(directory.path(), "another"), 1);
  EXPECT_EQ(store.generations(), (Generations{9, 10, 100}));
  EXPECT_EQ(store.latest(), 100U);
  EXPECT_EQ(store.next_generation(), 201U);
  EXPECT_EQ(computations(directory.path()), (Names{"another", "job"}));
}

TEST(Store, KeepsTheLatest) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  for (const std::uint64_t generation : {1, 2, 3, 4}) make_generation(store, generation);
  EXPECT_EQ(store.keep_latest(5), Generations{});
  EXPECT_EQ(store.keep_latest(2), (Generations{2, 1}));
  EXPECT_EQ(store.generations(), (Generations{3, 4}));
  EXPECT_EQ(testing::error_of([&] { store.keep_latest(0); }), ErrorCode::usage);
  EXPECT_EQ(std::distance(fs::directory_iterator(store.path()), {}), 2);
}

TEST(Store, LastGoodOneStaysWhenNewerOnesAreDamaged) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  for (const std::uint64_t generation : {1, 2, 3, 4}) make_generation(store, generation);
  damage(store, 4);
  damage(store, 3);
  EXPECT_EQ(store.keep_latest(1), Generations{1});
  EXPECT_EQ(store.generations(), (Generations{2, 3, 4}));
  damage(store, 2);
  EXPECT_EQ(store.keep_latest(1), Generations{});  // none is good: none goes
  EXPECT_EQ(store.generations(), (Generations{2, 3, 4}));
}

TEST(Store, WhatIsBeingReadStays) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  for (const std::uint64_t generation : {1, 2, 3}) make_generation(store, generation);
  {
    const DirectoryLock reader = DirectoryLock::shared(store.path_of(1));
    EXPECT_EQ(store.keep_latest(1), Generations{2});
    EXPECT_FALSE(store.remove(1));
    EXPECT_EQ(store.generations(), (Generations{1, 3}));
  }
  EXPECT_TRUE(store.remove(1));
  EXPECT_EQ(testing::error_of([&] { store.remove(1); }), ErrorCode::not_found);
}

TEST(Store, LeftoversOfTheDeadGoAndThoseOfTheLivingStay) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  make_generation(store, 1);
  for (const char* name : {".partial-2-4711", ".removing-1-4711", ".partial-3-1"}) {
    fs::create_directories(store.path() / name);
    testing::put(store.path() / name / "100.core", "half");
  }
  const auto writer = DirectoryLock::try_exclusive(store.path() / ".partial-3-1");
  ASSERT_TRUE(writer);
  EXPECT_EQ(store.remove_leftovers(), 2U);
  EXPECT_TRUE(fs::exists(store.path() / ".partial-3-1/100.core"));
  EXPECT_EQ(store.generations(), Generations{1});
  EXPECT_EQ(std::distance(fs::directory_iterator(store.path()), {}), 2);
}

TEST(Store, RemovalThatWasInterruptedIsNoObstacle) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  make_generation(store, 1);
  make_generation(store, 2);
  fs::create_directories(store.path() / removing_name(1) / "x");  // by an earlier process, our pid
  EXPECT_EQ(store.keep_latest(1), Generations{1});
  EXPECT_EQ(store.remove_leftovers(), 1U);
  EXPECT_EQ(std::distance(fs::directory_iterator(store.path()), {}), 1);
}

TEST(Store, DirectoriesAreTheUsersAlone) {
  const TempDirectory directory;
  const Store store(directory.path() / "a/b", "job");
  store.create_directory();
  for (const fs::path& path : {directory.path() / "a", directory.path() / "a/b", store.path()}) {
    EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all) << path;
  }
}

TEST(DirectoryLock, ReadersShareAndExcludeWriters) {
  const TempDirectory directory;
  const DirectoryLock one = DirectoryLock::shared(directory.path());
  const DirectoryLock two = DirectoryLock::shared(directory.path());
  EXPECT_FALSE(DirectoryLock::try_exclusive(directory.path()));
}

TEST(DirectoryLock, WriterExcludesReadersUntilItShares) {
  const TempDirectory directory;
  auto writer = DirectoryLock::try_exclusive(directory.path());
  ASSERT_TRUE(writer);
  EXPECT_EQ(testing::error_of([&] {
              (void)DirectoryLock::shared(directory.path(), std::chrono::milliseconds(30));
            }),
            ErrorCode::conflict);
  writer->share();
  EXPECT_NO_THROW((void)DirectoryLock::shared(directory.path()));
  EXPECT_FALSE(DirectoryLock::try_exclusive(directory.path()));
}

TEST(DirectoryLock, MissingDirectory) {
  const TempDirectory directory;
  EXPECT_FALSE(DirectoryLock::try_exclusive(directory.path() / "none"));
  EXPECT_EQ(testing::error_of([&] { (void)DirectoryLock::shared(directory.path() / "none"); }),
            ErrorCode::not_found);
}

}  // namespace
}  // namespace torpor::image
