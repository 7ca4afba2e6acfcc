// What the words of a command line mean: stores, running computations, processes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "proto/control.pb.h"
#include "supervisor/supervisor.h"

namespace torpor::cli {

// The image store: what was given with --dir, else the default one. Absolute.
std::filesystem::path store_directory(const std::string& given);

supervisor::CheckpointPolicy policy(const std::string& directory, unsigned keep,
                                    const std::string& interval);

// What is to be checkpointed or checked: a running computation, or a process of nobody's.
struct Target {
  std::optional<control::Status> computation;
  pid_t pid = 0;
};

// `word`: the name of a running computation, a PID (also one inside of a computation means all of
// it), or empty: the only one that runs. Throws Error not_found, or usage when there are several.
Target find_target(const std::string& word);

// The process id that the word is; nothing if it is none.
std::optional<pid_t> parse_pid(std::string_view word);

std::optional<std::string> if_given(const std::string& word);

}  // namespace torpor::cli
