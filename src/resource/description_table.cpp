#include "resource/description_table.h"

#include <algorithm>

#include "process/kcmp.h"

namespace torpor::resource {
namespace {

int compare(DescriptionTable::Descriptor a, DescriptionTable::Descriptor b) {
  if (a.tid == b.tid && a.fd == b.fd) return 0;
  return process::compare_files(a.tid, a.fd, b.tid, b.fd);
}

}  // namespace

std::uint64_t DescriptionTable::same_as_last(Descriptor descriptor) const {
  const auto last = last_.find(descriptor.fd);
  if (last == last_.end() || compare(descriptor, last->second.descriptor) != 0) return 0;
  return last->second.id;
}

std::uint64_t DescriptionTable::find(Descriptor descriptor, File file) const {
  const auto group = files_.find(file);
  if (group == files_.end()) return 0;
  std::size_t first = 0;
  std::size_t end = group->second.size();
  while (first < end) {
    const std::size_t middle = (first + end) / 2;
    const int order = compare(group->second[middle].descriptor, descriptor);
    if (order == 0) return group->second[middle].id;
    if (order < 0) first = middle + 1;
    if (order > 0) end = middle;
  }
  return 0;
}

void DescriptionTable::add(Descriptor descriptor, File file, std::uint64_t id) {
  std::vector<Entry>& group = files_[file];
  const auto place = std::lower_bound(
      group.begin(), group.end(), descriptor,
      [](const Entry& entry, Descriptor d) { return compare(entry.descriptor, d) < 0; });
  group.insert(place, {descriptor, id});
}

}  // namespace torpor::resource
