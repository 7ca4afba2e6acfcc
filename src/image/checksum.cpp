#include "image/checksum.h"

// Inlined, so that the hash itself is compiled for our own use of it and no symbol version matters.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "image/file_io.h"

namespace torpor::image {

struct Hasher::State {
  XXH3_state_t xxh;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh); }
Hasher::~Hasher() = default;

void Hasher::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::uint64_t Hasher::value() const { return XXH3_64bits_digest(&state_->xxh); }

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t checksum_of_file(int fd, std::uint64_t from, std::uint64_t to,
                               const std::string& name) {
  constexpr std::uint64_t piece = std::uint64_t{1} << 20;
  Hasher hasher;
  std::vector<std::byte> buffer(std::min(piece, to - from));
  for (std::uint64_t at = from; at < to; at += buffer.size()) {
    buffer.resize(std::min(piece, to - at));
    read_exactly(fd, at, buffer, name);
    hasher.add(buffer);
  }
  return hasher.value();
}

}  // namespace torpor::image
