#include "resource/regular_file.h"

#include <filesystem>

#include "resource/descriptors_test_support.h"

namespace torpor::resource {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// A file of ten bytes, open as `flags` say with the position at 4, captured.
class RegularFile : public testing::Test {
 protected:
  RegularFile() { write_file(path_, "0123456789"); }

  void capture(std::vector<int> flags) {
    std::vector<int> fds;
    for (const int flag : flags) {
      open_.push_back(open_file(path_, flag));
      ::lseek(open_.back().get(), 4, SEEK_SET);
      fds.push_back(open_.back().get());
    }
    captured_ = std::make_unique<OwnDescriptors>(fds);
    ASSERT_FALSE(captured_->check());
    captured_->capture();
    open_.clear();
    restored_ = std::make_unique<Restored>(captured_->model);
    restored_->state.tails = tails_ / "";
  }

  std::vector<OpenFileFinding> findings() {
    return check_open_files(captured_->model, restored_->state);
  }

  void expect_refusal(std::string_view reason) {
    ASSERT_THAT(findings(), Not(IsEmpty()));
    EXPECT_THAT(findings()[0].reason, HasSubstr(reason));
    EXPECT_THAT(findings()[0].reason, HasSubstr(path_));
    expect_error(base::ErrorCode::refused, reason, [&] { restored_->make(); });
  }

