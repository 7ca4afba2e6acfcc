// A thread that waits in our signal handler.
#pragma once

#include <optional>
#include <span>

#include "agent/resident/resident_abi.h"
#include "base/remote_ptr.h"
#include "process/agent_client.h"
#include "process/proc_syscall.h"
#include "process/resident_view.h"
#include "process/stopped_thread.h"
#include "wrapped/call_log.h"
#include "wrapped/frame_registers.h"
#include "wrapped/id_table_file.h"

namespace torpor::wrapped {

class ParkedThread final : public process::StoppedThread {
 public:
  // `place`: where its agent::ParkedThread lies. `seen`: the calls in which it may have been, the
  // likeliest first. In which it was is noted in the log. `clock_ahead_ns`: of its CLOCK_MONOTONIC,
  // before ours.
  ParkedThread(pid_t pid, pid_t tid, base::RemotePtr place, const agent::ParkedThread& parked,
               std::span<const process::BlockedSyscall> seen, const process::ResidentView& view,
               CallLog& log, std::int64_t clock_ahead_ns);

  [[nodiscard]] pid_t pid() const override { return pid_; }
  [[nodiscard]] pid_t tid() const override { return tid_; }
  [[nodiscard]] process::Registers registers() const override { return registers_; }
  void set_registers(const process::Registers& registers) override;
  [[nodiscard]] std::optional<std::int64_t> interrupted_ns() const override;
  bool cut_down_on_leaving(const process::RunningTimeout& timeout) override;
  [[nodiscard]] process::Registers registers_to_save() const override;
  [[nodiscard]] std::vector<std::byte> extended_registers() const override;
  [[nodiscard]] std::uint64_t signal_mask() const override { return mask_; }
  [[nodiscard]] std::vector<siginfo_t> pending_signals(bool shared) const override;
  [[nodiscard]] process::RseqConfiguration rseq() const override;
  [[nodiscard]] bool dispatches_system_calls() const override { return false; }
  [[nodiscard]] process::SeccompProgram seccomp_filter(std::uint32_t index) const override;

  // Through which it is told what to do, and the leader, if it lives. Before pending_signals().
  void set_agent(process::AgentClient& agent, const ParkedThread& leader, const IdTableFile* ids) {
    agent_ = &agent;
    leader_ = leader.index_;
    ids_ = ids;
  }
  [[nodiscard]] base::RemotePtr scratch() const override;
  [[nodiscard]] const agent::ThreadAnswers& answers() const { return answers_; }

 private:
  void take_back_giving_up();
  void tell_way_on();
  void note_call();

  pid_t pid_;
  pid_t tid_;
  base::RemotePtr place_;
  std::uint64_t index_;
  std::uint64_t leader_ = 0;
  std::uint64_t our_signals_;
  process::AgentClient* agent_ = nullptr;
  const IdTableFile* ids_ = nullptr;
  std::uint64_t frame_address_;
  agent::ThreadAnswers answers_;
  agent::Frame frame_{};
  process::Registers registers_{};
  std::uint64_t mask_ = 0;
  std::optional<agent::ResidentThread> noted_;
  CallLog& log_;
  std::int64_t clock_ahead_ns_;
  std::int64_t interrupted_ns_;  // by its own clock; 0: it did not tell
};

}  // namespace torpor::wrapped
