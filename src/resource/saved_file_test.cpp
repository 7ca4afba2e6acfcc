#include "resource/saved_file.h"

#include "resource/descriptors_test_support.h"
#include "resource/memfd.h"
#include "resource/private_copy.h"
#include "resource/shared_memory.h"

namespace torpor::resource {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string content_at(int fd, std::size_t size) {
  std::string text(size, '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

TEST(PrivateCopy, HasContentAndHoles) {
  const TestDirectory directory;
  const base::UniqueFd fd = directory.create("file", 64 << 20);
  ASSERT_EQ(::pwrite(fd.get(), "middle", 6, 40 << 20), 6);
  ASSERT_EQ(::pwrite(fd.get(), "end", 3, (64 << 20) - 3), 3);
  const base::UniqueFd copy = private_copy(fd.get(), true, 64 << 20);
  struct ::stat status {};
  ASSERT_EQ(::fstat(copy.get(), &status), 0);
  EXPECT_EQ(status.st_size, 64 << 20);
  EXPECT_LT(status.st_blocks * 512, 4 << 20) << "the holes were filled";
  char text[6];
  ASSERT_EQ(::pread(copy.get(), text, 6, 40 << 20), 6);
  EXPECT_EQ(std::string_view(text, 6), "middle");
  ASSERT_EQ(::pread(copy.get(), text, 3, (64 << 20) - 3), 3);
  EXPECT_EQ(std::string_view(text, 3), "end");
}

TEST(PrivateCopy, LeavesThePositionOfTheProgramAlone) {
  const TestDirectory directory;
  write_file(directory / "file", "content");
  const base::UniqueFd fd = open_file(directory / "file", O_RDONLY);
  ::lseek(fd.get(), 3, SEEK_SET);
  const base::UniqueFd copy = private_copy(fd.get(), false, 7);
  EXPECT_EQ(content_at(copy.get(), 100), "content");
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 3);
  const FileView view = own_view(fd.get());
  EXPECT_EQ(content_at(frozen_content(view, false).get(), 100), "content");
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 3);
}

class DeletedFile : public testing::Test {
 protected:
  base::UniqueFd make(std::string_view text) {
    base::UniqueFd fd = open_file(path_, O_RDWR | O_CREAT);
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      base::throw_system("write");
    }
    return fd;
  }

  TestDirectory directory_;
  std::string path_ = directory_ / "file";
};

TEST_F(DeletedFile, ContentIsSavedOnceForAllDescriptions) {
  const base::UniqueFd writer = make("content");
  const base::UniqueFd reader = open_file(path_, O_RDONLY);
  ASSERT_EQ(::fchmod(writer.get(), 0400), 0);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ::lseek(reader.get(), 3, SEEK_SET);
  OwnDescriptors captured({writer.get(), reader.get()});
  EXPECT_EQ(captured.kind(), "deleted file");
  EXPECT_FALSE(captured.check());
  captured.capture();
  ASSERT_EQ(captured.model.saved_files_size(), 1);
  ASSERT_THAT(captured.state.contents, SizeIs(1));
  EXPECT_EQ(captured.model.saved_files(0).path(), path_);
  EXPECT_EQ(captured.model.saved_files(0).size(), 7U);
  EXPECT_EQ(captured.model.saved_files(0).mode(), 0400U);
  ASSERT_EQ(::pwrite(writer.get(), "CHANGED", 7, 0), 7);
  EXPECT_EQ(content_at(captured.state.contents[0].fd.get(), 100), "content")
      << "what the program writes later is in the copy";

  Restored restored(captured.model);
  restored.take_contents(captured.state);
  restored.make();
  EXPECT_EQ(::lseek(restored.fd(1), 0, SEEK_CUR), 7);
  EXPECT_EQ(::lseek(restored.fd(2), 0, SEEK_CUR), 3);
  ASSERT_EQ(::write(restored.fd(1), "+new", 4), 4);
  EXPECT_EQ(read_all(restored.fd(2)), "tent+new") << "it is not one file";
  process::HeldProcess holder;
  kind_that_made(captured.model.open_files(0))
      .finish_restore(captured.model.open_files(0), restored.state, holder, 0);
  EXPECT_EQ(own_view(restored.fd(1)).status.st_mode & 07777, 0400U);
  EXPECT_EQ(own_view(restored.fd(1)).status.st_nlink, 0U);
}

TEST_F(DeletedFile, WithoutAWriterItIsNotCopied) {
  make("content");
  const base::UniqueFd reader = open_file(path_, O_RDONLY);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  OwnDescriptors captured({reader.get()});
  captured.capture();
  ASSERT_THAT(captured.state.contents, SizeIs(1));
  struct ::stat status {};
  ::fstat(captured.state.contents[0].fd.get(), &status);
  EXPECT_EQ(status.st_ino, captured.views[0].status.st_ino);
  EXPECT_EQ(::lseek(captured.state.contents[0].fd.get(), 2, SEEK_SET), 2);
  EXPECT_EQ(::lseek(reader.get(), 0, SEEK_CUR), 0) << "it is the program's own description";
}

TEST_F(DeletedFile, ReplacedFileIsSavedAndItsSuccessorLeftAlone) {
  const base::UniqueFd old = make("old");
  write_file(path_ + ".new", "new");
  ASSERT_EQ(::rename((path_ + ".new").c_str(), path_.c_str()), 0);
  OwnDescriptors captured({old.get()});
  EXPECT_EQ(captured.kind(), "deleted file");
  captured.capture();
  EXPECT_EQ(content_at(captured.state.contents.at(0).fd.get(), 100), "old");
  EXPECT_EQ(file_content(path_), "new");
}

