// The side of a control socket that asks.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proto/control.pb.h"

namespace torpor::supervisor {

// Called for each Progress that comes before the answer.
using OnProgress = std::function<void(const control::Progress&)>;

// Asks the supervisor of the computation `name` and waits for its answer; `timeout_ms` without a
// word from it is Error timeout (-1: for ever). Throws what it answers with if that is an error;
// Error not_found when there is no such computation, permission when the socket belongs to someone
// else, program_gone when the supervisor ends before it has answered.
control::Reply ask(const std::filesystem::path& directory, const std::string& name,
                   const control::Request& request, int timeout_ms = -1,
                   const OnProgress& on_progress = {});

// The state of one computation. Errors as ask().
control::Status status_of(const std::filesystem::path& directory, const std::string& name);

// The state of all that run and answer, by name. One that does not answer within two seconds is
// left out.
std::vector<control::Status> all_statuses(const std::filesystem::path& directory);

// The computation to which the process belongs: it is the root or below it.
std::optional<control::Status> managing(const std::filesystem::path& directory, pid_t pid);

}  // namespace torpor::supervisor
