#include "wrapped/computation.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/blob.h"
#include "agent/resident/resident_abi.h"
#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_status.h"
#include "process/resident_view.h"
#include "process/stopped_tree.h"

namespace torpor::wrapped {
namespace {

std::string program_name(const Computation& computation) {
  return fmt::format("{}{:x}", agent::kProgramPrefix, computation.number);
}

agent::ExecRecord record_of(const Computation& computation, agent::ResidentTask task) {
  return {.task = task,
          .descriptor = 0,
          .signal_mask = 0,
          .ignored = 0,
          .stop_signal = static_cast<std::uint64_t>(computation.stop_signal),
          .computation = computation.number,
          .no_new_privs = process::read_status(::getpid()).no_new_privs ? 1U : 0U,
          .ids = computation.ids != nullptr ? 1U : 0U,
          .filters = 0,
          .reads_signals = 0,
          .own_filters = 0};
}

std::string line_of(const agent::ExecRecord& record) {
  std::string line;
  const auto* fields = reinterpret_cast<const std::uint64_t*>(&record);
  for (std::size_t i = 0; i < agent::kRecordFields; ++i) line += fmt::format("{:x} ", fields[i]);
  return line;
}

}  // namespace

Computation new_computation(int stop_signal) {
  Computation computation{0, stop_signal};
  const ssize_t got = ::getrandom(&computation.number, sizeof(computation.number), 0);
  if (got != sizeof(computation.number)) base::throw_system("cannot get random bytes");
  return computation;
}

base::UniqueFd resident_program(const Computation& computation) {
  constexpr unsigned kExecutable = 0x10;  // MFD_EXEC, Linux 6.3
  const std::string name = program_name(computation);
  base::UniqueFd file(::memfd_create(name.c_str(), MFD_CLOEXEC | kExecutable));
  if (!file) file.reset(::memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!file) base::throw_system("cannot make a file in memory for the resident agent");
  const auto program = agent::resident_program();
  if (::write(file.get(), program.data(), program.size()) != static_cast<ssize_t>(program.size())) {
    base::throw_system("cannot write the resident agent");
  }
  return file;
}

std::vector<std::string> resident_arguments(const Computation& computation, int report,
                                            const std::string& program,
                                            const std::vector<std::string>& arguments) {
  agent::ExecRecord record = record_of(computation, agent::kRun);
  record.descriptor = static_cast<std::uint64_t>(report);
  std::vector<std::string> words{line_of(record), program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

std::vector<std::string> husk_arguments(const Computation& computation) {
  return {line_of(record_of(computation, agent::kHusk)), "torpor-husk", "torpor-husk"};
}

bool is_managed(pid_t pid, const Computation& computation) {
  const auto link =
      process::try_read_link(fmt::format("/proc/{}/exe", process::living_thread(pid)));
  return !link || link->starts_with(fmt::format("/memfd:{} ", program_name(computation)));
}

}  // namespace torpor::wrapped
