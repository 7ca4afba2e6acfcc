#include "wrapped/adoption.h"

#include <chrono>
#include <thread>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/resident_view.h"
#include "process/stopped_tree.h"

namespace torpor::wrapped {
namespace {

Adopted adopt(const agent::ExecRecord& record) {
  Adopted adopted;
  adopted.computation.number = record.computation;
  adopted.computation.stop_signal = static_cast<int>(record.stop_signal);
  if (record.ids == 0) return adopted;
  adopted.ids = IdTableFile::existing(adopted.computation);
  adopted.computation.ids = adopted.ids.get();
  return adopted;
}

std::optional<agent::ExecRecord> record_of(pid_t pid) {
  constexpr int kLooks = 200;
  constexpr std::chrono::milliseconds kBetween{5};
  for (int look = 0;; ++look) {
    const pid_t thread = process::living_thread(pid);
    if (!process::try_read_link(fmt::format("/proc/{}/exe", thread))) return std::nullopt;
    if (!process::has_resident_agent(thread)) return std::nullopt;
    try {
      return process::ResidentView(thread).record();
    } catch (const base::Error&) {
      // In the midst of an exec there is nothing to be read for a moment.
      if (look == kLooks) throw;
    }
    std::this_thread::sleep_for(kBetween);
  }
}

}  // namespace

std::optional<Adopted> computation_of(pid_t pid) {
  const auto record = record_of(pid);
  if (!record) return std::nullopt;
  return adopt(*record);
}

}  // namespace torpor::wrapped
