// Which descriptors refer to the same open file description (open(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace torpor::resource {

// Descriptors are compared by the kernel (kcmp(2)), and only with those of the same file: its order
// makes a search of few comparisons. All descriptors in the table must stay open and unchanged.
class DescriptionTable {
 public:
  struct Descriptor {
    pid_t tid = 0;  // a thread of its process
    int fd = -1;
  };
  using File = std::pair<std::uint64_t, std::uint64_t>;  // device, inode

  // The id of the description, if it is that of the last descriptor of the same number: nearly all
  // are inherited. 0: do not know.
  [[nodiscard]] std::uint64_t same_as_last(Descriptor descriptor) const;

  // Its id, 0 if it is new.
  [[nodiscard]] std::uint64_t find(Descriptor descriptor, File file) const;

  void add(Descriptor descriptor, File file, std::uint64_t id);

  // Makes it the last of its number.
  void remember(Descriptor descriptor, std::uint64_t id) {
    last_[descriptor.fd] = {descriptor, id};
  }

  // Keeps a descriptor of our own open that stands in the table.
  void keep(base::UniqueFd fd) { kept_.push_back(std::move(fd)); }

 private:
  struct Entry {
    Descriptor descriptor;
    std::uint64_t id = 0;
  };

  std::map<File, std::vector<Entry>> files_;  // each in the kernel's order
  std::map<int, Entry> last_;
  std::vector<base::UniqueFd> kept_;
};

}  // namespace torpor::resource
