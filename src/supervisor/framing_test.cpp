#include "supervisor/framing.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "proto/control.pb.h"

namespace torpor::supervisor {
namespace {

control::Request kill_request() {
  control::Request request;
  request.mutable_checkpoint()->set_kill(true);
  request.mutable_checkpoint()->set_directory("/some/where");
  return request;
}

TEST(Framing, AMessageComesBackWhateverThePieces) {
  const std::string frame = encode_frame(kill_request());
  for (std::size_t cut = 0; cut <= frame.size(); ++cut) {
    FrameReader reader;
    control::Request read;
    reader.feed(std::string_view(frame).substr(0, cut));
    EXPECT_EQ(reader.next(read), cut == frame.size());
    reader.feed(std::string_view(frame).substr(cut));
    if (cut < frame.size()) {
      EXPECT_TRUE(reader.next(read));
    }
    EXPECT_EQ(read.SerializeAsString(), kill_request().SerializeAsString());
    EXPECT_TRUE(reader.empty());
    EXPECT_FALSE(reader.next(read));
  }
}

TEST(Framing, MessagesFollowEachOther) {
  control::Request status;
  status.mutable_status();
  FrameReader reader;
  reader.feed(encode_frame(status) + encode_frame(kill_request()) + encode_frame(status));
  control::Request read;
  EXPECT_TRUE(reader.next(read) && read.has_status());
  EXPECT_TRUE(reader.next(read) && read.has_checkpoint());
  EXPECT_TRUE(reader.next(read) && read.has_status());
  EXPECT_FALSE(reader.next(read));
}

TEST(Framing, AnEmptyMessageIsAMessage) {
  FrameReader reader;
  reader.feed(std::string(4, '\0'));
  control::Request read = kill_request();
  EXPECT_TRUE(reader.next(read));
  EXPECT_EQ(read.kind_case(), control::Request::KIND_NOT_SET);
}

TEST(Framing, ALengthOutOfBoundsIsRefusedBeforeItsBytesCome) {
  for (const std::string_view length : {"\x01\x00\x10\x00", "\xff\xff\xff\xff", "GET "}) {
    FrameReader reader;
    EXPECT_THROW(reader.feed(std::string_view(length.data(), 4)), base::Error);
  }
}

TEST(Framing, ABadLengthBehindAGoodMessageIsRefused) {
  FrameReader reader;
  reader.feed(encode_frame(kill_request()) + "\xff\xff\xff\xff");
  control::Request read;
  EXPECT_THROW(reader.next(read), base::Error);
}

TEST(Framing, TheLargestLengthIsAccepted) {
  control::Request request;
  request.mutable_checkpoint()->set_directory(std::string(max_message_size - 12, 'x'));
  while (request.ByteSizeLong() < max_message_size) {
    request.mutable_checkpoint()->mutable_directory()->push_back('x');
  }
  ASSERT_EQ(request.ByteSizeLong(), max_message_size);
  FrameReader reader;
  reader.feed(encode_frame(request));
  control::Request read;
  EXPECT_TRUE(reader.next(read));
  request.mutable_checkpoint()->mutable_directory()->push_back('x');
  EXPECT_THROW(encode_frame(request), base::Error);
}

TEST(Framing, WhatDoesNotParseIsAnError) {
  FrameReader reader;
  reader.feed(std::string("\x02\0\0\0\x12\x7f", 6));  // a field that is longer than the message
  control::Request read;
  EXPECT_THROW(reader.next(read), base::Error);
}

TEST(Framing, NoiseIsNeverMoreThanAnError) {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string noise = round % 2 == 0 ? encode_frame(kill_request()) : std::string(32, '\0');
    for (int i = 0; i < 4; ++i) noise[random() % noise.size()] = static_cast<char>(random());
    FrameReader reader;
    control::Request read;
    try {
      reader.feed(noise);
      while (reader.next(read)) {
      }
    } catch (const base::Error& error) {
      EXPECT_EQ(error.code(), base::ErrorCode::io);
    }
  }
}

}  // namespace
}  // namespace torpor::supervisor
