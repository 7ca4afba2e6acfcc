#include "supervisor/runtime_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace torpor::supervisor {
namespace {

namespace fs = std::filesystem;

class RuntimeDir : public ::testing::Test {
 protected:
  RuntimeDir() {
    std::string name = (fs::temp_directory_path() / "torpor-test-XXXXXX").string();
    base_ = ::mkdtemp(name.data());
    directory_ = base_ / "torpor";
  }
  ~RuntimeDir() override { fs::remove_all(base_); }

  base::ErrorCode error_of(auto action) {
    try {
      action();
    } catch (const base::Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return base::ErrorCode::internal;
  }

  fs::path base_;
  fs::path directory_;
};

TEST_F(RuntimeDir, IsMadeForTheOwnerAlone) {
  open_runtime_directory(directory_);
  struct stat facts {};
  ASSERT_EQ(::stat(directory_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0700U);
  EXPECT_NO_THROW(open_runtime_directory(directory_));  // and used again
}

TEST_F(RuntimeDir, OthersMustNotGetIn) {
  fs::create_directory(directory_);
  for (const mode_t mode : {0710U, 0701U, 0770U, 0777U, 01777U}) {
    ASSERT_EQ(::chmod(directory_.c_str(), mode), 0);
    EXPECT_EQ(error_of([&] { open_runtime_directory(directory_); }), base::ErrorCode::permission);
  }
}

TEST_F(RuntimeDir, MustNotBeSomebodyElses) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to make such a directory";
  fs::create_directory(directory_);
  ASSERT_EQ(::chown(directory_.c_str(), 65534, 65534), 0);
  ASSERT_EQ(::chmod(directory_.c_str(), 0700), 0);
  EXPECT_EQ(error_of([&] { open_runtime_directory(directory_); }), base::ErrorCode::permission);
}

TEST_F(RuntimeDir, MustNotBeALinkOrFile) {
  fs::create_directory(base_ / "real");
  ::chmod((base_ / "real").c_str(), 0700);
  fs::create_directory_symlink(base_ / "real", directory_);
  EXPECT_THROW(open_runtime_directory(directory_), base::Error);
  fs::remove(directory_);
  std::ofstream(directory_) << "x";
  EXPECT_THROW(open_runtime_directory(directory_), base::Error);
}

TEST_F(RuntimeDir, IsWhereTheEnvironmentSaysIfThatIsOurs) {
  ::setenv("XDG_RUNTIME_DIR", base_.c_str(), 1);
  EXPECT_EQ(runtime_directory(), base_ / "torpor");
  const fs::path fallback = fmt::format("/tmp/torpor-{}", ::geteuid());
  ::setenv("XDG_RUNTIME_DIR", (base_ / "missing").c_str(), 1);
  EXPECT_EQ(runtime_directory(), fallback);
  ::setenv("XDG_RUNTIME_DIR", "relative", 1);
  EXPECT_EQ(runtime_directory(), fallback);
  ::unsetenv("XDG_RUNTIME_DIR");
  EXPECT_EQ(runtime_directory(), fallback);
}

TEST_F(RuntimeDir, ANameIsTakenOnce) {
  const NameClaim first = NameClaim::exactly(directory_, "x");
  EXPECT_EQ(first.name(), "x");
  EXPECT_EQ(error_of([&] { NameClaim::exactly(directory_, "x"); }), base::ErrorCode::conflict);
  EXPECT_NO_THROW(NameClaim::exactly(directory_, "y"));
}

TEST_F(RuntimeDir, ANameIsFreeAgainWithItsOwner) {
  { const NameClaim claim = NameClaim::exactly(directory_, "x"); }
  EXPECT_NO_THROW(NameClaim::exactly(directory_, "x"));
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(RuntimeDir, NumbersKeepNamesApart) {
  const NameClaim first = NameClaim::unique(directory_, "python3", {});
  const NameClaim second = NameClaim::unique(directory_, "python3", {});
  const NameClaim fourth = NameClaim::unique(directory_, "python3", {"python3-3"});
  EXPECT_EQ(first.name(), "python3");
  EXPECT_EQ(second.name(), "python3-2");
  EXPECT_EQ(fourth.name(), "python3-4");
}

TEST_F(RuntimeDir, WhatADeadOwnerLeftBehindIsRemoved) {
  const base::UniqueFd fd = open_runtime_directory(directory_);
  std::ofstream(directory_ / "x.sock") << "";
  std::ofstream(directory_ / "x.lock") << "";
  const NameClaim claim = NameClaim::exactly(directory_, "x");
  EXPECT_FALSE(fs::exists(directory_ / "x.sock"));
}

TEST_F(RuntimeDir, OnlyNamesAreNames) {
  const std::string longest(max_name_length, 'a');
  EXPECT_NO_THROW(NameClaim::exactly(directory_, longest));
  for (const std::string& name : {std::string(), std::string("../x"), std::string("a/b"),
                                  std::string(".x"), std::string("-x"), longest + "a"}) {
    EXPECT_EQ(error_of([&] { NameClaim::exactly(directory_, name); }), base::ErrorCode::usage);
  }
}

TEST_F(RuntimeDir, SocketsAreListedByName) {
  EXPECT_TRUE(socket_names(directory_).empty());
  open_runtime_directory(directory_);
  for (const char* file : {"b.sock", "a.b.sock", "a.lock", "c"})
    std::ofstream(directory_ / file) << "";
  EXPECT_EQ(socket_names(directory_), (std::vector<std::string>{"a.b", "b"}));
}

}  // namespace
}  // namespace torpor::supervisor