TEST_F(DeletedFile, ThatIsMappedSharedIsTheSharedMemory) {
  const base::UniqueFd fd = make("content");
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  OwnDescriptors captured({fd.get()});
  const auto& status = captured.views[0].status;
  const std::uint64_t id =  // as memory.h makes it for the mapping: in whole pages
      shared_memory_id(captured.state, status.st_dev, status.st_ino, "", false, 4096);
  captured.capture();
  EXPECT_EQ(captured.model.open_files(0).shared_memory(), id);
  EXPECT_EQ(captured.model.shared_memories(0).size(), 7U);
  EXPECT_FALSE(captured.model.shared_memories(0).is_memfd());
  ASSERT_THAT(captured.state.contents, SizeIs(1));
  EXPECT_TRUE(captured.state.contents[0].shared_memory);
}

TEST_F(DeletedFile, MissingFromTheImageIsABadImage) {
  snapshot::Computation model;
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(1);
  file.set_saved_file(3);
  Restored restored(model);
  expect_error(base::ErrorCode::bad_image, "deleted file 3", [&] { restored.make(); });
  expect_error(base::ErrorCode::bad_image, "deleted file 3",
               [&] { check_open_files(model, restored.state); });
}

base::UniqueFd make_memfd(std::string_view text, unsigned flags = 0) {
  base::UniqueFd fd(::memfd_create("named", MFD_CLOEXEC | flags));
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    base::throw_system("write");
  }
  return fd;
}

TEST(Memfd, ComesBackWithNameModeAndSeals) {
  const base::UniqueFd fd = make_memfd("content", MFD_ALLOW_SEALING);
  const base::UniqueFd reader =
      open_file(fmt::format("/proc/self/fd/{}", fd.get()), O_RDONLY | O_NONBLOCK);
  ASSERT_EQ(::fchmod(fd.get(), 0400), 0);
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL), 0);
  OwnDescriptors captured({fd.get(), reader.get()});
  EXPECT_EQ(captured.kind(), "memfd");
  captured.capture();
  ASSERT_EQ(captured.model.shared_memories_size(), 1);
  EXPECT_EQ(captured.model.shared_memories(0).name(), "named");
  ASSERT_THAT(captured.state.contents, SizeIs(1));

  Restored restored(captured.model);
  restored.state.shared_memories[1] = make_shared_memory(captured.model.shared_memories(0));
  ASSERT_EQ(::pwrite(restored.state.shared_memories[1].get(), "content", 7, 0), 7);
  restored.make();
  for (std::uint64_t id = 1; id <= 2; ++id) finish_shared_memory(1, restored.state);
  EXPECT_EQ(::fcntl(restored.fd(1), F_GET_SEALS), F_SEAL_GROW | F_SEAL_SEAL);
  EXPECT_EQ(own_view(restored.fd(1)).target, "/memfd:named (deleted)");
  EXPECT_EQ(own_view(restored.fd(1)).status.st_mode & 07777, 0400U);
  EXPECT_EQ(::lseek(restored.fd(1), 0, SEEK_CUR), 7);
  EXPECT_EQ(read_all(restored.fd(2)), "content");
  EXPECT_EQ(::fcntl(restored.fd(2), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
}

TEST(Memfd, UnsealableOneStaysUnsealable) {
  const base::UniqueFd fd = make_memfd("x");
  OwnDescriptors captured({fd.get()});
  captured.capture();
  EXPECT_EQ(captured.model.shared_memories(0).seals(), static_cast<unsigned>(F_SEAL_SEAL));
  Restored restored(captured.model);
  restored.take_contents(captured.state);
  restored.make();
  finish_shared_memory(1, restored.state);
  EXPECT_EQ(::fcntl(restored.fd(1), F_GET_SEALS), F_SEAL_SEAL);
}

TEST(Memfd, OnlyOneThatCannotChangeIsNotCopied) {
  const base::UniqueFd open = make_memfd("open", MFD_ALLOW_SEALING);
  const base::UniqueFd sealed = make_memfd("sealed", MFD_ALLOW_SEALING);
  ASSERT_EQ(::fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK), 0);
  OwnDescriptors captured({open.get(), sealed.get()});
  captured.capture();
  ASSERT_THAT(captured.state.contents, SizeIs(2));
  struct ::stat status {};
  ::fstat(captured.state.contents[0].fd.get(), &status);
  EXPECT_NE(status.st_ino, captured.views[0].status.st_ino);
  ::fstat(captured.state.contents[1].fd.get(), &status);
  EXPECT_EQ(status.st_ino, captured.views[1].status.st_ino);
}

TEST(Memfd, HasTheRecordOfItsMappings) {
  const base::UniqueFd fd = make_memfd("content");
  OwnDescriptors captured({fd.get()});
  const auto& status = captured.views[0].status;
  const std::uint64_t id =
      shared_memory_id(captured.state, status.st_dev, status.st_ino, "named", true, 1 << 20);
  captured.capture();
  EXPECT_EQ(captured.model.open_files(0).shared_memory(), id);
  EXPECT_EQ(captured.model.shared_memories(0).size(), 7U) << "a mapping may reach behind the end";
}

}  // namespace
}  // namespace torpor::resource
