// Which pseudo terminals belong to the computation: those whose master one of its processes holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "resource/file_kind.h"

namespace torpor::resource {

// The major number of /dev/pts/N: Documentation/admin-guide/devices.txt.
inline constexpr unsigned kPtySlaves = 136;

class PtyTable {
 public:
  // The device of the devpts instance, and the number there: there may be several /dev/pts/3.
  using Key = std::pair<std::uint64_t, unsigned>;

  // The state's own, with all of its holders.
  static PtyTable& of(const CaptureState& state);

  // The descriptor that has the master; null: it is outside.
  [[nodiscard]] const Holder* master_of(Key slave) const;
  // Of any instance: /dev/tty does not tell.
  [[nodiscard]] const Holder* master_of(unsigned index) const;
  [[nodiscard]] bool has_slave(Key slave) const { return slaves_.contains(slave); }

 private:
  void add(const Holder& holder);

  std::size_t looked_at_ = 0;  // of the holders; more may come
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> devices_;  // of files: st_rdev
  std::map<Key, Holder> masters_;
  std::set<Key> slaves_;
};

// /dev/ptmx, or the same in a devpts.
bool is_pty_master(const FileView& view);
// Where the slave of a master is, to be looked for in the table.
PtyTable::Key key_of_master(const FileView& view);
// The master of a slave, or of what was opened as /dev/tty. Null: none of the computation's.
const Holder* master_inside(const FileView& slave, const CaptureState& state);

}  // namespace torpor::resource
