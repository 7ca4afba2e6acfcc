#include "resource/directory.h"

#include <dirent.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <set>

#include "resource/descriptors_test_support.h"

namespace torpor::resource {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST(Directory, ListingGoesOnWhereItWas) {
  const TestDirectory directory;
  std::set<std::string> names{".", ".."};
  for (int i = 0; i < 300; ++i) {
    write_file(directory / fmt::format("file{}", i), "");
    names.insert(fmt::format("file{}", i));
  }
  const base::UniqueFd fd = open_file(directory / "", O_RDONLY | O_DIRECTORY);
  char piece[2000];
  const auto list = [&](int from) {
    std::size_t count = 0;
    const ssize_t got = ::getdents64(from, piece, sizeof(piece));
    for (ssize_t at = 0; at < got; ++count) {
      const auto* entry = reinterpret_cast<const dirent64*>(piece + at);
      EXPECT_EQ(names.erase(entry->d_name), 1U) << entry->d_name;
      at += entry->d_reclen;
    }
    return count;
  };
  ASSERT_GT(list(fd.get()), 10U);
  OwnDescriptors captured({fd.get()});
  EXPECT_EQ(captured.kind(), "directory");
  EXPECT_FALSE(captured.check());
  captured.capture();
  Restored restored(captured.model);
  restored.make();
  while (list(restored.fd(1)) > 0) continue;
  EXPECT_THAT(names, IsEmpty());
  EXPECT_THAT(restored.state.warnings, IsEmpty());
}

TEST(Directory, DeletedOneIsRefused) {
  const TestDirectory directory;
  std::filesystem::create_directory(directory / "sub");
  const base::UniqueFd fd = open_file(directory / "sub", O_RDONLY | O_DIRECTORY);
  std::filesystem::remove(directory / "sub");
  const OwnDescriptors captured({fd.get()});
  ASSERT_TRUE(captured.check());
  EXPECT_THAT(captured.check()->reason, HasSubstr("deleted"));
}

TEST(Directory, AnotherOneInItsPlaceIsSaidIfItWasBeingListed) {
  const TestDirectory directory;
  std::filesystem::create_directory(directory / "sub");
  write_file(directory / "sub/file", "");
  const base::UniqueFd fd = open_file(directory / "sub", O_RDONLY | O_DIRECTORY);
  OwnDescriptors captured({fd.get()});
  captured.capture();
  std::filesystem::create_directory(directory / "other");
  std::filesystem::remove_all(directory / "sub");
  std::filesystem::rename(directory / "other", directory / "sub");
  Restored fresh(captured.model);
  fresh.make();
  EXPECT_THAT(fresh.state.warnings, IsEmpty());
  captured.model.mutable_open_files(0)->set_position(1);
  Restored listing(captured.model);
  listing.make();
  EXPECT_THAT(listing.state.warnings, SizeIs(1));
}

TEST(Device, StatelessOnesComeBack) {
  std::vector<base::UniqueFd> open;
  std::vector<int> fds;
  for (const char* path : {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}) {
    open.push_back(open_file(path, O_RDWR | O_NONBLOCK));
    fds.push_back(open.back().get());
  }
  OwnDescriptors captured(fds);
  captured.capture();
  Restored restored(captured.model);
  EXPECT_THAT(check_open_files(captured.model, restored.state), IsEmpty());
  restored.make();
  for (std::uint64_t id = 1; id <= fds.size(); ++id) {
    const FileView view = own_view(restored.fd(id));
    EXPECT_EQ(captured.kind(id - 1), "device");
    EXPECT_EQ(view.target, captured.views[id - 1].target);
    EXPECT_EQ(view.status.st_rdev, captured.views[id - 1].status.st_rdev);
    EXPECT_EQ(view.info.flags, captured.views[id - 1].info.flags);
  }
}

TEST(Device, AnotherDeviceOfTheSameNameIsRefused) {
  const base::UniqueFd null = open_file("/dev/null", O_RDONLY);
  OwnDescriptors captured({null.get()});
  captured.capture();
  captured.model.mutable_open_files(0)->set_path("/dev/zero");
  Restored restored(captured.model);
  const auto findings = check_open_files(captured.model, restored.state);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].reason, HasSubstr("/dev/zero is not the device 1:3"));
  expect_error(base::ErrorCode::refused, "1:3", [&] { restored.make(); });
}

TEST(ProcFile, OfTheSystemComesBackByItsPath) {
  const base::UniqueFd file = open_file("/proc/version", O_RDONLY);
  const std::string text = read_all(file.get());
  ASSERT_FALSE(text.empty());
  ::lseek(file.get(), 5, SEEK_SET);
  OwnDescriptors captured({file.get()});
  EXPECT_EQ(captured.kind(), "proc file");
  EXPECT_FALSE(captured.check());
  captured.capture();
  Restored restored(captured.model);
  EXPECT_THAT(check_open_files(captured.model, restored.state), IsEmpty());
  restored.make();
  EXPECT_EQ(read_all(restored.fd(1)), text.substr(5));
}

TEST(ProcFile, OfAStrangerOrADeadProcessIsRefused) {
  base::UniqueFd dead;
  const base::UniqueFd stranger = open_file("/proc/1/stat", O_RDONLY);
  {
    const Program child([] {});
    dead = open_file(fmt::format("/proc/{}/stat", child.pid()), O_RDONLY);
  }
  const OwnDescriptors captured({stranger.get(), dead.get()});
  ASSERT_TRUE(captured.check(0));
  EXPECT_THAT(captured.check(0)->reason, HasSubstr("outside of the computation"));
  ASSERT_TRUE(captured.check(1));
}

TEST(ProcFile, OfTheProgramIsItsOwn) {
  const Program child([] { put_at(::open("/proc/self/stat", O_RDONLY), 10); });
  const std::vector<pid_t> pids{child.pid()};
  CaptureState dry;
  EXPECT_THAT(check_descriptors(pids, dry), IsEmpty());
  StoppedProgram program(child.pid());
  program.capture();
  EXPECT_TRUE(program.file(child.pid(), 10).has_proc());
  EXPECT_EQ(program.file(child.pid(), 10).path(), fmt::format("/proc/{}/stat", child.pid()));
}

}  // namespace
}  // namespace torpor::resource
