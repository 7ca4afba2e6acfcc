#include "image/manifest_io.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <climits>
#include <cstring>

#include "base/error.h"
#include "image/checksum.h"
#include "image/file_io.h"

namespace torpor::image {

namespace {

// As with PNG: the line ends show a transfer that took the file for text.
constexpr std::array<char, 8> magic = {'T', 'O', 'R', 'P', 'O', 'R', '\r', '\n'};

struct Header {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t header_size;
  std::uint64_t body_size;
  std::uint64_t checksum;  // of the body
};
static_assert(sizeof(Header) == 32);

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Reads the header of this or any later version: magic and version never move.
Header decode_header(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.empty()) throw_bad_image(name, "truncated: it is empty");
  Header header{};
  const std::size_t there = std::min(bytes.size(), sizeof(header));
  std::memcpy(&header, bytes.data(), there);
  if (header.magic != magic) throw_bad_image(name, "not a manifest of torpor");
  if (there < offsetof(Header, header_size)) throw_bad_image(name, "truncated in its header");
  if (header.version > format_version) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("{}: has format version {}, this torpor knows versions up to {}",
                                  name, header.version, format_version),
                      "use a newer torpor");
  }
  if (there < sizeof(header)) throw_bad_image(name, "truncated in its header");
  if (header.version == 0 || header.header_size != sizeof(header)) {
    throw_bad_image(name, "damaged: impossible version or size of the header");
  }
  return header;
}

void check_body(const Header& header, std::span<const std::byte> body, const std::string& name) {
  if (body.size() < header.body_size) {
    throw_bad_image(
        name, fmt::format("truncated: {} of {} bytes are there", body.size(), header.body_size));
  }
  if (body.size() > header.body_size) {
    throw_bad_image(
        name, fmt::format("damaged: {} bytes too many at its end", body.size() - header.body_size));
  }
  if (checksum(body) != header.checksum)
    throw_bad_image(name, "damaged: its checksum does not fit");
}

bool is_regular(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

// Protobuf takes no more; and a file that was blown up must not take all memory.
snapshot::Manifest read_manifest_of(int fd, const std::string& name) {
  if (size_of(fd) > INT_MAX) throw_bad_image(name, "damaged: larger than any manifest can be");
  return decode_manifest(read_whole(fd, name), name);
}

}  // namespace

std::string encode_manifest(const snapshot::Manifest& manifest) {
  std::string body;
  if (!manifest.SerializeToString(&body) || body.size() > INT_MAX - sizeof(Header)) {
    throw base::Error(base::ErrorCode::internal, "the manifest is too large to be written");
  }
  const Header header{magic, manifest.format_version(), sizeof(Header), body.size(),
                      checksum(bytes_of(body))};
  std::string file(sizeof(header), '\0');
  std::memcpy(file.data(), &header, sizeof(header));
  return file + body;
}

snapshot::Manifest decode_manifest(std::span<const std::byte> bytes, const std::string& name) {
  const Header header = decode_header(bytes, name);
  const auto body = bytes.subspan(sizeof(Header));
  check_body(header, body, name);
  snapshot::Manifest manifest;
  if (body.size() > INT_MAX ||
      !manifest.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    throw_bad_image(name, "damaged: it cannot be parsed");
  }
  if (manifest.format_version() != header.version) {
    throw_bad_image(name, "damaged: header and content have different versions");
  }
  return manifest;
}

snapshot::Manifest read_manifest_at(int directory_fd, const std::filesystem::path& directory) {
  const std::string name = directory / manifest_name;
  const base::UniqueFd fd(
      ::openat(directory_fd, manifest_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd && errno == ENOENT)
    throw_bad_image(directory, fmt::format("not an image: it has no {}", manifest_name));
  if (!fd && errno == ELOOP) throw_bad_image(name, "not a regular file");
  if (!fd) base::throw_system("opening {}", name);
  if (!is_regular(fd.get())) throw_bad_image(name, "not a regular file");
  return read_manifest_of(fd.get(), name);
}

snapshot::Manifest read_manifest(const std::filesystem::path& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) base::throw_system("opening {}", path.native());
  return read_manifest_of(fd.get(), path);
}

}  // namespace torpor::image
