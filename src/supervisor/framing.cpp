#include "supervisor/framing.h"

#include "base/error.h"

namespace torpor::supervisor {
namespace {

constexpr std::size_t header_size = 4;

base::Error not_ours(std::string what) {
  return {base::ErrorCode::io, std::move(what),
          "the other side is not torpor, or of another version: use the same one on both sides"};
}

}  // namespace

std::string encode_frame(const google::protobuf::MessageLite& message) {
  const std::size_t size = message.ByteSizeLong();
  if (size > max_message_size) {
    throw base::Error(base::ErrorCode::internal,
                      fmt::format("a control message of {} bytes is too long", size));
  }
  std::string frame;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    frame.push_back(static_cast<char>(size >> shift & 0xff));
  }
  message.AppendToString(&frame);
  return frame;
}

std::uint32_t FrameReader::length() const {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < header_size; ++i) {
    length |= std::uint32_t{static_cast<unsigned char>(buffer_[i])} << (8 * i);
  }
  return length;
}

void FrameReader::check_length() const {
  if (buffer_.size() < header_size || length() <= max_message_size) return;
  throw not_ours(fmt::format("a control message claims to be {} bytes long", length()));
}

void FrameReader::feed(std::string_view bytes) {
  buffer_.append(bytes);
  check_length();
}

bool FrameReader::next(google::protobuf::MessageLite& message) {
  if (buffer_.size() < header_size || buffer_.size() - header_size < length()) return false;
  const std::size_t size = length();
  if (!message.ParseFromArray(buffer_.data() + header_size, static_cast<int>(size))) {
    throw not_ours(fmt::format("a control message of {} bytes cannot be understood", size));
  }
  buffer_.erase(0, header_size + size);
  check_length();
  return true;
}

}  // namespace torpor::supervisor
