// XXH3-64, the checksum of everything in an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace torpor::image {

[[nodiscard]] std::uint64_t checksum(std::span<const std::byte> bytes);

// Of `fd` from `from` to `to`; `name` is for errors. Throws Error bad_image if the file is shorter.
[[nodiscard]] std::uint64_t checksum_of_file(int fd, std::uint64_t from, std::uint64_t to,
                                             const char* name);

}  // namespace torpor::image
