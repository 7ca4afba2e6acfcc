#include "supervisor/reaper.h"

#include <chrono>
#include <vector>

#include "supervisor/exit_status.h"

namespace torpor::supervisor {
namespace {

constexpr std::chrono::milliseconds soon{3};

}  // namespace

Reaper::Reaper(asio::io_context& io, pid_t child, std::mutex& wait_lock,
               std::function<void(int)> on_status)
    : child_(child), wait_lock_(wait_lock), on_status_(std::move(on_status)), again_(io) {}

void Reaper::look_again_soon() {
  again_.expires_after(soon);
  again_.async_wait([this](const std::error_code& error) {
    if (!error) look();
  });
}

// True if there was something to be taken.
bool Reaper::take_one(idtype_t which, pid_t pid, int what) {
  siginfo_t info{};
  if (::waitid(which, static_cast<id_t>(pid), &info, what | WNOHANG) < 0 || info.si_pid == 0) {
    return false;
  }
  if (info.si_pid != child_) return true;
  const int status = wait_status(info.si_code, info.si_status);
  if (!WIFSTOPPED(status)) child_ = 0;  // reaped: the number may soon be somebody else's
  on_status_(status);
  return true;
}

void Reaper::look() {
  const std::unique_lock lock(wait_lock_, std::try_to_lock);
  if (!lock) {
    look_again_soon();
    return;
  }
  while (child_ > 0 && take_one(P_PID, child_, WEXITED | WSTOPPED)) {
  }
  while (!leave_orphans_ && take_one(P_ALL, 0, WEXITED)) {
  }
}

}  // namespace torpor::supervisor
