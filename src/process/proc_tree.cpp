#include "process/proc_tree.h"

#include <unistd.h>

#include <algorithm>
#include <compare>
#include <unordered_set>

#include "base/error.h"
#include "process/proc_scan.h"
#include "process/proc_stat.h"
#include "process/proc_text.h"

namespace torpor::process {

using base::Error;
using base::ErrorCode;

namespace {

bool kernel_lists_children() { return ::access("/proc/thread-self/children", F_OK) == 0; }

void add_children(pid_t pid, pid_t tid, std::vector<pid_t>& into) try {
  const ProcText text(proc_path(pid, tid, "children"));
  Scanner(text.view(), text.path()).numbers(into);
} catch (const Error& error) {
  // When a thread ends, its children pass to another thread of the process.
  if (error.code() != ErrorCode::program_gone) throw;
}

std::vector<pid_t> children_by_file(pid_t pid) {
  std::vector<pid_t> children;
  for (const pid_t tid : list_threads(pid)) add_children(pid, tid, children);
  std::sort(children.begin(), children.end());
  children.erase(std::unique(children.begin(), children.end()), children.end());
  return children;
}

std::vector<pid_t> children_by_file_if_there(pid_t pid) try {
  return children_by_file(pid);
} catch (const Error& error) {
  if (error.code() != ErrorCode::program_gone) throw;
  return {};
}

struct Parentage {
  pid_t parent;
  pid_t child;
  auto operator<=>(const Parentage&) const = default;
};

void add_parentage(pid_t pid, std::vector<Parentage>& into) try {
  into.push_back({read_stat(pid).ppid, pid});
} catch (const Error& error) {
  if (error.code() != ErrorCode::program_gone && error.code() != ErrorCode::permission) throw;
}

// Of all processes that we can see, in the order of their parents.
std::vector<Parentage> scan_parentage() {
  std::vector<Parentage> all;
  for (const pid_t pid : list_numbers("/proc")) add_parentage(pid, all);
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<pid_t> children_in(const std::vector<Parentage>& all, pid_t pid) {
  std::vector<pid_t> children;
  for (auto at = std::lower_bound(all.begin(), all.end(), Parentage{pid, 0});
       at != all.end() && at->parent == pid; ++at) {
    children.push_back(at->child);
  }
  return children;
}

// Breadth first. A child may be met twice, when its parent ends while we look.
template <typename ChildrenOf>
std::vector<pid_t> walk(pid_t root, const ChildrenOf& children) {
  std::vector<pid_t> found;
  std::unordered_set<pid_t> seen{root};
  const auto add_below = [&](pid_t pid) {
    for (const pid_t child : children(pid)) {
      if (seen.insert(child).second) found.push_back(child);
    }
  };
  add_below(root);
  for (std::size_t next = 0; next < found.size();) add_below(found[next++]);  // it grows meanwhile
  return found;
}

void throw_unless_there(pid_t pid) { read_stat(pid); }

}  // namespace

std::vector<pid_t> list_threads(pid_t pid) { return list_numbers(proc_path(pid, "task")); }

std::vector<pid_t> children_of(pid_t pid) {
  return kernel_lists_children() ? children_by_file(pid) : children_by_scan(pid);
}

std::vector<pid_t> descendants_of(pid_t pid) {
  if (!kernel_lists_children()) return descendants_by_scan(pid);
  throw_unless_there(pid);
  return walk(pid, children_by_file_if_there);
}

std::vector<pid_t> children_by_scan(pid_t pid) {
  throw_unless_there(pid);
  return children_in(scan_parentage(), pid);
}

std::vector<pid_t> descendants_by_scan(pid_t pid) {
  throw_unless_there(pid);
  const std::vector<Parentage> all = scan_parentage();
  return walk(pid, [&](pid_t parent) { return children_in(all, parent); });
}

}  // namespace torpor::process
