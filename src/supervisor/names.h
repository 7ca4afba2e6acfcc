// What a computation is called when nobody says it.
#pragma once

#include <string>
#include <string_view>

namespace torpor::supervisor {

// The last component of the program's path, made fit for a name: other characters than
// [A-Za-z0-9._+-] become '_', the first one is neither '.' nor '-', and it is short enough for a
// number to be put behind it. Never empty.
std::string base_name(std::string_view program);

}  // namespace torpor::supervisor
