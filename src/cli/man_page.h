// Man pages, in the language of man(7).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/docs_model.h"

namespace torpor::cli {

// torpor(1).
std::string main_man_page(const std::vector<CommandDoc>& commands);
// torpor-<command>(1).
std::string command_man_page(const CommandDoc& command);

// Text as man(7) wants it: nothing in it is taken for a request or an escape.
std::string roff(std::string_view text);

}  // namespace torpor::cli
