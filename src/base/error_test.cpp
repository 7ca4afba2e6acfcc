#include "base/error.h"

#include <gmock/gmock.h>

#include <set>

namespace torpor::base {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Error caught(void (*function)()) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::internal, ""};
}

TEST(Error, CarriesCodeTextAndRemedy) {
  const Error error(ErrorCode::conflict, "pid 7 is taken", "end it first");
  EXPECT_EQ(error.code(), ErrorCode::conflict);
  EXPECT_STREQ(error.what(), "pid 7 is taken");
  EXPECT_EQ(error.remedy(), "end it first");
}

TEST(Error, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 100; code <= 110; ++code) names.insert(error_name(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), 11U);
}

TEST(Error, CodesOfErrnos) {
  EXPECT_EQ(code_for_errno(EPERM), ErrorCode::permission);
  EXPECT_EQ(code_for_errno(ESRCH), ErrorCode::program_gone);
  EXPECT_EQ(code_for_errno(ENOENT), ErrorCode::not_found);
  EXPECT_EQ(code_for_errno(ENOSYS), ErrorCode::host_lacks);
  EXPECT_EQ(code_for_errno(ENOSPC), ErrorCode::io);
}

TEST(Error, ThrowSystemTellsWhatWhereAndWhy) {
  const Error error = caught([] {
    errno = ENOSPC;
    throw_system("write {} bytes to fd {}", 12, 5);
  });
  EXPECT_EQ(error.code(), ErrorCode::io);
  EXPECT_THAT(error.what(), HasSubstr("write 12 bytes to fd 5: No space left on device"));
  EXPECT_THAT(error.remedy(), Not(IsEmpty()));
}

TEST(Error, ThrowErrnoDoesNotLookAtErrno) {
  const Error error = caught([] {
    errno = ENOSPC;
    throw_errno(EACCES, "open /x");
  });
  EXPECT_EQ(error.code(), ErrorCode::permission);
  EXPECT_STREQ(error.what(), "open /x: Permission denied");
}

}  // namespace
}  // namespace torpor::base
