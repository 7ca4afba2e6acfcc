// For tests: a child process that is held like one of a computation, and calls made by its leader.
#pragma once

#include <sys/syscall.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "process/borrowed_calls.h"
#include "process/call_list.h"
#include "process/injection.h"
#include "process/proc_test_support.h"
#include "process/remote_memory.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

using process::TestChild;

// Stopped, with the agent inside, until it is destroyed or released.
class HeldChild {
 public:
  explicit HeldChild(pid_t pid)
      : tree_(process::StoppedTree::stop({.root = pid, .reaper = 0, .not_ours = {}}, 5000)) {
    process::StoppedProcess* stopped = tree_.find(pid);
    agent_ = process::InjectedAgent::enter(*stopped);
    held_ = process::hold(*stopped, pid);
    held_.agent = &agent_->client();
  }
  HeldChild(const HeldChild&) = delete;
  HeldChild& operator=(const HeldChild&) = delete;
  ~HeldChild() { release(); }

  void release() {
    if (agent_) agent_->leave();
    agent_.reset();
    tree_.release();
  }

  [[nodiscard]] process::HeldProcess& held() { return held_; }
  [[nodiscard]] process::AgentClient& agent() { return *held_.agent; }
  [[nodiscard]] process::Tracee& leader() { return held_.stopped->threads.front(); }

  // A model with nothing but the threads.
  [[nodiscard]] snapshot::Process model() const {
    snapshot::Process process;
    process.set_pid(held_.pid);
    for (const process::Tracee& thread : held_.stopped->threads) {
      process.add_threads()->set_tid(thread.tid());
    }
    return process;
  }

 private:
  process::StoppedTree tree_;
  std::unique_ptr<process::InjectedAgent> agent_;
  process::HeldProcess held_;
};

// Makes every call at once, in the leader of a held child, as a thread that is being restored would
// make it. A failure throws Error with what the call was to do.
class LeaderCalls : public process::CallList {
 public:
  explicit LeaderCalls(HeldChild& child)
      : child_(child), calls_(child.held()), next_(calls_.room() + process::BorrowedCalls::kRoom) {}

  base::RemotePtr data(std::span<const std::byte> bytes) override {
    const base::RemotePtr place(next_);
    process::write_memory(child_.held().pid, place, bytes);
    next_ += (bytes.size() + 7) / 8 * 8;
    return place;
  }
  base::RemotePtr space(std::size_t bytes) override { return data(std::vector<std::byte>(bytes)); }
  std::size_t call(std::int64_t number, std::vector<process::Argument> arguments,
                   std::string what) override {
    const std::size_t index = try_call(number, std::move(arguments));
    if (results_[index] < 0) base::throw_errno(static_cast<int>(-results_[index]), what);
    return index;
  }
  std::size_t try_call(std::int64_t number, std::vector<process::Argument> arguments) override {
    std::array<std::uint64_t, 6> values{};
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      values.at(i) = arguments[i].is_result()
                         ? static_cast<std::uint64_t>(results_[arguments[i].value()])
                         : arguments[i].value();
    }
    results_.push_back(
        calls_.call(child_.leader(), number,
                    {values[0], values[1], values[2], values[3], values[4], values[5]}));
    return results_.size() - 1;
  }

 private:
  HeldChild& child_;
  process::BorrowedCalls calls_;
  std::uint64_t next_;
  std::vector<std::int64_t> results_;
};

// Keeps what would be done.
class RecordedCalls : public process::CallList {
 public:
  struct Call {
    std::int64_t number = 0;
    std::vector<std::uint64_t> arguments;
    std::string what;
  };

  base::RemotePtr data(std::span<const std::byte> bytes) override {
    blobs.emplace_back(bytes.begin(), bytes.end());
    return base::RemotePtr(0x1000 * blobs.size());
  }
  base::RemotePtr space(std::size_t bytes) override { return data(std::vector<std::byte>(bytes)); }
  std::size_t call(std::int64_t number, std::vector<process::Argument> arguments,
                   std::string what) override {
    Call& call = calls.emplace_back();
    call.number = number;
    call.what = std::move(what);
    for (const process::Argument& argument : arguments) call.arguments.push_back(argument.value());
    return calls.size() - 1;
  }
  std::size_t try_call(std::int64_t number, std::vector<process::Argument> arguments) override {
    return call(number, std::move(arguments), "");
  }

  [[nodiscard]] std::vector<std::int64_t> numbers() const {
    std::vector<std::int64_t> all;
    for (const Call& call : calls) all.push_back(call.number);
    return all;
  }

  std::vector<Call> calls;
  std::vector<std::vector<std::byte>> blobs;
};

// Empty if equal, else both.
inline std::string difference(const snapshot::Process& a, const snapshot::Process& b) {
  return a.SerializeAsString() == b.SerializeAsString()
             ? ""
             : "captured:\n" + a.DebugString() + "restored:\n" + b.DebugString();
}

}  // namespace torpor::resource
