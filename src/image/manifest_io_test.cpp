#include "image/manifest_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "image/checksum.h"
#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::ErrorCode;
using ::testing::HasSubstr;

snapshot::Manifest example() {
  snapshot::Manifest manifest;
  manifest.set_format_version(format_version);
  manifest.set_name("job");
  manifest.set_generation(3);
  manifest.mutable_computation()->add_processes()->set_pid(4711);
  return manifest;
}

// The text of the bad_image error that decoding gives; fails the test on anything else.
std::string problem_of(const std::string& file) {
  std::string what;
  const auto code =
      testing::error_of([&] { decode_manifest(testing::bytes_of(file), "dir/manifest"); }, &what);
  EXPECT_EQ(code, ErrorCode::bad_image) << what;
  EXPECT_THAT(what, HasSubstr("dir/manifest"));
  return what;
}

// A manifest whose body is replaced, with a checksum that fits.
std::string with_body(const std::string& body) {
  std::string file = encode_manifest(example()).substr(0, 16);
  const std::uint64_t numbers[2] = {body.size(), checksum(testing::bytes_of(body))};
  file.append(reinterpret_cast<const char*>(numbers), sizeof(numbers));
  return file + body;
}

TEST(Manifest, ComesBackAsItWas) {
  const std::string file = encode_manifest(example());
  const snapshot::Manifest read = decode_manifest(testing::bytes_of(file), "manifest");
  EXPECT_EQ(read.SerializeAsString(), example().SerializeAsString());
}

TEST(Manifest, EveryFlippedBitIsFound) {
  const std::string good = encode_manifest(example());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    SCOPED_TRACE(bit);
    problem_of(bad);
  }
}

TEST(Manifest, EveryTruncationIsFound) {
  const std::string good = encode_manifest(example());
  for (std::size_t length = 0; length < good.size(); ++length) {
    SCOPED_TRACE(length);
    EXPECT_THAT(problem_of(good.substr(0, length)),
                ::testing::AnyOf(HasSubstr("truncated"), HasSubstr("not a manifest")));
  }
}

TEST(Manifest, SaysWhatIsWrong) {
  const std::string good = encode_manifest(example());
  EXPECT_THAT(problem_of("#!/bin/sh\nexec true\n and some more text"), HasSubstr("not a manifest"));
  EXPECT_THAT(problem_of(good + "x"), HasSubstr("1 bytes too many"));
  std::string damaged = good;
  damaged.back() ^= 1;
  EXPECT_THAT(problem_of(damaged), HasSubstr("checksum"));
  EXPECT_THAT(problem_of(with_body("\xff\xff\xff")), HasSubstr("cannot be parsed"));
}

TEST(Manifest, NewerVersionIsNamedWithTheRemedy) {
  snapshot::Manifest newer = example();
  newer.set_format_version(format_version + 6);
  const std::string file = encode_manifest(newer);
  try {
    decode_manifest(testing::bytes_of(file), "manifest");
    FAIL() << "was read";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_image);
    EXPECT_THAT(error.what(), HasSubstr("version 7"));
    EXPECT_THAT(error.what(), HasSubstr("up to 1"));
    EXPECT_THAT(error.remedy(), HasSubstr("newer torpor"));
  }
}

TEST(Manifest, HeaderAndContentMustAgreeOnTheVersion) {
  snapshot::Manifest other = example();
  other.set_format_version(9);
  EXPECT_THAT(problem_of(with_body(other.SerializeAsString())), HasSubstr("different versions"));
}

TEST(Manifest, MissingFileIsNotFoundAndMissingInADirectoryIsNoImage) {
  const testing::TempDirectory directory;
  EXPECT_EQ(testing::error_of([&] { read_manifest(directory.path() / "none"); }),
            ErrorCode::not_found);
  EXPECT_EQ(testing::error_of([&] { read_manifest_at(directory.fd(), directory.path()); }),
            ErrorCode::bad_image);
}

TEST(Manifest, LargerThanAnyCanBeIsNotEvenRead) {
  const testing::TempDirectory directory;
  testing::put(directory.path() / manifest_name, encode_manifest(example()));
  std::filesystem::resize_file(directory.path() / manifest_name, std::uint64_t{1} << 40U);
  EXPECT_EQ(testing::error_of([&] { read_manifest(directory.path() / manifest_name); }),
            ErrorCode::bad_image);
}

}  // namespace
}  // namespace torpor::image
