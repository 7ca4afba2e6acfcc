// exec: the kernel executes this agent again, and that puts the program in place that was asked
// for. So the agent is there before the program's first instruction, whatever it is linked with.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "agent/resident/program_file.h"
#include "agent/resident/resident.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kHere = static_cast<std::uint64_t>(AT_FDCWD);
constexpr int kMaxScripts = 5;
constexpr std::size_t kScriptPathBytes = 320;
constexpr std::uint64_t kOnStack = 96;  // arguments for which the stack has room in any case

using Words = const char* const*;

void close(std::int64_t descriptor) {
  raw_syscall(__NR_close, static_cast<std::uint64_t>(descriptor));
}

void set_mask(std::uint64_t mask) {
  raw_syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address_of(&mask), 0, 8);
}

std::uint64_t ignored_of_ours() {
  const Resident& own = resident();
  return (own.actions[0].handler == kIgnore ? 1U : 0U) |
         (own.actions[1].handler == kIgnore ? 2U : 0U);
}

char* put_record(char* to, const ExecRecord& record) {
  const auto* fields = reinterpret_cast<const std::uint64_t*>(&record);
  for (std::size_t i = 0; i < kRecordFields; ++i) to = put_hex(to, fields[i]);
  *to++ = '\0';
  return to;
}

// The way from what was asked for to what is executed.
struct Execution {
  const Trap& trap;
  const char* name;  // under which it was asked for
  Words arguments;   // of the caller; the first is replaced by those in `front`
  Words environment;
  std::uint64_t signal_mask;
  const char* front[2 * kMaxScripts + 2];  // from the last to the first
  int front_count = 0;
};

std::uint64_t count_of(Words words) {
  std::uint64_t count = 0;
  while (words != nullptr && words[count] != nullptr) ++count;
  return count;
}

std::int64_t execute_self(const Execution& execution, const char* record, const char** room) {
  std::uint64_t at = 0;
  room[at++] = record;
  room[at++] = execution.name;
  for (int i = execution.front_count - 1; i >= 0; --i) room[at++] = execution.front[i];
  const std::uint64_t skip = execution.front_count > 0 ? 1 : 0;
  const std::uint64_t count = count_of(execution.arguments);
  for (std::uint64_t i = skip; i < count; ++i) room[at++] = execution.arguments[i];
  if (at == kOwnArguments) room[at++] = "";  // as the kernel does (Linux 5.18)
  room[at] = nullptr;
  return raw_syscall(__NR_execve, address_of("/proc/self/exe"), address_of(room),
                     address_of(execution.environment));
}

std::int64_t with_room_on_stack(const Execution& execution, const char* record) {
  const char* room[kOnStack + kOwnArguments + 2 * kMaxScripts + 4];
  return execute_self(execution, record, room);
}

std::int64_t with_room_mapped(const Execution& execution, const char* record, std::uint64_t count) {
  const std::uint64_t bytes = (count + kOwnArguments + 2 * kMaxScripts + 4) * sizeof(char*);
  const std::int64_t room = raw_syscall(__NR_mmap, 0, bytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0);
  if (room < 0 && room >= -4095) return -ENOMEM;
  const std::int64_t error = execute_self(execution, record, reinterpret_cast<const char**>(room));
  raw_syscall(__NR_munmap, static_cast<std::uint64_t>(room), bytes);
  return error;
}

std::int64_t execute_ours(const Execution& execution, const ProgramFile& file) {
  const std::int64_t interpreter = check_interpreter(file);
  if (interpreter < 0) return interpreter;
  ExecRecord record = resident().record;
  record.task = kLoad;
  record.descriptor = static_cast<std::uint64_t>(file.descriptor);
  record.signal_mask = execution.signal_mask;
  record.ignored = ignored_of_ours();
  const std::int64_t filters = hand_own_filters_over();
  if (filters < 0) return filters;
  record.own_filters = static_cast<std::uint64_t>(filters);
  char text[kRecordText];
  put_record(text, record);
  raw_syscall(__NR_fcntl, record.descriptor, F_SETFD, 0);
  const std::uint64_t count = count_of(execution.arguments);
  const std::int64_t error = count <= kOnStack ? with_room_on_stack(execution, text)
                                               : with_room_mapped(execution, text, count);
  if (filters > 0) close(filters - 1);
  return error;
}

