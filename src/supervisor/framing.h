// Messages on a stream: four bytes of length, little-endian, then a protobuf message.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace torpor::supervisor {

inline constexpr std::uint32_t max_message_size = 1u << 20;

// Throws Error internal if the message is longer than max_message_size.
std::string encode_frame(const google::protobuf::MessageLite& message);

// Puts the pieces of a stream together. The sender is not trusted: at most one message of the
// greatest size is ever held, and what does not parse is an error.
class FrameReader {
 public:
  // Takes the next bytes of the stream. Throws Error io as soon as a length is out of bounds.
  void feed(std::string_view bytes);

  // Takes the next complete message; false if there is none yet. Throws Error io when it does
  // not parse.
  bool next(google::protobuf::MessageLite& message);

  // Nothing of an unfinished message is held.
  [[nodiscard]] bool empty() const { return buffer_.empty(); }

 private:
  [[nodiscard]] std::uint32_t length() const;
  void check_length() const;

  std::string buffer_;
};

}  // namespace torpor::supervisor
