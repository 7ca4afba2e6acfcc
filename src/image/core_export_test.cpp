#include "image/core_export.h"

#include <gtest/gtest.h>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::ErrorCode;
using testing::TempDirectory;

class Export : public ::testing::Test {
 protected:
  Export() : path_(testing::write_example_image(Store(directory_.path(), "job"))) {}

  [[nodiscard]] std::optional<ErrorCode> result(std::int32_t pid) const {
    return testing::error_of([&] { export_core(Image::open(path_), pid, target()); });
  }
  [[nodiscard]] std::filesystem::path target() const { return directory_.path() / "a.core"; }

  TempDirectory directory_;
  std::filesystem::path path_;
};

TEST_F(Export, IsTheCoreFile) {
  EXPECT_EQ(result(100), std::nullopt);
  EXPECT_EQ(testing::content_of(target()), testing::content_of(path_ / "100.core"));
  EXPECT_EQ(std::filesystem::status(target()).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(Export, SaysWhatThereIsNot) {
  EXPECT_EQ(result(4711), ErrorCode::not_found);
  EXPECT_EQ(result(102), ErrorCode::refused);  // the zombie
  EXPECT_FALSE(std::filesystem::exists(target()));
}

TEST_F(Export, NeverOverwrites) {
  testing::put(target(), "precious");
  EXPECT_EQ(result(100), ErrorCode::io);
  EXPECT_EQ(testing::content_of(target()), "precious");
}

TEST_F(Export, DamagedPagesAreNotGivenOut) {
  std::string core = testing::content_of(path_ / "100.core");
  core[base::page_size] ^= 1;
  testing::put(path_ / "100.core", core);
  EXPECT_EQ(result(100), ErrorCode::bad_image);
  EXPECT_FALSE(std::filesystem::exists(target()));
}

}  // namespace
}  // namespace torpor::image
