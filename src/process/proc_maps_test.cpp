#include "process/proc_maps.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "process/proc_stat.h"
#include "process/proc_test_support.h"
#include "process/proc_tree.h"

namespace torpor::process {
namespace {

using base::ErrorCode;

constexpr std::string_view smaps_6_18 =
    "5575be2f0000-5575be2f2000 r-xp 00002000 fe:0a 247498                     /usr/bin/head\n"
    "Size:                  8 kB\n"
    "KernelPageSize:        4 kB\n"
    "MMUPageSize:           4 kB\n"
    "Rss:                   8 kB\n"
    "Anonymous:             0 kB\n"
    "THPeligible:           0\n"
    "ProtectionKey:         3\n"
    "VmFlags: rd ex mr mw me sd \n"
    "7f0000000000-7f0000200000 rw-s 1fffffffff000 00:0f 1041                      /anon_hugepage "
    "(deleted)\n"
    "Size:               2048 kB\n"
    "KernelPageSize:     2048 kB\n"
    "VmFlags: rd wr sh mr mw me ms de ht zz ?? \n"
    "7ffc07a25000-7ffc07a46000 ---p 00000000 00:00 0 \n"
    "VmFlags: mr mw me gd\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
    "Size:                  4 kB\n"
    "VmFlags: ex \n";

TEST(ParseMaps, ReadsPlacePermissionsAndFile) {
  const auto maps = parse_maps(smaps_6_18);
  ASSERT_EQ(maps.size(), 4u);
  const Mapping& head = maps[0];
  EXPECT_EQ(head.start, 0x5575be2f0000u);
  EXPECT_EQ(head.end, 0x5575be2f2000u);
  EXPECT_EQ(head.size(), 0x2000u);
  EXPECT_TRUE(head.read && !head.write && head.exec && !head.shared);
  EXPECT_EQ(head.offset, 0x2000u);
  EXPECT_EQ(head.dev_major, 0xfeu);
  EXPECT_EQ(head.dev_minor, 0x0au);
  EXPECT_EQ(head.inode, 247498u);
  EXPECT_EQ(head.path, "/usr/bin/head");
  EXPECT_TRUE(maps[1].read && maps[1].write && !maps[1].exec && maps[1].shared);
  EXPECT_EQ(maps[1].offset, 0x1fffffffff000u);
  EXPECT_EQ(maps[1].path, "/anon_hugepage (deleted)");
  EXPECT_FALSE(maps[2].read || maps[2].write || maps[2].exec || maps[2].shared);
  EXPECT_EQ(maps[2].path, "");
  EXPECT_EQ(maps[3].end, 0xffffffffff601000u);
  EXPECT_EQ(maps[3].path, "[vsyscall]");
}

TEST(ParseMaps, ReadsFlagsPageSizeAndKey) {
  const auto maps = parse_maps(smaps_6_18);
  ASSERT_EQ(maps.size(), 4u);
  EXPECT_TRUE(maps[0].has(VmFlag::rd) && maps[0].has(VmFlag::sd) && !maps[0].has(VmFlag::wr));
  EXPECT_EQ(maps[0].protection_key, 3u);
  EXPECT_EQ(maps[0].kernel_page_size, 4096u);
  EXPECT_TRUE(maps[0].unknown_flags.empty());
  EXPECT_TRUE(maps[1].has(VmFlag::ht) && maps[1].has(VmFlag::ms));
  EXPECT_EQ(maps[1].kernel_page_size, 2048u * 1024);
  EXPECT_EQ(maps[1].unknown_flags, (std::vector<std::string>{"zz", "??"}));
  EXPECT_TRUE(maps[2].has(VmFlag::gd));
  EXPECT_EQ(maps[3].flags, static_cast<uint64_t>(VmFlag::ex));
}

TEST(ParseMaps, KnowsEveryFlagByItsOwnBit) {
  constexpr std::string_view names =
      "rd wr ex sh mr mw me ms gd pf dw lo io sr rr dc de lf ac nr ht sf nl ar wf dd bt sd mm hg "
      "nh "
      "mg um uw ui mt mp ss sl dp gu";
  const auto maps = parse_maps("1000-2000 rw-p 0 00:00 0\nVmFlags: " + std::string(names) + " \n");
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_TRUE(maps[0].unknown_flags.empty());
  EXPECT_EQ(std::popcount(maps[0].flags), 41);
  for (std::size_t i = 0; i < 41; ++i) {  // the enumerators have the order of this list
    const auto one = parse_maps(
        "1000-2000 rw-p 0 00:00 0\nVmFlags: " + std::string(names.substr(i * 3, 2)) + "\n");
    EXPECT_EQ(one.at(0).flags, uint64_t{1} << i) << names.substr(i * 3, 2);
  }
}

TEST(ParseMaps, KeepsBlanksAndDecodesNewlinesOfPaths) {
  const auto maps = parse_maps(
      "1000-2000 rw-p 00000000 08:01 7                          /a b/c  d: e (deleted)\n"
      "2000-3000 rw-p 00000000 08:01 7                          /x\\012y\\012\n"
      "3000-4000 rw-p 00000000 08:01 7                          /x\\040y\\01\n");
  ASSERT_EQ(maps.size(), 3u);
  EXPECT_EQ(maps[0].path, "/a b/c  d: e (deleted)");
  EXPECT_EQ(maps[1].path, "/x\ny\n");
  EXPECT_EQ(maps[2].path, "/x\\040y\\01");
}

TEST(ParseMaps, RefusesOtherText) {
  const auto refuse = [](std::string_view text) {
    expect_error(ErrorCode::internal, "cannot parse /proc/7/maps",
                 [&] { parse_maps(text, "/proc/7/maps"); });
  };
  refuse("hello");
  refuse("1000 2000 rw-p 0 00:00 0\n");
  refuse("2000-1000 rw-p 0 00:00 0\n");
  refuse("1000-2000 rwp 0 00:00 0\n");
  refuse("1000-2000 rw-p 0 00:00\n");
  refuse("1000-2000 rw-p 0 00:00 0\n\n2000-3000 rw-p 0 00:00 0\n");
  refuse("Size: 4 kB\n1000-2000 rw-p 0 00:00 0\n");
}

// The mapping that starts at `address`; an empty one if there is none.
Mapping find(const std::vector<Mapping>& maps, const void* address) {
  const auto at = std::find_if(maps.begin(), maps.end(), [&](const Mapping& mapping) {
    return mapping.start == reinterpret_cast<uintptr_t>(address);
  });
  return at == maps.end() ? Mapping{} : *at;
}

constexpr std::size_t page = 4096;

// Mappings with a forbidden page on both sides, so that the kernel merges none with its neighbours.
class TestMappings {
 public:
  TestMappings() { area_ = map(nullptr, count * 2 * page, PROT_NONE, MAP_PRIVATE, -1); }
  ~TestMappings() { ::munmap(area_, count * 2 * page); }
  TestMappings(const TestMappings&) = delete;
  TestMappings& operator=(const TestMappings&) = delete;

