// The command line as a whole.
#pragma once

namespace torpor::cli {

// Does what the arguments say and returns the exit status. Never throws: errors are printed.
int run(int argc, char** argv);

}  // namespace torpor::cli
