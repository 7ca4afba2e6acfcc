#include <gtest/gtest.h>

#include <optional>

#include "image/manifest_io.h"
#include "image/store.h"
#include "image/test_support.h"

namespace torpor::image {
namespace {

namespace fs = std::filesystem;
using base::ErrorCode;

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = ::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) const {
    value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> before_;
};

class Resolve : public ::testing::Test {
 protected:
  Resolve() {
    for (const char* image : {"job/2", "job/11", "other/1"}) {
      fs::create_directories(root() / image);
      testing::put(root() / image / manifest_name, "");
    }
    fs::create_directories(root() / "empty");
  }
  [[nodiscard]] const fs::path& root() const { return directory_.path(); }
  [[nodiscard]] fs::path resolved(std::string_view reference) const {
    return resolve(root(), reference);
  }
  [[nodiscard]] std::optional<ErrorCode> problem(std::string_view reference) const {
    return testing::error_of([&] { (void)resolved(reference); });
  }

 private:
  testing::TempDirectory directory_;
};

TEST_F(Resolve, Names) {
  EXPECT_EQ(resolved("job"), root() / "job/11");
  EXPECT_EQ(resolved("job@2"), root() / "job/2");
  EXPECT_EQ(problem("job@3"), ErrorCode::not_found);
  EXPECT_EQ(problem("none"), ErrorCode::not_found);
  EXPECT_EQ(problem("empty"), ErrorCode::not_found);
  for (const char* bad : {"job@", "job@x", "job@02", "job@0", "@1", "", "a b", ".x"}) {
    EXPECT_EQ(problem(bad), ErrorCode::usage) << bad;
  }
}

TEST_F(Resolve, Paths) {
  const std::string root_path = root().string();
  EXPECT_EQ(resolve("/nowhere", root_path + "/job/2"), root() / "job/2");
  EXPECT_EQ(resolve("/nowhere", root_path + "/job/2/"), root() / "job/2");
  EXPECT_EQ(resolve("/nowhere", root_path + "/other/../job/"), root() / "job/11");
  for (const char* bad : {"", "/empty", "/none", "/job/3", "/job/2/manifest.torpor"}) {
    EXPECT_EQ(problem(root_path + bad), ErrorCode::not_found) << bad;
  }
  EXPECT_EQ(problem("/"), ErrorCode::not_found);
}

TEST_F(Resolve, CopiedImageOfAnyName) {
  fs::create_directories(root() / "usb stick/.my image");
  testing::put(root() / "usb stick/.my image" / manifest_name, "");
  EXPECT_EQ(resolved(root().string() + "/usb stick/.my image"), root() / "usb stick/.my image");
}

TEST_F(Resolve, RelativePaths) {
  const fs::path before = fs::current_path();
  fs::current_path(root() / "job/2");
  const fs::path here = resolved(".");
  const fs::path above = resolved("..");
  fs::current_path(before);
  EXPECT_EQ(here, root() / "job/2");
  EXPECT_EQ(above, root() / "job/11");
}

TEST(DefaultDirectory, FirstOfThree) {
  const Environment home("HOME", "/home/me");
  {
    const Environment own("TORPOR_DIR", "/mine");
    const Environment state("XDG_STATE_HOME", "/state");
    EXPECT_EQ(default_directory(), "/mine");
  }
  const Environment own("TORPOR_DIR", nullptr);
  {
    const Environment state("XDG_STATE_HOME", "/state");
    EXPECT_EQ(default_directory(), "/state/torpor");
  }
  {
    const Environment state("XDG_STATE_HOME", "relative");  // to be ignored, says the standard
    EXPECT_EQ(default_directory(), "/home/me/.local/state/torpor");
  }
  const Environment state("XDG_STATE_HOME", nullptr);
  EXPECT_EQ(default_directory(), "/home/me/.local/state/torpor");
}

}  // namespace
}  // namespace torpor::image
