// Completion of the command line in shells. What can only be known at that moment, the names of
// computations, is asked for with `torpor docs running` and `torpor docs stored`.
#pragma once

#include <string>
#include <vector>

#include "cli/docs_model.h"

namespace torpor::cli {

std::string bash_completion(const std::vector<CommandDoc>& commands);
std::string zsh_completion(const std::vector<CommandDoc>& commands);
std::string fish_completion(const std::vector<CommandDoc>& commands);

}  // namespace torpor::cli
