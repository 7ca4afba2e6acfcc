#include "resource/pty_table.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "process/proc_fdinfo.h"
#include "process/proc_stat.h"
#include "resource/terminal.h"

namespace torpor::resource {
namespace {

// Documentation/admin-guide/devices.txt
constexpr unsigned kAlternates = 5;  // /dev/tty, console, ptmx
constexpr unsigned kMaster = 2;

bool is_slave(dev_t device) { return gnu_dev_major(device) == kPtySlaves; }

// As the kernel finds it (devpts): where the file itself is, else in "pts" beside it.
std::uint64_t instance_of(pid_t pid, const std::string& target) {
  const std::string directory = target.substr(0, target.rfind('/'));
  const std::string root = fmt::format("/proc/{}/root", pid);
  struct ::stat status {};
  for (const std::string& place : {root + directory + "/pts", root + directory}) {
    if (::stat((place + "/ptmx").c_str(), &status) == 0) return status.st_dev;
  }
  return ::stat("/dev/pts", &status) == 0 ? status.st_dev : 0;
}

unsigned index_of(const process::FdInfo& info) {
  return static_cast<unsigned>(info.tty_index.value_or(-1));
}

}  // namespace

PtyTable& PtyTable::of(const CaptureState& state) {
  if (!state.ptys) state.ptys = std::make_shared<PtyTable>();
  PtyTable& table = *state.ptys;
  for (; table.looked_at_ < state.holders.size(); ++table.looked_at_) {
    try {
      table.add(state.holders[table.looked_at_]);
    } catch (const base::Error&) {
      // In a dry pass it may be gone.
    }
  }
  return table;
}

void PtyTable::add(const Holder& holder) {
  const auto [known, is_new] = devices_.try_emplace({holder.device, holder.inode}, 0);
  if (is_new) {
    struct ::stat status {};
    const std::string link = fmt::format("/proc/{}/fd/{}", holder.pid, holder.fd);
    if (::stat(link.c_str(), &status) == 0 && S_ISCHR(status.st_mode)) {
      known->second = status.st_rdev;
    }
  }
  const dev_t device = known->second;
  if (is_slave(device)) slaves_.insert({holder.device, gnu_dev_minor(device)});
  if (device != gnu_dev_makedev(kAlternates, kMaster)) return;
  const unsigned index = index_of(process::read_fdinfo(holder.pid, holder.fd));
  const auto instance = instance_of(holder.pid, process::fd_target(holder.pid, holder.fd));
  masters_.try_emplace({instance, index}, holder);
}

const Holder* PtyTable::master_of(Key slave) const {
  const auto found = masters_.find(slave);
  return found == masters_.end() ? nullptr : &found->second;
}

const Holder* PtyTable::master_of(unsigned index) const {
  for (const auto& [key, holder] : masters_) {
    if (key.second == index) return &holder;
  }
  return nullptr;
}

bool is_pty_master(const FileView& view) {
  return S_ISCHR(view.status.st_mode) &&
         view.status.st_rdev == gnu_dev_makedev(kAlternates, kMaster);
}

PtyTable::Key key_of_master(const FileView& view) {
  return {instance_of(view.pid, view.target), index_of(view.info)};
}

const Holder* master_inside(const FileView& slave, const CaptureState& state) {
  if (!is_terminal(slave)) return nullptr;
  const PtyTable& table = PtyTable::of(state);
  const dev_t device = slave.status.st_rdev;
  if (is_slave(device)) return table.master_of({slave.status.st_dev, gnu_dev_minor(device)});
  if (!is_own_terminal_device(device)) return nullptr;
  const dev_t real = terminal_behind(slave);
  return is_slave(real) ? table.master_of(gnu_dev_minor(real)) : nullptr;
}

}  // namespace torpor::resource
