// The file of a computation's pid table: all of its processes on this host map it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "agent/resident/id_table.h"
#include "process/id_view.h"
#include "wrapped/computation.h"

namespace torpor::wrapped {

// Makes the file, which is removed with the object: processes that have it mapped keep it.
class IdTableFile final : public process::IdView {
 public:
  explicit IdTableFile(const Computation& computation);
  ~IdTableFile() override;
  IdTableFile(const IdTableFile&) = delete;
  IdTableFile& operator=(const IdTableFile&) = delete;

  [[nodiscard]] agent::IdTable& table() const { return *table_; }
  [[nodiscard]] pid_t seen(pid_t ours) const override;

 private:
  std::string path_;
  agent::IdTable* table_ = nullptr;
};

// In builds with fault points TORPOR_IDS=N starts a computation with a table in which every id
// is N higher than the kernel's: so every call can be tested without a restart.
std::unique_ptr<IdTableFile> table_for_tests(std::optional<Computation>& computation);

}  // namespace torpor::wrapped
