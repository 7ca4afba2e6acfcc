// The file of a computation's pid table: all of its processes on this host map it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "agent/resident/id_table.h"
#include "process/id_view.h"
#include "wrapped/computation.h"

namespace torpor::wrapped {

// The file is removed with the object: processes that have it mapped keep it.
class IdTableFile final : public process::IdView {
 public:
  // Makes the file.
  explicit IdTableFile(const Computation& computation);
  // That of a running computation, which an earlier supervisor has left behind. Throws Error system
  // where it is gone.
  static std::unique_ptr<IdTableFile> existing(const Computation& computation);
  ~IdTableFile() override;
  IdTableFile(const IdTableFile&) = delete;
  IdTableFile& operator=(const IdTableFile&) = delete;

  // The file stays: this is not the supervisor's.
  void leave() { removed_ = false; }

  [[nodiscard]] agent::IdTable& table() const { return *table_; }
  [[nodiscard]] pid_t seen(pid_t ours) const override;

  // The program's clocks go on from these (nanoseconds), while the host's show `host`.
  struct Clocks {
    std::int64_t monotonic_ns = 0;
    std::int64_t boottime_ns = 0;
  };
  void set_clocks(const Clocks& program, const Clocks& host);
  // How far they are ahead of the host's.
  [[nodiscard]] Clocks clock_offsets() const;

 private:
  IdTableFile(const Computation& computation, int flags);

  std::string path_;
  bool removed_ = true;
  agent::IdTable* table_ = nullptr;
};

// In builds with fault points TORPOR_IDS=N starts a computation with a table in which every id
// is N higher than the kernel's: so every call can be tested without a restart. TORPOR_CLOCKS=MS
// puts its clocks ahead by so much (CLOCK_BOOTTIME by twice that), or behind.
std::unique_ptr<IdTableFile> table_for_tests(std::optional<Computation>& computation);

}  // namespace torpor::wrapped
