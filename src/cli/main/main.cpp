#include "cli/run.h"

int main(int argc, char** argv) { return torpor::cli::run(argc, argv); }
