// Saying things: results on standard output, warnings and errors on standard error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/json.h"

namespace torpor::cli {

// Standard output, one line. Throws Error io when it cannot be written (a full disk).
void print_line(std::string_view text);
void print_json(const Json& json);

// Standard error: "torpor: warning: <text>".
void warn(std::string_view text);

// "torpor: <what>", "  try: <remedy>" on standard error. With `json` an object
// {"error":{"code","name","what","remedy"}} on standard output instead.
void print_error(const base::Error& error, bool json);

// Rows of cells, in columns as wide as need be. Control characters are shown as blanks.
std::string align(const std::vector<std::vector<std::string>>& rows);

}  // namespace torpor::cli
