// The manifest's file: a header with magic, version, length and checksum, then a protobuf message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "proto/snapshot.pb.h"

namespace torpor::image {

inline constexpr char manifest_name[] = "manifest.torpor";
inline constexpr std::uint32_t format_version = 1;

// The content of the file. The header's version is manifest.format_version().
std::string encode_manifest(const snapshot::Manifest& manifest);

// `name` is the file's, for errors. Throws Error bad_image: not an image, newer version, truncated,
// damaged, unparsable, trailing bytes.
snapshot::Manifest decode_manifest(std::span<const std::byte> bytes, const std::string& name);

// `path` is that of the manifest itself. Throws as decode_manifest, Error not_found or io.
snapshot::Manifest read_manifest(const std::filesystem::path& path);

// The manifest in an open directory of an image; `directory` is its path, for errors. A directory
// without a manifest is a bad_image.
snapshot::Manifest read_manifest_at(int directory_fd, const std::filesystem::path& directory);

}  // namespace torpor::image
