#include "resource/file_path.h"

#include "resource/descriptors_test_support.h"

namespace torpor::resource {
namespace {

using testing::HasSubstr;

TEST(FilePath, OrdinaryFileIsFoundUnderItsOwnName) {
  const TestDirectory directory;
  const base::UniqueFd fd = open_file(directory / "file", O_RDWR | O_CREAT);
  const FoundPath found = find_path(own_view(fd.get()));
  EXPECT_EQ(found.path, directory / "file");
  EXPECT_FALSE(found.refusal);
}

TEST(FilePath, RenamedFileIsFoundUnderItsNewName) {
  const TestDirectory directory;
  const base::UniqueFd fd = open_file(directory / "file", O_RDWR | O_CREAT);
  ASSERT_EQ(::rename((directory / "file").c_str(), (directory / "new").c_str()), 0);
  EXPECT_EQ(find_path(own_view(fd.get())).path, directory / "new");
}

TEST(FilePath, NameThatOnlyLooksDeletedIsAName) {
  const TestDirectory directory;
  const base::UniqueFd fd = open_file(directory / "file (deleted)", O_RDWR | O_CREAT);
  const FileView view = own_view(fd.get());
  EXPECT_EQ(find_path(view).path, directory / "file (deleted)");
  EXPECT_FALSE(find_path(view).refusal);
  EXPECT_FALSE(is_unlinked(view));
}

TEST(FilePath, DeletedFileIsUnlinkedAlsoWhenAnotherHasItsName) {
  const TestDirectory directory;
  const base::UniqueFd fd = open_file(directory / "file", O_RDWR | O_CREAT);
  ASSERT_EQ(::unlink((directory / "file").c_str()), 0);
  EXPECT_TRUE(is_unlinked(own_view(fd.get())));
  write_file(directory / "file", "another");
  EXPECT_TRUE(is_unlinked(own_view(fd.get())));
  EXPECT_TRUE(find_path(own_view(fd.get())).refusal);
}

TEST(FilePath, LinkThenUnlinkIsFoundInTheSameDirectory) {
  const TestDirectory directory;
  const base::UniqueFd fd = open_file(directory / "lock.tmp", O_RDWR | O_CREAT);
  ASSERT_EQ(::link((directory / "lock.tmp").c_str(), (directory / "lock").c_str()), 0);
  ASSERT_EQ(::unlink((directory / "lock.tmp").c_str()), 0);
  const FileView view = own_view(fd.get());
  EXPECT_FALSE(is_unlinked(view));
  EXPECT_EQ(find_path(view).path, directory / "lock");
  EXPECT_FALSE(find_path(view).refusal);
}

TEST(FilePath, UnnamedFileThatWasGivenANameIsFound) {
  const TestDirectory directory;
  const base::UniqueFd fd(::open((directory / "").c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) GTEST_SKIP() << "no O_TMPFILE here";
  EXPECT_TRUE(is_unlinked(own_view(fd.get())));
  const std::string link = fmt::format("/proc/self/fd/{}", fd.get());
  ASSERT_EQ(
      ::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, (directory / "named").c_str(), AT_SYMLINK_FOLLOW),
      0);
  EXPECT_FALSE(is_unlinked(own_view(fd.get())));
  EXPECT_EQ(find_path(own_view(fd.get())).path, directory / "named");
}

TEST(FilePath, LinkInAnotherDirectoryIsRefused) {
  const TestDirectory directory;
  const TestDirectory other;
  const base::UniqueFd fd = open_file(directory / "file", O_RDWR | O_CREAT);
  ASSERT_EQ(::link((directory / "file").c_str(), (other / "file").c_str()), 0);
  ASSERT_EQ(::unlink((directory / "file").c_str()), 0);
  const FoundPath found = find_path(own_view(fd.get()));
  ASSERT_TRUE(found.refusal);
  EXPECT_THAT(found.refusal->reason, HasSubstr("leads elsewhere"));
  EXPECT_THAT(found.refusal->remedy,
              HasSubstr("give it a name in " + (directory / "").substr(0, 10)));
}

TEST(FilePath, KernelsOwnFilesAreNotOrdinary) {
  const base::UniqueFd proc = open_file("/proc/self/stat", O_RDONLY);
  const base::UniqueFd name_space = open_file("/proc/self/ns/net", O_RDONLY);
  const base::UniqueFd null = open_file("/dev/null", O_RDONLY);
  EXPECT_TRUE(is_kernels_own(own_view(proc.get())));
  EXPECT_FALSE(is_ordinary(own_view(proc.get())));
  EXPECT_FALSE(is_ordinary(own_view(name_space.get())));
  EXPECT_TRUE(is_ordinary(own_view(null.get())));
}

TEST(FilePath, ReopeningHasNoSideEffects) {
  const TestDirectory directory;
  write_file(directory / "file", "content");
  snapshot::OpenFile file;
  file.set_flags(O_RDWR | O_CREAT | O_TRUNC | O_EXCL | O_APPEND | O_ASYNC);
  RestoreState state;
  const base::UniqueFd fd = reopen(directory / "file", file, state);
  EXPECT_EQ(read_all(fd.get()), "content");
  EXPECT_EQ(::fcntl(fd.get(), F_GETFL) & (O_ACCMODE | O_APPEND | O_ASYNC), O_RDWR | O_APPEND);
  EXPECT_EQ(::fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  expect_error(base::ErrorCode::not_found, "missing",
               [&] { reopen(directory / "missing", file, state); });
  EXPECT_NE(::access((directory / "missing").c_str(), F_OK), 0) << "it was created";
}

TEST(FilePath, CheckTellsWhatIsWrong) {
  const TestDirectory directory;
  write_file(directory / "file", "x");
  snapshot::OpenFile file;
  snapshot::FileFacts facts;
  file.set_path(directory / "file");
  facts.set_mode(S_IFREG | 0600);
  EXPECT_FALSE(check_path(file, facts));
  facts.set_mode(S_IFDIR | 0700);
  ASSERT_TRUE(check_path(file, facts));
  EXPECT_THAT(check_path(file, facts)->reason, HasSubstr("is a regular file, it was a directory"));
  file.set_path(directory / "missing");
  ASSERT_TRUE(check_path(file, facts));
  EXPECT_THAT(check_path(file, facts)->reason, HasSubstr("No such file"));
}

}  // namespace
}  // namespace torpor::resource