// What we cannot load goes on without us. The filter lets programs of 32 bits alone; a stop signal
// that is on its way must not kill it.
std::int64_t execute_unmanaged(const Execution& execution) {
  ignore_stop_signal();
  set_mask(execution.signal_mask);
  const auto& a = execution.trap.args;
  const std::int64_t error =
      execution.trap.number == __NR_execveat
          ? raw_syscall(__NR_execveat, a[0], a[1], a[2], a[3], a[4])
          : raw_syscall(__NR_execve, address_of(execution.name), address_of(execution.arguments),
                        address_of(execution.environment));
  set_mask(kAllSignals);
  install_handlers();
  return error;
}

std::int64_t follow(Execution& execution, std::uint64_t directory, const char* path,
                    std::uint64_t flags, int depth);

// How an interpreter finds a script that was given by descriptor; execveat(2).
const char* script_path(std::uint64_t directory, const char* path, char* room) {
  const bool by_descriptor = directory != kHere && path[0] != '/';
  if (!by_descriptor) return path;
  constexpr std::uint64_t kHead = 8;
  copy_bytes(room, "/dev/fd/", kHead);
  char* end = put_number(room + kHead, directory);
  const std::size_t length = length_of(path);
  if (length == 0) return room;
  if (length > kScriptPathBytes - 40) return nullptr;
  *end++ = '/';
  copy_bytes(end, path, length + 1);
  return room;
}

std::int64_t execute_script(Execution& execution, ProgramFile& file, std::uint64_t directory,
                            const char* path, int depth) {
  ScriptLine line;
  if (!read_script_line(file, line)) return -ENOEXEC;
  if (depth == kMaxScripts) return -ELOOP;
  char room[kScriptPathBytes];
  const char* script = script_path(directory, path, room);
  if (script == nullptr) return -ENAMETOOLONG;
  execution.front[execution.front_count++] = script;
  if (line.argument != nullptr) execution.front[execution.front_count++] = line.argument;
  execution.front[execution.front_count++] = line.interpreter;
  return follow(execution, kHere, line.interpreter, 0, depth + 1);
}

std::int64_t follow(Execution& execution, std::uint64_t directory, const char* path,
                    std::uint64_t flags, int depth) {
  ProgramFile file;
  const std::int64_t opened = open_program(file, directory, path, flags);
  if (opened < 0) return opened;
  std::int64_t error = 0;
  switch (file.kind) {
    case FileKind::ours: error = execute_ours(execution, file); break;
    case FileKind::script: error = execute_script(execution, file, directory, path, depth); break;
    case FileKind::other: error = execute_unmanaged(execution); break;
  }
  close(file.descriptor);
  return error;
}

}  // namespace

std::int64_t execute(const Trap& trap, std::uint64_t directory, const char* path, Words arguments,
                     Words environment, std::uint64_t flags, std::uint64_t signal_mask) {
  Execution execution{trap, path, arguments, environment, signal_mask, {}, 0};
  return follow(execution, directory, path, flags, 0);
}

std::int64_t wrap_exec(Trap& trap) {
  const auto& a = trap.args;
  const auto words = [](std::uint64_t address) { return reinterpret_cast<Words>(address); };
  const auto tid = static_cast<std::uint32_t>(raw_syscall(__NR_gettid));
  const ResidentThread* thread = known_thread(tid);
  const std::uint64_t mask =
      with_blocked(trap.frame->signal_mask, thread == nullptr ? 0 : thread->blocked);
  if (trap.number == __NR_execve) {
    return execute(trap, kHere, reinterpret_cast<const char*>(a[0]), words(a[1]), words(a[2]), 0,
                   mask);
  }
  return execute(trap, a[0], reinterpret_cast<const char*>(a[1]), words(a[2]), words(a[3]), a[4],
                 mask);
}

}  // namespace torpor::agent
