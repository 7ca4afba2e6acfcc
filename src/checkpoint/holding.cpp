#include "checkpoint/holding.h"

#include <map>

#include "process/injection.h"
#include "process/proc_status.h"
#include "wrapped/quiesced_tree.h"

namespace torpor::checkpoint {
namespace {

pid_t seen_pid(pid_t pid) {
  const std::vector<pid_t> ids = process::read_status(pid).nspid;
  return ids.empty() ? pid : ids.back();
}

// By ptrace, from outside.
class TracedHolding final : public Holding {
 public:
  TracedHolding(const process::TreeScope& scope, int patience_ms)
      : tree_(process::StoppedTree::stop(scope, patience_ms)) {
    for (process::StoppedProcess& stopped : tree_.processes()) {
      held_.push_back(process::hold(stopped, seen_pid(stopped.pid)));
    }
  }

  std::vector<process::HeldProcess>& processes() override { return held_; }
  [[nodiscard]] std::size_t thread_count() const override { return tree_.thread_count(); }

  void enter(process::HeldProcess& held) override {
    auto agent = process::InjectedAgent::enter(*held.stopped);
    held.agent = &agent->client();
    agents_[held.pid] = std::move(agent);
  }

  [[nodiscard]] resource::AddressRange own_memory(const process::HeldProcess& held) const override {
    const process::InjectedAgent& agent = *agents_.at(held.pid);
    const std::uint64_t start = agent.area().address();
    return {start, start + agent.area_bytes()};
  }

  void leave(process::HeldProcess& held) override {
    held.agent = nullptr;
    agents_.at(held.pid)->leave();
  }

  void release() override { tree_.release(); }
  void await_end(int milliseconds) override { tree_.await_end(milliseconds); }

 private:
  process::StoppedTree tree_;
  std::vector<process::HeldProcess> held_;
  std::map<pid_t, std::unique_ptr<process::InjectedAgent>> agents_;
};

// By their own resident agents.
class QuiescedHolding final : public Holding {
 public:
  QuiescedHolding(const process::TreeScope& scope, const wrapped::Computation& computation,
                  int patience_ms, wrapped::CallLog* log)
      : tree_(wrapped::QuiescedTree::stop(scope, computation, patience_ms,
                                          log != nullptr ? *log : own_log_)) {}

  std::vector<process::HeldProcess>& processes() override { return tree_->processes(); }
  [[nodiscard]] std::size_t thread_count() const override { return tree_->thread_count(); }
  void enter(process::HeldProcess& /*held*/) override {}
  [[nodiscard]] resource::AddressRange own_memory(
      const process::HeldProcess& /*held*/) const override {
    return {agent::kResidentBase, agent::kResidentBase + agent::kResidentSpan};
  }
  void leave(process::HeldProcess& held) override { held.agent = nullptr; }
  void release() override { tree_->release(); }
  void await_end(int milliseconds) override { tree_->await_end(milliseconds); }

 private:
  wrapped::CallLog own_log_;
  std::unique_ptr<wrapped::QuiescedTree> tree_;
};

}  // namespace

std::unique_ptr<Holding> hold_tree(const Request& request, const process::TreeScope& scope,
                                   int patience_ms) {
  if (request.wrapped) {
    return std::make_unique<QuiescedHolding>(scope, *request.wrapped, patience_ms, request.calls);
  }
  return std::make_unique<TracedHolding>(scope, patience_ms);
}

}  // namespace torpor::checkpoint
