#include "supervisor/watch.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "supervisor/pidfd.h"
#include "supervisor/reaper.h"

namespace torpor::supervisor {
namespace {

class ChildWatch : public Watch {
 public:
  ChildWatch(asio::io_context& io, pid_t root, std::mutex& wait_lock, OnStatus on_status)
      : reaper_(io, root, wait_lock, std::move(on_status)) {}

  void look() override { reaper_.look(); }
  void checkpoint_runs(bool runs) override { reaper_.leave_orphans(runs); }

 private:
  Reaper reaper_;
};

struct Report {
  std::int32_t pid;
  std::int32_t status;
};

class ReportWatch : public Watch {
 public:
  ReportWatch(asio::io_context& io, pid_t child, base::UniqueFd reports, pid_t root_seen,
              std::mutex& wait_lock, OnStatus on_status)
      : root_seen_(root_seen),
        on_status_(std::move(on_status)),
        reports_(io, reports.release()),
        reaper_(io, child, wait_lock, [](int) {}) {
    asio::co_spawn(io, read_reports(), asio::detached);
  }

  void look() override { reaper_.look(); }
  void checkpoint_runs(bool runs) override { reaper_.leave_orphans(runs); }

 private:
  asio::awaitable<void> read_reports() {
    std::error_code error;
    std::size_t held = 0;
    while (true) {
      held += co_await reports_.async_read_some(
          asio::buffer(bytes_.data() + held, bytes_.size() - held),
          asio::redirect_error(asio::use_awaitable, error));
      if (error) break;
      if (held < bytes_.size()) continue;
      held = 0;
      take();
    }
    if (!ended_) on_status_(SIGKILL);
  }

  void take() {
    Report report{};
    std::memcpy(&report, bytes_.data(), sizeof report);
    if (report.pid != root_seen_ || ended_) return;
    ended_ = WIFEXITED(report.status) || WIFSIGNALED(report.status);
    on_status_(report.status);
  }

  pid_t root_seen_;
  OnStatus on_status_;
  bool ended_ = false;
  std::array<char, sizeof(Report)> bytes_{};
  asio::posix::stream_descriptor reports_;
  Reaper reaper_;
};

class StrangerWatch : public Watch {
 public:
  StrangerWatch(asio::io_context& io, pid_t root, OnStatus on_status)
      : pidfd_(io, open_process(root)) {
    // A pidfd is readable once the process has ended (pidfd_open(2)).
    pidfd_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [on_status = std::move(on_status)](const std::error_code& error) {
                        if (!error) on_status(0);
                      });
  }

 private:
  static int open_process(pid_t pid) {
    const int fd = ::pidfd_open(pid, 0);
    if (fd < 0) base::throw_system("cannot watch process {}", pid);
    return fd;
  }

  asio::posix::stream_descriptor pidfd_;
};

}  // namespace

std::unique_ptr<Watch> watch_child(asio::io_context& io, pid_t root, std::mutex& wait_lock,
                                   OnStatus on_status) {
  return std::make_unique<ChildWatch>(io, root, wait_lock, std::move(on_status));
}

std::unique_ptr<Watch> watch_reports(asio::io_context& io, pid_t child, base::UniqueFd reports,
                                     pid_t root_seen, std::mutex& wait_lock, OnStatus on_status) {
  return std::make_unique<ReportWatch>(io, child, std::move(reports), root_seen, wait_lock,
                                       std::move(on_status));
}

std::unique_ptr<Watch> watch_stranger(asio::io_context& io, pid_t root, OnStatus on_status) {
  return std::make_unique<StrangerWatch>(io, root, std::move(on_status));
}

}  // namespace torpor::supervisor
