// Which descriptors refer to the same open file description (open(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "process/agent_client.h"
#include "resource/raised_descriptor_limit.h"

namespace torpor::resource {

// Descriptors are compared by the kernel, and only with those of the same file. kcmp(2) gives an
// order, which makes a search of few comparisons. Where it is forbidden (containers often do so) or
// missing, descriptors of our own are compared (process/same_description.h), so that each one has
// to be taken first. All descriptors in the table must stay open and unchanged.
class DescriptionTable {
 public:
  struct Descriptor {
    pid_t pid = 0;
    pid_t tid = 0;  // a thread that has the table
    int fd = -1;
    process::AgentClient* agent = nullptr;
  };
  using File = std::pair<std::uint64_t, std::uint64_t>;  // device, inode

  // `by_kcmp` false: as where kcmp(2) is forbidden.
  explicit DescriptionTable(bool by_kcmp = true) : by_kcmp_(by_kcmp) {}

  // The id of the description, if it is that of the last descriptor of the same number: nearly all
  // are inherited. 0: do not know. Throws Error.
  std::uint64_t same_as_last(const Descriptor& descriptor);

  // Its id, 0 if it is new. Throws Error; host_lacks if the kernel cannot compare.
  std::uint64_t find(const Descriptor& descriptor, File file);

  void add(const Descriptor& descriptor, File file, std::uint64_t id);

  // Makes it the last of its number.
  void remember(const Descriptor& descriptor, std::uint64_t id) {
    last_[descriptor.fd] = {descriptor, id, {}};
  }

  // Keeps a descriptor of our own open that stands in the table.
  void keep(base::UniqueFd fd) { kept_.push_back(std::move(fd)); }

 private:
  struct Entry {
    Descriptor descriptor;
    std::uint64_t id = 0;
    base::UniqueFd own;  // of ours, once it has been taken
  };

  bool kcmp_works(const Descriptor& descriptor);
  static std::uint64_t search(const std::vector<Entry>& group, const Descriptor& descriptor);
  std::uint64_t query(std::vector<Entry>& group, const Descriptor& descriptor);

  bool by_kcmp_;
  bool tried_ = false;
  std::unique_ptr<RaisedDescriptorLimit> room_;  // for many of our own; goes last
  std::map<File, std::vector<Entry>> files_;     // each in kcmp's order, or in no order
  std::map<int, Entry> last_;
  std::vector<base::UniqueFd> kept_;
};

}  // namespace torpor::resource
