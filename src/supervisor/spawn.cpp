#include "supervisor/spawn.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/unique_fd.h"

namespace torpor::supervisor {
namespace {

std::string remedy_for(int error, const std::string& program) {
  if (error == ENOENT && program.find('/') == std::string::npos) {
    return "is it installed, and in a directory of PATH?";
  }
  if (error == EACCES) return "make it executable (chmod +x), or name its interpreter";
  return {};
}

std::optional<std::string> find_in_path(const std::string& program, int permission) {
  const char* path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/bin:/usr/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    std::string found = fmt::format("{}/{}", directory.empty() ? "." : directory, program);
    if (::access(found.c_str(), permission) == 0) return found;
  }
  return std::nullopt;
}

bool is_in_path(const std::string& program) { return find_in_path(program, F_OK).has_value(); }

// What execvp(3) would execute.
std::string path_of(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  if (const auto path = find_in_path(program, X_OK)) return *path;
  return find_in_path(program, F_OK).value_or("/nonexistent/" + program);
}

// execvp(3) says EACCES when it was refused a look into one of the directories, and the program is
// in none of the others. That is "not found" to anybody else.
int what_a_shell_would_say(int error, const std::string& program) {
  const bool searched = program.find('/') == std::string::npos;
  return error == EACCES && searched && !is_in_path(program) ? ENOENT : error;
}

// Puts the streams to their places. Those that must not be overwritten before they are used are
// first moved out of the way.
bool place_streams(std::array<int, 3> streams) {
  for (int i = 0; i < 3; ++i) {
    int& stream = streams[static_cast<std::size_t>(i)];
    if (stream != i && stream < 3) stream = ::fcntl(stream, F_DUPFD_CLOEXEC, 3);
  }
  for (int i = 0; i < 3; ++i) {
    const int stream = streams[static_cast<std::size_t>(i)];
    // A stream that was closed for us stays closed for the program.
    if (stream != i && stream >= 0 && ::dup2(stream, i) < 0) return false;
  }
  return true;
}

// `program`: the file to be executed, or -1 for what the first argument names.
void execute(int program, char** arguments, int error_pipe) {
  if (program < 0) {
    ::execvp(arguments[0], arguments);
  } else {
    ::fcntl(error_pipe, F_SETFD, 0);  // whoever is executed first hands it on
    ::fexecve(program, arguments, environ);
  }
}

[[noreturn]] void run_program(const SpawnRequest& request, const Signals& signals, int program,
                              char** arguments, int error_pipe) {
  ::setsid();
  const bool placed = (request.terminal < 0 || ::ioctl(request.terminal, TIOCSCTTY, 0) == 0) &&
                      place_streams(request.streams);
  if (placed) {
    signals.restore_in_child();
    execute(program, arguments, error_pipe);
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(error_pipe, &error, sizeof error);
  ::_exit(127);
}

std::vector<char*> argument_pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// 0 when the exec has closed the pipe.
int read_error(int pipe) {
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(pipe, &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  return got == sizeof error ? error : 0;
}

}  // namespace

ExecFailure::ExecFailure(int error, const std::string& program)
    : Error(base::code_for_errno(error),
            fmt::format("cannot run '{}': {}", program, std::strerror(error)),
            remedy_for(error, program)),
      status_(error == ENOENT ? 127 : 126) {}

pid_t spawn(const SpawnRequest& request, const Signals& signals) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) base::throw_system("cannot make a pipe");
  const base::UniqueFd reader(ends[0]);
  base::UniqueFd writer(ends[1]);
  std::vector<std::string> words = request.command;
  base::UniqueFd agent;
  if (request.wrapped) {
    agent = wrapped::resident_program(*request.wrapped);
    words = wrapped::resident_arguments(*request.wrapped, writer.get(),
                                        path_of(request.command.front()), request.command);
  }
  const std::vector<char*> arguments = argument_pointers(words);
  const pid_t pid = ::fork();
  if (pid < 0) base::throw_system("cannot start a process");
  if (pid == 0) {
    run_program(request, signals, agent ? agent.get() : -1, const_cast<char**>(arguments.data()),
                writer.get());
  }
  writer.reset();
  const int error = read_error(reader.get());
  if (error == 0) return pid;
  ::waitpid(pid, nullptr, 0);
  const std::string& program = request.command.front();
  throw ExecFailure(what_a_shell_would_say(error, program), program);
}

}  // namespace torpor::supervisor
