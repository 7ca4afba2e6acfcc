#include "cli/commands.h"
#include "cli/output.h"
namespace torpor::cli {
int docs_command(const DocsArguments&) { return 0; }
}  // namespace torpor::cli
