// The names of directories in a computation's directory.
//   7                  generation 7
//   .partial-7-4711    generation 7 while process 4711 writes it
//   .removing-7-4711   generation 7 while process 4711 removes it
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace torpor::image {

std::string partial_name(std::uint64_t generation);  // of our own process
std::string removing_name(std::uint64_t generation);

// The generation of a visible one's name: digits, no leading zero, at most 18 digits.
std::optional<std::uint64_t> parse_generation(std::string_view name);

// The generation in a partial or removing name.
std::optional<std::uint64_t> parse_hidden(std::string_view name);

}  // namespace torpor::image
