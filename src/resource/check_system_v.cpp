// System V semaphores and message queues belong to nobody: neither is there a list of who uses
// them, nor are they saved. What the kernel does tell is who used each of them last; and, of those
// that nobody has used yet, a stopped process shows that a thread waits for one.
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

constexpr const char* kReason = "it is in use, and cannot be saved yet";
constexpr const char* kRemedy = "let the program remove it, or use POSIX ones (sem_overview(7))";

bool contains(std::span<const pid_t> pids, pid_t pid) {
  return pid != 0 && std::ranges::find(pids, pid) != pids.end();
}

// The lines of a file in /proc/sysvipc as numbers, without the heading; nothing if the kernel has
// no such things.
std::vector<std::vector<long long>> table(const char* path) {
  std::vector<std::vector<long long>> lines;
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  while (std::getline(file, text)) {
    std::istringstream line(text);
    std::vector<long long>& numbers = lines.emplace_back();
    for (long long number = 0; line >> number;) numbers.push_back(number);
  }
  return lines;
}

void check_semaphores(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles) {
  constexpr std::size_t kId = 1;
  constexpr std::size_t kCount = 3;
  for (const std::vector<long long>& line : table("/proc/sysvipc/sem")) {
    if (line.size() <= kCount) continue;
    const int id = static_cast<int>(line[kId]);
    for (int i = 0; i < static_cast<int>(line[kCount]); ++i) {
      const pid_t user = ::semctl(id, i, GETPID);
      if (user < 0) break;  // not ours to look at, so not the program's to use
      if (!contains(pids, user)) continue;
      obstacles.push_back(
          {true, user, fmt::format("System V semaphore set {}", id), kReason, kRemedy});
      break;
    }
  }
}

void check_message_queues(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles) {
  constexpr std::size_t kId = 1;
  constexpr std::size_t kLastSender = 5;
  constexpr std::size_t kLastReceiver = 6;
  for (const std::vector<long long>& line : table("/proc/sysvipc/msg")) {
    if (line.size() <= kLastReceiver) continue;
    for (const std::size_t field : {kLastSender, kLastReceiver}) {
      const auto user = static_cast<pid_t>(line[field]);
      if (!contains(pids, user)) continue;
      obstacles.push_back(
          {true, user, fmt::format("System V message queue {}", line[kId]), kReason, kRemedy});
      break;
    }
  }
}

// What a thread in this call waits for; empty if not for one of these.
std::string awaited(const process::Registers& registers) {
  const auto id = static_cast<int>(registers.rdi);
  switch (registers.orig_rax) {
    case SYS_semop:
    case SYS_semtimedop: return fmt::format("System V semaphore set {}", id);
    case SYS_msgsnd:
    case SYS_msgrcv: return fmt::format("System V message queue {}", id);
    default: return "";
  }
}

}  // namespace

void check_stopped_system_v(const process::HeldProcess& held, std::vector<Obstacle>& obstacles) {
  std::set<std::string> all;
  for (const process::StoppedThread* thread : held.threads)
    all.insert(awaited(thread->registers()));
  all.erase("");
  for (const std::string& what : all) {
    obstacles.push_back({true, held.pid, what, kReason, kRemedy});
  }
}

void check_system_v(std::span<const pid_t> pids, std::vector<Obstacle>& obstacles) {
  check_semaphores(pids, obstacles);
  check_message_queues(pids, obstacles);
}

}  // namespace torpor::resource
