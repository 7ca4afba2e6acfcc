#include "restart/thread_builder.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <vector>

#include "base/error.h"
#include "process/batch_runner.h"
#include "process/remote_memory.h"
#include "restart/built_process.h"

namespace torpor::restart {
namespace {

using agent::Call;
using agent::ThreadRecord;
using base::RemotePtr;

constexpr std::uint64_t kStackBytes = 2048;
constexpr int kPatienceMs = 30000;

// The calls of one thread, laid out as they will lie in the thread area at `start`.
class ThreadCalls : public process::CallList {
 public:
  explicit ThreadCalls(std::uint64_t start) : start_(start) {}

  RemotePtr data(std::span<const std::byte> bytes) override {
    const std::size_t offset = data_.size();
    data_.resize(offset + (bytes.size() + 7) / 8 * 8);
    std::memcpy(data_.data() + offset, bytes.data(), bytes.size());
    return RemotePtr(start_ + offset);
  }
  RemotePtr space(std::size_t bytes) override { return data(std::vector<std::byte>(bytes)); }

  std::size_t call(std::int64_t number, std::vector<process::Argument> arguments,
                   std::string what) override {
    purposes_.resize(calls_.size() + 1);
    purposes_.back() = std::move(what);
    return add(number, arguments, 0);
  }
  std::size_t try_call(std::int64_t number, std::vector<process::Argument> arguments) override {
    return add(number, arguments, 1);
  }

  [[nodiscard]] const std::vector<std::byte>& bytes() const { return data_; }
  [[nodiscard]] const std::vector<Call>& calls() const { return calls_; }
  [[nodiscard]] std::string purpose(std::size_t call) const {
    return call < purposes_.size() ? purposes_[call] : std::string("make a call");
  }

 private:
  std::size_t add(std::int64_t number, const std::vector<process::Argument>& arguments,
                  std::uint32_t may_fail) {
    Call call{};
    call.number = number;
    call.may_fail = may_fail;
    for (std::size_t i = 0; i < arguments.size() && i < 6; ++i) {
      if (arguments[i].is_result()) {
        throw base::Error(base::ErrorCode::internal, "a thread's call depends on another's result");
      }
      call.args[i] = arguments[i].value();
    }
    calls_.push_back(call);
    return calls_.size() - 1;
  }

  std::uint64_t start_;
  std::vector<std::byte> data_;
  std::vector<Call> calls_;
  std::vector<std::string> purposes_;
};

// What lies in the thread area: all records, then each thread's stack, data and calls.
class Layout {
 public:
  Layout(const snapshot::Process& process, const Hole& hole, const ThreadWork& work)
      : start_(hole.thread_area()) {
    if (hole.is_resident()) stacks_.emplace(process);
    for (const snapshot::Thread& thread : process.threads()) {
      if (thread.tid() != process.pid()) threads_.push_back(&thread);
    }
    bytes_.resize(threads_.size() * sizeof(ThreadRecord));
    for (std::size_t i = 0; i < threads_.size(); ++i) add_thread(i, work);
  }

  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }
  [[nodiscard]] std::size_t count() const { return threads_.size(); }
  [[nodiscard]] std::uint64_t record(std::size_t index) const {
    return start_ + index * sizeof(ThreadRecord);
  }
  [[nodiscard]] pid_t tid(std::size_t index) const { return threads_[index]->tid(); }
  [[nodiscard]] std::string purpose(std::size_t thread, std::size_t call) const {
    return purposes_[thread].purpose(call);
  }

 private:
  void append(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    bytes_.resize((bytes_.size() + 15) / 16 * 16);
  }

  void add_thread(std::size_t index, const ThreadWork& work) {
    bytes_.resize((bytes_.size() + 15) / 16 * 16 + (stacks_ ? 0 : kStackBytes));
    ThreadRecord record{};
    record.tid = threads_[index]->tid();
    record.stack_top = stacks_ ? stacks_->end_of(index) : start_ + bytes_.size();
    ThreadCalls calls(start_ + bytes_.size());
    work(calls, *threads_[index]);
    append(calls.bytes());
    record.calls = start_ + bytes_.size();
    record.call_count = static_cast<std::uint32_t>(calls.calls().size());
    append(std::as_bytes(std::span(calls.calls())));
    std::memcpy(bytes_.data() + index * sizeof(record), &record, sizeof(record));
    purposes_.push_back(std::move(calls));
  }

  std::uint64_t start_;
  std::optional<ThreadStacks> stacks_;  // else each thread's lies before its data
  std::vector<const snapshot::Thread*> threads_;
  std::vector<std::byte> bytes_;
  std::vector<ThreadCalls> purposes_;
};

void check_parked(const std::vector<ThreadRecord>& records, const Layout& layout, pid_t pid) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    const ThreadRecord& record = records[i];
    if (record.state != 2) continue;
    base::throw_errno(static_cast<int>(-record.failed_result),
                      fmt::format("process {}, thread {}: cannot {}", pid, layout.tid(i),
                                  layout.purpose(i, record.failed_call)));
  }
}

void await_parked(process::HeldProcess& husk, const Layout& layout) {
  std::vector<ThreadRecord> records(layout.count());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  for (;;) {
    process::read_memory(husk.pid, RemotePtr(layout.record(0)),
                         std::as_writable_bytes(std::span(records)));
    check_parked(records, layout, husk.seen_pid);
    bool all = true;
    for (const ThreadRecord& record : records) all = all && record.state == 1;
    if (all) return;
    if (std::chrono::steady_clock::now() > deadline) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {}: its threads do not start", husk.seen_pid));
    }
    ::sched_yield();
  }
}

}  // namespace

void start_threads(process::HeldProcess& husk, const snapshot::Process& process, const Hole& hole,
                   const ThreadWork& work) {
  const Layout layout(process, hole, work);
  if (layout.count() == 0) return;
  const std::uint64_t bytes = (layout.bytes().size() + 4095) / 4096 * 4096;
  if (bytes > hole.thread_area_bytes()) {
    throw base::Error(base::ErrorCode::internal, "the threads' area is too small");
  }
  husk.agent->call(SYS_mmap,
                   {hole.thread_area(), bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0},
                   "map room for its threads");
  process::write_memory(husk.pid, RemotePtr(hole.thread_area()), layout.bytes());
  process::BatchRunner runner(*husk.agent);
  for (std::size_t i = 0; i < layout.count(); ++i) {
    runner.call(agent::kStartThread, {layout.record(i)},
                fmt::format("create thread {}", layout.tid(i)));
  }
  runner.flush();
  await_parked(husk, layout);
}

}  // namespace torpor::restart
