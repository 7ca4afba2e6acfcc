#include "process/page_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>

#include "base/error.h"

namespace torpor::process {
namespace {

using base::page_size;
using base::PageRun;
using Runs = std::vector<PageRun>;

constexpr int madv_guard_install = 102;  // Linux 6.13

// Memory of our own, which is read like that of any other process.
class Mapping {
 public:
  explicit Mapping(std::size_t pages, int fd = -1, int protection = PROT_READ | PROT_WRITE)
      : size_(pages * page_size),
        bytes_(static_cast<char*>(::mmap(nullptr, size_, protection,
                                         MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0))) {
    EXPECT_NE(bytes_, MAP_FAILED);
    ::madvise(bytes_, size_, MADV_NOHUGEPAGE);
  }
  ~Mapping() { ::munmap(bytes_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] char* page(std::size_t number) const { return bytes_ + number * page_size; }
  [[nodiscard]] std::uint64_t address(std::size_t page_number = 0) const {
    return reinterpret_cast<std::uintptr_t>(page(page_number));
  }
  [[nodiscard]] std::uint64_t end() const { return address() + size_; }
  void fill(std::size_t number, char with) const { std::memset(page(number), with, page_size); }

  // Runs of page numbers.
  [[nodiscard]] Runs numbers(const Runs& runs) const {
    Runs found;
    for (const PageRun& run : runs) {
      found.push_back({(run.start - address()) / page_size, (run.end - address()) / page_size});
    }
    return found;
  }

 private:
  std::size_t size_;
  char* bytes_;
};

class PageFinders : public ::testing::TestWithParam<PageFinder> {
 protected:
  void SetUp() override {
    try {
      source_.emplace(::getpid(), GetParam());
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::host_lacks) throw;
      GTEST_SKIP() << error.what();
    }
  }
  [[nodiscard]] Runs existing(const Mapping& memory, bool file_backed) {
    return memory.numbers(source_->existing_pages(memory.address(), memory.end(), file_backed));
  }

  std::optional<ProcessPageSource> source_;
};

INSTANTIATE_TEST_SUITE_P(, PageFinders,
                         ::testing::Values(PageFinder::automatic, PageFinder::scan,
                                           PageFinder::entries));

TEST_P(PageFinders, AnonymousPagesThatWereWritten) {
  const Mapping memory(100);
  EXPECT_EQ(existing(memory, false), Runs{});
  memory.fill(0, 'a');
  memory.fill(1, 'b');
  memory.fill(50, '\0');  // exists, though it holds zeros
  memory.fill(99, 'c');
  EXPECT_EQ(existing(memory, false), (Runs{{0, 2}, {50, 51}, {99, 100}}));
}

TEST_P(PageFinders, OnlyOfTheRange) {
  const Mapping memory(10);
  for (std::size_t i = 0; i < 10; ++i) memory.fill(i, 'x');
  EXPECT_EQ(memory.numbers(source_->existing_pages(memory.address(3), memory.address(5), false)),
            (Runs{{3, 5}}));
}

TEST_P(PageFinders, ManyRuns) {
  const Mapping memory(9000);
  Runs expected;
  for (std::size_t i = 0; i < 9000; i += 2) {
    memory.fill(i, 'x');
    expected.push_back({i, i + 1});
  }
  EXPECT_EQ(existing(memory, false), expected);
}

// A page that was only read is the kernel's page of zeros: only PAGEMAP_SCAN can tell.
TEST_P(PageFinders, PagesThatWereOnlyReadAreNoneOrZeros) {
  const Mapping memory(4);
  EXPECT_EQ(*static_cast<volatile char*>(memory.page(1)), 0);
  const Runs found = existing(memory, false);
  if (GetParam() == PageFinder::entries) {
    EXPECT_EQ(found, (Runs{{1, 2}}));
  } else {
    EXPECT_EQ(found, Runs{});
  }
}

TEST_P(PageFinders, PrivateFilePagesThatWereWritten) {
  const base::UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 10 * page_size), 0);
  ASSERT_EQ(::pwrite(file.get(), "content", 7, 2 * page_size), 7);
  const Mapping memory(10, file.get());
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_GE(*static_cast<volatile char*>(memory.page(i)), 0);  // mapped, not written
  }
  memory.fill(3, 'x');
  memory.fill(7, '\0');
  EXPECT_EQ(existing(memory, true), (Runs{{3, 4}, {7, 8}}));
}

TEST_P(PageFinders, GuardsDoNotExist) {
  const Mapping memory(8);
  for (std::size_t i = 0; i < 8; ++i) memory.fill(i, 'x');
  if (::madvise(memory.page(2), 2 * page_size, madv_guard_install) != 0) {
    GTEST_SKIP() << "no guard regions before Linux 6.13";
  }
  EXPECT_EQ(existing(memory, false), (Runs{{0, 2}, {4, 8}}));
}