  TestDirectory directory_;
  TestDirectory tails_;
  std::string path_ = directory_ / "file";
  std::vector<base::UniqueFd> open_;
  std::unique_ptr<OwnDescriptors> captured_;
  std::unique_ptr<Restored> restored_;
};

TEST_F(RegularFile, ComesBackWithPositionAndFlags) {
  capture({O_RDWR | O_APPEND | O_NONBLOCK | O_SYNC, O_WRONLY, O_RDONLY | O_NOATIME});
  EXPECT_EQ(captured_->kind(), "regular file");
  EXPECT_THAT(findings(), IsEmpty());
  restored_->make();
  for (std::uint64_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(::lseek(restored_->fd(id), 0, SEEK_CUR), 4);
    EXPECT_EQ(static_cast<unsigned>(::fcntl(restored_->fd(id), F_GETFL)),
              captured_->model.open_files(static_cast<int>(id) - 1).flags());
  }
  EXPECT_EQ(read_all(restored_->fd(1)), "456789");
  EXPECT_THAT(restored_->state.warnings, IsEmpty());
  cut_grown_files(restored_->state);
  EXPECT_EQ(file_content(path_), "0123456789");
}

TEST_F(RegularFile, WhatTheProgramHasAppendedSinceIsCutOffAndKept) {
  capture({O_WRONLY | O_APPEND, O_RDONLY});
  append_file(path_, "later");
  EXPECT_THAT(findings(), IsEmpty());
  restored_->make();
  EXPECT_EQ(file_content(path_), "0123456789later") << "cut before everything was ready";
  cut_grown_files(restored_->state);
  EXPECT_EQ(file_content(path_), "0123456789");
  const std::string tail = tails_ / "file.torpor-cut-1";
  EXPECT_EQ(file_content(tail), "later");
  ASSERT_THAT(restored_->state.warnings, SizeIs(1));
  EXPECT_THAT(restored_->state.warnings[0], testing::AllOf(HasSubstr(path_), HasSubstr(tail)));
  ASSERT_EQ(::write(restored_->fd(1), "new", 3), 3);
  EXPECT_EQ(file_content(path_), "0123456789new");
}

TEST_F(RegularFile, TheSameImageCanBeRestartedAgainAfterACut) {
  capture({O_RDWR});
  append_file(path_, "later");
  restored_->make();
  cut_grown_files(restored_->state);
  EXPECT_THAT(findings(), IsEmpty()) << "unchanged now";
  append_file(path_, "again");
  Restored second(captured_->model);
  second.state.tails = tails_ / "";
  second.make();
  cut_grown_files(second.state);
  EXPECT_EQ(file_content(tails_ / "file.torpor-cut-1"), "later");
  EXPECT_EQ(file_content(tails_ / "file.torpor-cut-2"), "again");
}

TEST_F(RegularFile, ATailWithoutAPlaceIsKeptBesideTheFile) {
  capture({O_RDWR});
  append_file(path_, "later");
  restored_->state.tails.clear();
  restored_->make();
  cut_grown_files(restored_->state);
  EXPECT_EQ(file_content(path_ + ".torpor-cut-1"), "later");
}

TEST_F(RegularFile, ShrunkFileIsRefused) {
  capture({O_RDWR});
  std::filesystem::resize_file(path_, 5);
  expect_refusal("its size is 5, it was 10");
  EXPECT_THAT(findings()[0].remedy, HasSubstr("--accept-changed-files"));
}

TEST_F(RegularFile, FileWrittenInPlaceIsRefused) {
  capture({O_RDWR});
  const base::UniqueFd fd = open_file(path_, O_WRONLY);
  const timespec times[2]{{0, UTIME_OMIT}, {1000, 5}};
  ASSERT_EQ(::futimens(fd.get(), times), 0);
  expect_refusal("1000.000000005 s");
}

TEST_F(RegularFile, FileThatIsOnlyReadMustNotHaveGrown) {
  capture({O_RDONLY});
  append_file(path_, "later");
  expect_refusal("its size is 15, it was 10");
  EXPECT_EQ(file_content(path_), "0123456789later");
}

TEST_F(RegularFile, ChangedFileIsTakenAsItIsIfSoAsked) {
  capture({O_RDONLY});
  append_file(path_, "later");
  restored_->state.accept_changed_files = true;
  EXPECT_THAT(findings(), IsEmpty());
  restored_->make();
  cut_grown_files(restored_->state);
  EXPECT_EQ(read_all(restored_->fd(1)), "456789later");
  ASSERT_THAT(restored_->state.warnings, SizeIs(1));
  EXPECT_THAT(restored_->state.warnings[0], HasSubstr("has changed"));
}

TEST_F(RegularFile, MissingFileIsRefused) {
  capture({O_RDONLY});
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ASSERT_THAT(findings(), SizeIs(1));
  EXPECT_THAT(findings()[0].reason, HasSubstr("No such file"));
  expect_error(base::ErrorCode::not_found, path_, [&] { restored_->make(); });
}

TEST_F(RegularFile, DirectoryInItsPlaceIsRefused) {
  capture({O_RDONLY});
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  std::filesystem::create_directory(path_);
  ASSERT_THAT(findings(), SizeIs(1));
  EXPECT_THAT(findings()[0].reason, HasSubstr("is a directory, it was a regular file"));
}

TEST_F(RegularFile, CopyWithTheSameTimeIsTheSame) {
  capture({O_RDWR});
  std::filesystem::copy_file(path_, directory_ / "copy");
  std::filesystem::last_write_time(directory_ / "copy", std::filesystem::last_write_time(path_));
  ASSERT_EQ(::rename((directory_ / "copy").c_str(), path_.c_str()), 0);
  EXPECT_THAT(findings(), IsEmpty());
}

TEST(PathHandle, ComesBackForEveryTypeOfFile) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  ASSERT_EQ(::symlink("file", (directory / "link").c_str()), 0);
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  const base::UniqueFd file = open_file(directory / "file", O_PATH);
  const base::UniqueFd link = open_file(directory / "link", O_PATH | O_NOFOLLOW);
  const base::UniqueFd fifo = open_file(directory / "fifo", O_PATH);
  const base::UniqueFd dir = open_file(directory / "", O_PATH | O_DIRECTORY);
  OwnDescriptors captured({file.get(), link.get(), fifo.get(), dir.get()});
  captured.capture();
  append_file(directory / "file", "more");  // nobody reads it through O_PATH
  Restored restored(captured.model);
  EXPECT_THAT(check_open_files(captured.model, restored.state), IsEmpty());
  restored.make();
  for (std::uint64_t id = 1; id <= 4; ++id) {
    const FileView& was = captured.views[id - 1];
    EXPECT_EQ(own_view(restored.fd(id)).target, was.target);
    EXPECT_EQ(own_view(restored.fd(id)).status.st_ino, was.status.st_ino);
    EXPECT_EQ(own_view(restored.fd(id)).info.flags, was.info.flags);
  }
}

TEST(PathHandle, OfADeletedFileIsRefused) {
  const TestDirectory directory;
  const base::UniqueFd fd = open_file(directory / "file", O_RDWR | O_CREAT);
  const base::UniqueFd handle = open_file(directory / "file", O_PATH);
  ASSERT_EQ(::unlink((directory / "file").c_str()), 0);
  const OwnDescriptors captured({handle.get()});
  ASSERT_TRUE(captured.check());
  EXPECT_THAT(captured.check()->reason, HasSubstr("deleted"));
}

}  // namespace
}  // namespace torpor::resource