  void* add(int protection, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
    char* const place = static_cast<char*>(area_) + (2 * used_++ + 1) * page;
    return map(place, page, protection, flags | MAP_FIXED, fd);
  }

  void* add_advised(int advice) {
    void* const place = add(PROT_READ | PROT_WRITE);
    EXPECT_EQ(::madvise(place, page, advice), 0) << advice;
    return place;
  }

 private:
  static constexpr std::size_t count = 16;

  static void* map(void* place, std::size_t size, int protection, int flags, int fd) {
    if (fd < 0) flags |= MAP_ANONYMOUS;
    void* const result = ::mmap(place, size, protection, flags, fd, 0);
    if (result == MAP_FAILED) base::throw_system("mmap");
    return result;
  }

  void* area_;
  std::size_t used_ = 0;
};

TEST(ReadSmaps, SeesTheFlagsOfOwnMappings) {
  TestMappings mappings;
  void* const plain = mappings.add(PROT_READ | PROT_WRITE);
  void* const no_fork = mappings.add_advised(MADV_DONTFORK);
  void* const wiped = mappings.add_advised(MADV_WIPEONFORK);
  void* const no_dump = mappings.add_advised(MADV_DONTDUMP);
  void* const shared = mappings.add(PROT_READ, MAP_SHARED | MAP_ANONYMOUS);
  void* const lazy = mappings.add(PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  const auto maps = read_smaps(::getpid());

  EXPECT_TRUE(find(maps, plain).has(VmFlag::rd) && find(maps, plain).has(VmFlag::wr));
  EXPECT_EQ(find(maps, plain).size(), page);
  EXPECT_EQ(find(maps, plain).kernel_page_size, page);
  for (const VmFlag flag : {VmFlag::dc, VmFlag::wf, VmFlag::dd, VmFlag::sh, VmFlag::ex}) {
    EXPECT_FALSE(find(maps, plain).has(flag)) << static_cast<uint64_t>(flag);
  }
  EXPECT_TRUE(find(maps, no_fork).has(VmFlag::dc));
  EXPECT_TRUE(find(maps, wiped).has(VmFlag::wf));
  EXPECT_TRUE(find(maps, no_dump).has(VmFlag::dd));
  EXPECT_TRUE(find(maps, shared).has(VmFlag::sh) && find(maps, shared).shared);
  EXPECT_TRUE(find(maps, lazy).has(VmFlag::nr) && find(maps, lazy).exec);
}

TEST(ReadSmaps, KnowsEveryFlagThatThisKernelPrintsForUs) {
  for (const Mapping& mapping : read_smaps(::getpid())) {
    EXPECT_TRUE(mapping.unknown_flags.empty()) << mapping.path << mapping.unknown_flags.front();
    EXPECT_NE(mapping.flags, 0u) << mapping.path;
  }
}

TEST(ReadSmaps, SeesSealedMappings) {
  constexpr long sys_mseal = 462;  // Linux 6.10
  if (::syscall(sys_mseal, nullptr, 0, 0) != 0) GTEST_SKIP() << "this kernel has no mseal()";
  TestMappings mappings;
  void* const place = mappings.add(PROT_READ);
  const TestChild child([&] { ::syscall(sys_mseal, place, page, 0); });
  EXPECT_TRUE(find(read_smaps(child.pid()), place).has(VmFlag::sl));
  EXPECT_FALSE(find(read_smaps(::getpid()), place).has(VmFlag::sl));
}

TEST(ReadMaps, TellsANewlineFromItsEscape) {
  const TestDirectory directory;
  const base::UniqueFd newline = directory.create("a\nb", page);
  const base::UniqueFd literal = directory.create("a\\012b", page);
  TestMappings mappings;
  void* const first = mappings.add(PROT_READ, MAP_SHARED, newline.get());
  void* const second = mappings.add(PROT_READ, MAP_PRIVATE, literal.get());
  for (const auto& maps : {read_maps(::getpid()), read_smaps(::getpid())}) {
    EXPECT_EQ(find(maps, first).path, directory / "a\nb");
    EXPECT_EQ(find(maps, second).path, directory / "a\\012b");
  }
}

TEST(ReadMaps, ShowsFileAndThatItIsDeleted) {
  const TestDirectory directory;
  const base::UniqueFd file = directory.create("file", page);
  TestMappings mappings;
  void* const place = mappings.add(PROT_READ, MAP_SHARED, file.get());
  struct stat facts {};
  ASSERT_EQ(::fstat(file.get(), &facts), 0);
  EXPECT_EQ(find(read_maps(::getpid()), place).inode, facts.st_ino);
  EXPECT_EQ(find(read_maps(::getpid()), place).path, directory / "file");
  ::unlink((directory / "file").c_str());
  EXPECT_EQ(find(read_maps(::getpid()), place).path, directory / "file (deleted)");
}

TEST(ReadMaps, ReadsThousandsOfMappings) {
  constexpr std::size_t count = 3000;  // more than any first buffer holds
  char* const area = static_cast<char*>(
      ::mmap(nullptr, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (std::size_t i = 0; i < count; i += 2) ::mprotect(area + i * page, page, PROT_READ);
  for (const auto& maps : {read_maps(::getpid()), read_smaps(::getpid())}) {
    for (std::size_t i = 0; i < count - 1; ++i) {
      ASSERT_EQ(find(maps, area + i * page).read, i % 2 == 0) << i;
      ASSERT_EQ(find(maps, area + i * page).end,
                reinterpret_cast<uintptr_t>(area + (i + 1) * page));
    }
  }
  ::munmap(area, count * page);
}

TEST(ReadMaps, AgreesWithSmaps) {
  const TestChild child([] {});
  const auto maps = read_maps(child.pid());
  const auto smaps = read_smaps(child.pid());
  ASSERT_EQ(maps.size(), smaps.size());
  for (std::size_t i = 0; i < maps.size(); ++i) {
    EXPECT_EQ(maps[i].start, smaps[i].start);
    EXPECT_EQ(maps[i].path, smaps[i].path);
    EXPECT_EQ(maps[i].flags, 0u);
    EXPECT_EQ(smaps[i].read, smaps[i].has(VmFlag::rd));
    EXPECT_EQ(smaps[i].write, smaps[i].has(VmFlag::wr));
  }
}

TEST(ReadMaps, AZombieHasNone) {
  const TestChild child([] { ::_exit(0); });
  wait_for_end(child.pid());
  expect_error(ErrorCode::program_gone, std::to_string(child.pid()),
               [&] { read_maps(child.pid()); });
  expect_error(ErrorCode::program_gone, std::to_string(child.pid()),
               [&] { read_smaps(child.pid()); });
}

void* sleep_for_ever(void*) {
  for (;;) ::pause();
}

TEST(ReadMaps, AsksALivingThreadWhenTheMainThreadHasExited) {
  const TestChild child([](const TestChild::Ready& ready) {
    pthread_t thread{};
    if (::pthread_create(&thread, nullptr, sleep_for_ever, nullptr) != 0) ::_exit(1);
    ready();
    ::syscall(SYS_exit, 0);  // of this thread alone
  });
  while (read_stat(child.pid(), child.pid()).state != 'Z') ::usleep(1000);
  const auto threads = list_threads(child.pid());
  ASSERT_EQ(threads.size(), 2u);
  expect_error(ErrorCode::program_gone, "no memory", [&] { read_smaps(child.pid()); });
  const pid_t living = threads[threads[0] == child.pid() ? 1 : 0];
  EXPECT_FALSE(read_maps(child.pid(), living).empty());
  EXPECT_NE(read_smaps(child.pid(), living).front().flags, 0u);
}

}  // namespace
}  // namespace torpor::process
