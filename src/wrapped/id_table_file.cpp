#include "wrapped/id_table_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "agent/resident/resident_abi.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::wrapped {
namespace {

std::uint32_t highest_pid() {
  std::uint32_t highest = 0;
  std::ifstream("/proc/sys/kernel/pid_max") >> highest;
  return highest;
}

}  // namespace

IdTableFile::IdTableFile(const Computation& computation, int flags)
    : path_(fmt::format("{}{:x}", agent::kIdTablePrefix, computation.number)) {
  const base::UniqueFd file(::open(path_.c_str(), O_RDWR | O_CLOEXEC | flags, 0600));
  if (!file) base::throw_system("cannot open {}", path_);
  void* place = MAP_FAILED;
  if (::ftruncate(file.get(), agent::kIdTableBytes) == 0) {
    place =
        ::mmap(nullptr, agent::kIdTableBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  }
  if (place == MAP_FAILED) {
    if (flags != 0) ::unlink(path_.c_str());
    base::throw_system("cannot map a table of process ids in {}", path_);
  }
  table_ = static_cast<agent::IdTable*>(place);
}

IdTableFile::IdTableFile(const Computation& computation)
    : IdTableFile(computation, O_CREAT | O_EXCL) {
  agent::prepare_ids(*table_, highest_pid());
}

std::unique_ptr<IdTableFile> IdTableFile::existing(const Computation& computation) {
  return std::unique_ptr<IdTableFile>(new IdTableFile(computation, 0));
}

IdTableFile::~IdTableFile() {
  ::munmap(table_, agent::kIdTableBytes);
  if (removed_) ::unlink(path_.c_str());
}

pid_t IdTableFile::seen(pid_t ours) const {
  return static_cast<pid_t>(agent::original_of(*table_, static_cast<std::uint32_t>(ours)));
}

void IdTableFile::set_clocks(const Clocks& program, const Clocks& host) {
  table_->clocks = {agent::clock_time_of(program.monotonic_ns - host.monotonic_ns),
                    agent::clock_time_of(program.boottime_ns - host.boottime_ns)};
}

IdTableFile::Clocks IdTableFile::clock_offsets() const {
  return {agent::ns_of(table_->clocks.monotonic), agent::ns_of(table_->clocks.boottime)};
}

std::unique_ptr<IdTableFile> table_for_tests(
    [[maybe_unused]] std::optional<Computation>& computation) {
#ifdef TORPOR_FAULT_POINTS
  const char* apart = std::getenv("TORPOR_IDS");
  if (computation && apart != nullptr) {
    auto file = std::make_unique<IdTableFile>(*computation);
    computation->ids = file.get();
    file->table().limit = agent::kIdLimit;
    if (const char* ahead = std::getenv("TORPOR_CLOCKS"); ahead != nullptr) {
      const std::int64_t ns = std::strtoll(ahead, nullptr, 10) * 1000000;
      file->set_clocks({ns, 2 * ns}, {});
    }
    file->table().apart = static_cast<std::uint32_t>(std::strtoul(apart, nullptr, 10));
    return file;
  }
#endif
  return nullptr;
}

}  // namespace torpor::wrapped
