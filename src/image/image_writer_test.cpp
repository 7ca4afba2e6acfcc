#include "image/image_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>

#include "image/image_reader.h"
#include "image/test_support.h"
#include "image/verify.h"

namespace torpor::image {
namespace {

namespace fs = std::filesystem;
using base::ErrorCode;
using testing::TempDirectory;
using Generations = std::vector<std::uint64_t>;

void expect_sound(const fs::path& path) {
  base::Progress progress;
  EXPECT_NO_THROW(verify(Image::open(path), progress, VerifyDepth::everything));
}

TEST(ImageWriter, CommitsGenerationsOneAfterTheOther) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  EXPECT_EQ(testing::write_example_image(store), store.path_of(1));
  EXPECT_EQ(testing::write_example_image(store), store.path_of(2));
  EXPECT_EQ(store.generations(), (Generations{1, 2}));
  const Image image = Image::open(store.path_of(2));
  EXPECT_EQ(image.manifest().name(), "job");
  EXPECT_EQ(image.manifest().generation(), 2U);
  EXPECT_EQ(image.manifest().files_size(), 4);
  expect_sound(store.path_of(2));
}

TEST(ImageWriter, EverythingIsTheUsersAlone) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  const fs::path image = testing::write_example_image(store);
  EXPECT_EQ(fs::status(image).permissions(), fs::perms::owner_all);
  for (const auto& file : fs::directory_iterator(image)) {
    EXPECT_EQ(file.status().permissions(), fs::perms::owner_read | fs::perms::owner_write);
  }
}

TEST(ImageWriter, NothingRemainsWithoutCommit) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  {
    ImageWriter writer(store);
    testing::put(store.path() / (".partial-1-" + std::to_string(::getpid())) / "x", "half");
    EXPECT_TRUE(store.generations().empty());
    EXPECT_EQ(Store(directory.path(), "job").remove_leftovers(), 0U);  // it is not dead
  }
  EXPECT_TRUE(fs::is_empty(store.path()));
}

TEST(ImageWriter, TwoAtOnceWriteTwoGenerations) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  ImageWriter one(store);
  ImageWriter two(store);
  EXPECT_EQ(two.commit({}), store.path_of(2));
  EXPECT_EQ(one.commit({}), store.path_of(1));
  EXPECT_EQ(store.generations(), (Generations{1, 2}));
}

TEST(ImageWriter, ExistingGenerationIsNeverReplaced) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  ImageWriter writer(store);
  fs::create_directories(store.path_of(1));
  testing::put(store.path_of(1) / "precious", "x");
  EXPECT_EQ(testing::error_of([&] { writer.commit({}); }), ErrorCode::conflict);
  EXPECT_TRUE(fs::exists(store.path_of(1) / "precious"));
}

TEST(ImageWriter, ManyFilesNeedFewDescriptors) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  ImageWriter writer(store);
  int highest = 0;
  for (int i = 0; i < 400; ++i) {
    WrittenFile file;
    file.fd = create_file(writer.directory_fd(), std::to_string(i));
    file.description.set_name(std::to_string(i));
    highest = std::max(highest, file.fd.get());
    writer.add(std::move(file));
  }
  EXPECT_LT(highest, 200);
  writer.commit({});
  EXPECT_EQ(Image::open(store.path_of(1)).manifest().files_size(), 400);
}

TEST(ImageWriter, CommittedImageCanBeReadAtOnceAndByItsWriterToo) {
  const TempDirectory directory;
  const Store store(directory.path(), "job");
  ImageWriter writer(store);
  const fs::path image = writer.commit({});
  EXPECT_NO_THROW((void)Image::open(image));
}

constexpr CommitStep last_step = CommitStep::done;

class AtEachStep : public ::testing::TestWithParam<int> {
 protected:
  [[nodiscard]] static CommitStep step() { return static_cast<CommitStep>(GetParam()); }
  [[nodiscard]] static bool visible() { return step() >= CommitStep::renamed; }
};

INSTANTIATE_TEST_SUITE_P(Commit, AtEachStep, ::testing::Range(0, static_cast<int>(last_step) + 1));

// Writes in a child that is killed at the step. Returns whether that was its end.
bool killed_at(const Store& store, CommitStep step) {
  const pid_t child = ::fork();
  if (child == 0) {
    testing::write_example_image(store, [step](CommitStep reached) {
      if (reached == step) ::raise(SIGKILL);
    });
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST_P(AtEachStep, KilledWriterLeavesTheOldImageAndNothingHalf) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  testing::write_example_image(store);
  ASSERT_TRUE(killed_at(store, step()));

  EXPECT_EQ(store.generations(), visible() ? (Generations{1, 2}) : Generations{1});
  for (const std::uint64_t generation : store.generations()) {
    expect_sound(store.path_of(generation));
  }
  EXPECT_EQ(store.remove_leftovers(), visible() ? 0U : 1U);
  EXPECT_EQ(std::distance(fs::directory_iterator(store.path()), {}), visible() ? 2 : 1);
  EXPECT_EQ(testing::write_example_image(store), store.path_of(visible() ? 3 : 2));
}

TEST_P(AtEachStep, FailureThereLeavesTheOldImageAndNothingHalf) {
  const TempDirectory directory;
  Store store(directory.path(), "job");
  testing::write_example_image(store);
  EXPECT_THROW(testing::write_example_image(store,
                                            [](CommitStep reached) {
                                              if (reached == step()) {
                                                throw base::Error(ErrorCode::io, "failed");
                                              }
                                            }),
               base::Error);
  EXPECT_EQ(store.generations(), visible() ? (Generations{1, 2}) : Generations{1});
  store.remove_leftovers();
  EXPECT_EQ(std::distance(fs::directory_iterator(store.path()), {}), visible() ? 2 : 1);
}

}  // namespace
}  // namespace torpor::image
