#include "checkpoint/frozen_copy.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <cstddef>
#include <thread>

#include "base/error.h"
#include "process/descriptor_passing.h"
#include "process/proc_stat.h"

namespace torpor::checkpoint {
namespace {

constexpr int kPatienceMs = 10000;
constexpr int kEndMs = 2000;
constexpr int kDyingMs = 200;  // from the loss of its memory to its end

// It is gone, or a zombie whose parent is another than this one.
bool has_left(pid_t pid, pid_t reaper) {
  try {
    const process::Stat stat = process::read_stat(pid);
    return stat.state == 'X' || (stat.state == 'Z' && stat.ppid != reaper);
  } catch (const base::Error&) {
    return true;
  }
}

bool has_left_within(int milliseconds, pid_t pid, pid_t reaper) {
  for (int i = 0; !has_left(pid, reaper); ++i) {
    if (i == milliseconds) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace

FrozenCopy::FrozenCopy(process::HeldProcess& held, pid_t tree_reaper) : tree_reaper_(tree_reaper) {
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    base::throw_system("cannot make a socket pair");
  }
  control_.reset(pair[0]);
  base::UniqueFd theirs(pair[1]);
  process::pass_credentials(control_.get());
  const int number = held.agent->give_fd_anywhere(theirs.get());
  process::Batch batch(*held.agent);
  const std::size_t copy = batch.try_call(agent::kSnapshot, {number});
  batch.call(SYS_close, {number}, "close a descriptor");
  batch.run();
  if (batch.result(copy) < 0) {
    base::throw_errno(static_cast<int>(-batch.result(copy)),
                      fmt::format("cannot make a copy of process {}", held.seen_pid));
  }
  theirs.reset();
  std::byte note{};
  pid_ = process::receive_with_pid(control_.get(), &note, sizeof(note), kPatienceMs);
}

bool FrozenCopy::has_ended() const { return has_left_within(kDyingMs, pid_, 0); }

FrozenCopy::~FrozenCopy() {
  if (!control_) return;
  ::kill(pid_, SIGKILL);
  if (::waitpid(pid_, nullptr, __WALL) == pid_) return;
  // The child of another reaper. The next checkpoint must not take it for the program's; what it is
  // to others does not matter, and they may take their time.
  has_left_within(kEndMs, pid_, tree_reaper_);
}

PausedSubreaper::PausedSubreaper(process::AgentClient& agent) : agent_(agent) {
  agent::Call be_one{};
  be_one.number = SYS_prctl;
  be_one.args[0] = PR_SET_CHILD_SUBREAPER;
  be_one.args[1] = 1;
  be_one.may_fail = 1;
  process::Batch batch(agent_);
  const base::RemotePtr undo = batch.value(be_one);
  batch.call(agent::kSetUndo, {undo, 1}, "prepare for being killed");
  batch.call(SYS_prctl, {PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0}, "be no subreaper");
  batch.run();
}

PausedSubreaper::~PausedSubreaper() {
  try {
    process::Batch batch(agent_);
    batch.call(SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0}, "be a subreaper again");
    batch.call(agent::kSetUndo, {0, 0}, "forget what was prepared");
    batch.run();
  } catch (const base::Error&) {
    // The agent is gone, and has done it.
  }
}

}  // namespace torpor::checkpoint
