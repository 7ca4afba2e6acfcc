#include "resource/description_table.h"

#include <algorithm>

#include "base/error.h"
#include "process/kcmp.h"
#include "process/same_description.h"
#include "resource/file_kind.h"

namespace torpor::resource {
namespace {

using Descriptor = DescriptionTable::Descriptor;

int compare(const Descriptor& a, const Descriptor& b) {
  if (a.tid == b.tid && a.fd == b.fd) return 0;
  return process::compare_files(a.tid, a.fd, b.tid, b.fd);
}

base::UniqueFd take(const Descriptor& descriptor) {
  FileView view;
  view.pid = descriptor.pid;
  view.tid = descriptor.tid;
  view.fd = descriptor.fd;
  view.agent = descriptor.agent;
  return view.take();
}

}  // namespace

// Comparing a descriptor with itself tells whether we may.
bool DescriptionTable::kcmp_works(const Descriptor& descriptor) {
  if (!by_kcmp_ || tried_) return by_kcmp_;
  try {
    process::compare_files(descriptor.tid, descriptor.fd, descriptor.tid, descriptor.fd);
  } catch (const base::Error& error) {
    by_kcmp_ =
        error.code() != base::ErrorCode::permission && error.code() != base::ErrorCode::host_lacks;
  }
  tried_ = true;
  return by_kcmp_;
}

std::uint64_t DescriptionTable::same_as_last(const Descriptor& descriptor) {
  const auto last = last_.find(descriptor.fd);
  if (last == last_.end() || !kcmp_works(descriptor)) return 0;
  return compare(descriptor, last->second.descriptor) == 0 ? last->second.id : 0;
}

std::uint64_t DescriptionTable::search(const std::vector<Entry>& group,
                                       const Descriptor& descriptor) {
  std::size_t first = 0;
  std::size_t end = group.size();
  while (first < end) {
    const std::size_t middle = (first + end) / 2;
    const int order = compare(group[middle].descriptor, descriptor);
    if (order == 0) return group[middle].id;
    if (order < 0) first = middle + 1;
    if (order > 0) end = middle;
  }
  return 0;
}

std::uint64_t DescriptionTable::query(std::vector<Entry>& group, const Descriptor& descriptor) {
  if (!room_) room_ = std::make_unique<RaisedDescriptorLimit>();
  const base::UniqueFd own = take(descriptor);
  for (Entry& entry : group) {
    if (!entry.own) entry.own = take(entry.descriptor);
    if (process::is_same_description(entry.own.get(), own.get())) return entry.id;
  }
  return 0;
}

std::uint64_t DescriptionTable::find(const Descriptor& descriptor, File file) {
  const auto group = files_.find(file);
  if (group == files_.end()) return 0;
  return kcmp_works(descriptor) ? search(group->second, descriptor)
                                : query(group->second, descriptor);
}

void DescriptionTable::add(const Descriptor& descriptor, File file, std::uint64_t id) {
  std::vector<Entry>& group = files_[file];
  auto place = group.end();
  if (!group.empty() && kcmp_works(descriptor)) {
    place = std::lower_bound(
        group.begin(), group.end(), descriptor,
        [](const Entry& entry, const Descriptor& d) { return compare(entry.descriptor, d) < 0; });
  }
  group.insert(place, Entry{descriptor, id, {}});
}

}  // namespace torpor::resource