TEST_P(PageFinders, ThrownAwayPagesAreGone) {
  const Mapping memory(8);
  for (std::size_t i = 0; i < 8; ++i) memory.fill(i, 'x');
  ASSERT_EQ(::madvise(memory.page(2), 3 * page_size, MADV_DONTNEED), 0);
  EXPECT_EQ(existing(memory, false), (Runs{{0, 2}, {5, 8}}));
}

TEST_P(PageFinders, HugePages) {
  constexpr std::size_t huge = 512;
  const Mapping memory(3 * huge);
  ASSERT_EQ(::madvise(memory.page(0), 3 * huge * page_size, MADV_HUGEPAGE), 0);
  memory.fill(huge, 'x');  // a huge page, if there is one to be had, else a small one
  const Runs found = existing(memory, false);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_LE(found[0].start, huge);
  EXPECT_GT(found[0].end, huge);
  EXPECT_LE(found[0].size(), huge);
}

TEST_P(PageFinders, ReservationOfATerabyte) {
  if (GetParam() == PageFinder::entries) GTEST_SKIP() << "takes its time, with one entry per page";
  const std::size_t size = std::size_t{1} << 40U;
  void* reserved =
      ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(reserved, MAP_FAILED);
  const auto start = reinterpret_cast<std::uintptr_t>(reserved);
  EXPECT_EQ(source_->existing_pages(start, start + size, false), Runs{});
  ::munmap(reserved, size);
}

using Way = RemoteMemory::Way;

// With process_vm_readv(2), and as where it is refused.
class PageReading : public testing::TestWithParam<Way> {
 protected:
  static ProcessPageSource of(pid_t pid) {
    return ProcessPageSource(pid, PageFinder::automatic, GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Ways, PageReading, testing::Values(Way::automatic, Way::file),
                         [](const auto& info) {
                           return std::string(info.param == Way::file ? "File" : "Automatic");
                         });

TEST_P(PageReading, ReadsRunsOneBehindTheOther) {
  ProcessPageSource source = of(::getpid());
  const Mapping memory(3000);
  std::vector<PageRun> runs;
  for (std::size_t i = 0; i < 3000; i += 2) {  // more than process_vm_readv takes at once
    std::memcpy(memory.page(i), &i, sizeof(i));
    runs.push_back({memory.address(i), memory.address(i + 1)});
  }
  std::vector<std::byte> bytes(runs.size() * page_size);
  source.read_runs(runs, bytes);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::size_t number = 0;
    std::memcpy(&number, bytes.data() + i * page_size, sizeof(number));
    ASSERT_EQ(number, 2 * i);
  }
}

TEST_P(PageReading, ReadsWhatTheProgramItselfMayNot) {
  ProcessPageSource source = of(::getpid());
  const Mapping memory(6);
  for (std::size_t i = 0; i < 6; ++i) memory.fill(i, static_cast<char>('a' + i));
  ASSERT_EQ(::mprotect(memory.page(2), 2 * page_size, PROT_NONE), 0);
  const Runs runs = {{memory.address(0), memory.address(1)},
                     {memory.address(1), memory.address(4)},  // becomes unreadable in the middle
                     {memory.address(5), memory.address(6)}};
  std::string bytes(5 * page_size, '-');
  source.read_runs(runs, std::as_writable_bytes(std::span(bytes)));
  std::string expected;
  for (const char letter : {'a', 'b', 'c', 'd', 'f'}) expected.append(page_size, letter);
  EXPECT_EQ(bytes, expected);

  std::string one(page_size, '-');
  source.read(memory.address(2), std::as_writable_bytes(std::span(one)));
  EXPECT_EQ(one, std::string(page_size, 'c'));
}

TEST_P(PageReading, MemoryThatIsNotThereIsAnError) {
  ProcessPageSource source = of(::getpid());
  std::uint64_t address = 0;
  { address = Mapping(4).address(); }
  std::vector<std::byte> bytes(page_size);
  EXPECT_THROW(source.read(address, bytes), base::Error);
}

class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      while (true) ::pause();
    }
  }
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  void end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

TEST_P(PageReading, AnotherProcess) {
  const Mapping memory(4);
  memory.fill(1, 'x');
  const Child child;
  memory.fill(1, 'y');
  memory.fill(2, 'y');
  ProcessPageSource source = of(child.pid());
  EXPECT_EQ(memory.numbers(source.existing_pages(memory.address(), memory.end(), false)),
            (Runs{{1, 2}}));
  std::string bytes(page_size, '-');
  source.read(memory.address(1), std::as_writable_bytes(std::span(bytes)));
  EXPECT_EQ(bytes, std::string(page_size, 'x'));
}

TEST_P(PageReading, AProcessThatEnds) {
  const Mapping memory(1);
  memory.fill(0, 'x');
  Child child;
  const pid_t pid = child.pid();
  ProcessPageSource source = of(pid);
  child.end();
  std::vector<std::byte> bytes(page_size);
  try {
    source.read(memory.address(), bytes);
    FAIL() << "was read";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::program_gone) << error.what();
  }
  try {
    const ProcessPageSource again(pid);
    FAIL() << "was opened";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::ErrorCode::program_gone) << error.what();
  }
}

}  // namespace
}  // namespace torpor::process
