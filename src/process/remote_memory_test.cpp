#include "process/remote_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <string>

#include "base/error.h"
#include "base/page_source.h"
#include "process/proc_test_support.h"

namespace torpor::process {
namespace {

using base::page_size;
using base::RemotePtr;
using Way = RemoteMemory::Way;

constexpr std::size_t kPages = 6;

// Memory that a child has at the same place.
class Remote : public testing::TestWithParam<Way> {
 protected:
  Remote()
      : place_(static_cast<char*>(::mmap(nullptr, kPages * page_size, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        child_([this] { prepare(); }) {}
  ~Remote() override { ::munmap(place_, kPages * page_size); }

  [[nodiscard]] RemotePtr page(std::size_t number) const {
    return RemotePtr(reinterpret_cast<std::uint64_t>(place_) + number * page_size);
  }
  [[nodiscard]] std::string text(RemotePtr at, std::size_t bytes) const {
    std::string read(bytes, '-');
    RemoteMemory(child_.pid(), GetParam()).read(at, std::as_writable_bytes(std::span(read)));
    return read;
  }
  [[nodiscard]] RemoteMemory memory() const { return RemoteMemory(child_.pid(), GetParam()); }
  [[nodiscard]] pid_t pid() const { return child_.pid(); }

 private:
  void prepare() const {
    for (std::size_t i = 0; i < kPages; ++i) place_[i * page_size] = static_cast<char>('a' + i);
    ::mprotect(place_ + page_size, page_size, PROT_READ);
    ::mprotect(place_ + 2 * page_size, page_size, PROT_NONE);
    ::munmap(place_ + 5 * page_size, page_size);
  }

  char* place_;
  TestChild child_;
};
INSTANTIATE_TEST_SUITE_P(Ways, Remote, testing::Values(Way::automatic, Way::file),
                         [](const auto& info) {
                           return std::string(info.param == Way::file ? "File" : "Automatic");
                         });

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST_P(Remote, Reads) {
  EXPECT_EQ(text(page(0), 2), std::string("a\0", 2));
  EXPECT_EQ(text(page(2), 1), "c");  // which the process itself may not
  EXPECT_EQ(text(page(0), 3 * page_size)[2 * page_size], 'c');
}

TEST_P(Remote, Writes) {
  memory().write(page(1) + 3, bytes_of("read only"));
  EXPECT_EQ(text(page(1) + 3, 9), "read only");
}

TEST_P(Remote, ScattersOverPlaces) {
  const std::array<iovec, 3> places{
      {{reinterpret_cast<void*>(page(4).address()), 2},
       {reinterpret_cast<void*>(page(0).address() + 7), 3},
       {reinterpret_cast<void*>(page(3).address() + page_size - 1), 1}}};
  memory().scatter(bytes_of("123456"), places);
  EXPECT_EQ(text(page(4), 2), "12");
  EXPECT_EQ(text(page(0) + 7, 3), "345");
  EXPECT_EQ(text(page(3) + (page_size - 1), 1), "6");
}

TEST_P(Remote, WhatIsNotThereIsAnErrorThatNamesIt) {
  expect_error(base::ErrorCode::io, fmt::format("{:#x}", page(5).address()),
               [this] { static_cast<void>(text(page(5), 1)); });
  expect_error(base::ErrorCode::io, fmt::format("process {}", pid()),
               [this] { memory().write(page(5), bytes_of("x")); });
}

// Not a refusal of the host's, though its files in /proc belong to somebody else now.
TEST_P(Remote, OfAProcessThatHasEndedIsGone) {
  const RemoteMemory open_before = memory();
  ::kill(pid(), SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid()), &info, WEXITED | WNOWAIT);
  char byte = 0;
  expect_error(base::ErrorCode::program_gone, fmt::format("process {}", pid()),
               [&] { open_before.read(page(0), std::as_writable_bytes(std::span(&byte, 1))); });
  expect_error(base::ErrorCode::program_gone, fmt::format("process {}", pid()),
               [this] { memory().write(page(1), bytes_of("x")); });
}

}  // namespace
}  // namespace torpor::process
