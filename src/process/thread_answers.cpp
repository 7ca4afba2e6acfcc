#include "process/thread_answers.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "agent/blob.h"
#include "base/error.h"
#include "process/detour.h"
#include "process/remote_memory.h"
#include "process/rseq.h"

namespace torpor::process {
namespace {

using agent::ThreadProbe;
using Clock = std::chrono::steady_clock;

constexpr int kPatienceMs = 30000;  // on a starved machine even a ready thread waits for seconds
constexpr int kSpins = 100;

// The threads of one process while they answer. RAII: they are put back, and the room is unmapped.
class Probing {
 public:
  explicit Probing(HeldProcess& held) : held_(held), threads_(held.stopped->threads) {
    own_.reserve(threads_.size());
    for (Tracee& thread : threads_) {
      own_.push_back({outside_critical_section(thread, thread.registers()), thread.signal_mask()});
    }
    map_room();
  }
  Probing(const Probing&) = delete;
  Probing& operator=(const Probing&) = delete;
  ~Probing() {
    try {
      end();
    } catch (const base::Error&) {
      // The process has been killed meanwhile.
    }
  }

  std::vector<agent::ThreadAnswers> ask() {
    for (std::size_t i = 0; i < threads_.size(); ++i) send(i);
    const std::vector<ThreadProbe> probes = await_answers();
    end();
    std::vector<agent::ThreadAnswers> answers;
    answers.reserve(probes.size());
    for (const ThreadProbe& probe : probes) answers.push_back(probe.answers);
    return answers;
  }

 private:
  struct Own {
    Registers registers;
    std::uint64_t mask;
  };

  [[nodiscard]] std::size_t room_bytes() const { return threads_.size() * sizeof(ThreadProbe); }
  [[nodiscard]] base::RemotePtr room_of(std::size_t thread) const {
    return room_ + thread * sizeof(ThreadProbe);
  }

  void map_room() {
    std::vector<ThreadProbe> probes(threads_.size());
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      const Registers back = able_to_return(own_[i].registers);
      static_assert(sizeof(back) == sizeof(ThreadProbe::saved_registers));
      std::memcpy(&probes[i].saved_registers, &back, sizeof(back));
      probes[i].saved_mask = own_[i].mask;
    }
    room_ = base::RemotePtr(static_cast<std::uint64_t>(held_.agent->call(
        SYS_mmap, {0, room_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
        "map memory for what its threads tell")));
    write_memory(held_.memory_pid(), room_, std::as_bytes(std::span(probes)));
    tell_agent(room_.address(), threads_.size());
  }

  // For abandon() of the agent.
  void tell_agent(std::uint64_t probes, std::uint64_t count) {
    const std::uint64_t words[2] = {probes, count};
    static_assert(offsetof(agent::Context, probe_count) ==
                  offsetof(agent::Context, probes) + sizeof(std::uint64_t));
    write_memory(held_.memory_pid(), held_.agent->context() + offsetof(agent::Context, probes),
                 std::as_bytes(std::span(words)));
  }

  void send(std::size_t i) {
    Registers registers = plain(own_[i].registers);
    registers.rip = (held_.agent->code() + agent::blob_header().probe_entry).address();
    registers.rdi = room_of(i).address();
    Tracee& thread = threads_[i];
    away_ = i + 1;
    // From there it finds its way back alone, so that comes before the mask.
    thread.set_registers(registers);
    thread.set_signal_mask(kAllSignals);
    thread.resume();
  }

  std::vector<ThreadProbe> await_answers() {
    const auto deadline = Clock::now() + std::chrono::milliseconds(kPatienceMs);
    std::vector<ThreadProbe> probes(threads_.size());
    std::size_t answered = 0;
    for (int spins = 0; answered < probes.size(); ++spins) {
      read_memory(held_.memory_pid(), room_of(answered),
                  std::as_writable_bytes(std::span(probes).subspan(answered)));
      while (answered < probes.size() && probes[answered].done != 0) ++answered;
      if (answered < probes.size() && Clock::now() > deadline) {
        throw base::Error(base::ErrorCode::timeout,
                          fmt::format("thread {} of process {} does not answer",
                                      threads_[answered].tid(), held_.pid));
      }
      if (spins < kSpins) {
        ::sched_yield();
      } else {
        for (std::size_t i = answered; i < probes.size(); ++i) wake_if_stopped(threads_[i]);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    return probes;
  }

  // A thread that was asked to stop twice does so twice.
  static void wake_if_stopped(Tracee& thread) {
    if (thread.poll() && thread.state() == Tracee::State::stopped) thread.resume();
  }

  void put_back() {
    for (std::size_t i = 0; i < away_; ++i) threads_[i].interrupt();
    for (std::size_t i = 0; i < away_; ++i) {
      Tracee& thread = threads_[i];
      if (!thread.wait(kPatienceMs) || thread.state() == Tracee::State::gone) {
        throw base::Error(base::ErrorCode::program_gone,
                          fmt::format("process {} was killed", held_.pid));
      }
      thread.set_signal_mask(own_[i].mask);
      thread.set_registers(own_[i].registers);
    }
    away_ = 0;
  }

  void end() {
    if (!room_) return;
    put_back();
    tell_agent(0, 0);
    held_.agent->call(SYS_munmap, {room_.address(), room_bytes()}, "unmap what its threads told");
    room_ = base::RemotePtr();
  }

  HeldProcess& held_;
  std::vector<Tracee>& threads_;
  std::vector<Own> own_;
  base::RemotePtr room_;
  std::size_t away_ = 0;  // so many of the threads are, or may be, in the agent
};

void expect_success(std::int64_t result, pid_t tid, const char* what) {
  if (result >= 0) return;
  base::throw_errno(static_cast<int>(-result),
                    fmt::format("cannot ask thread {} for {}", tid, what));
}

void check(const agent::ThreadAnswers& answers, pid_t tid) {
  expect_success(answers.stack_result, tid, "its alternate signal stack");
  expect_success(answers.tid_address_result, tid, "the word that is cleared at its end");
  expect_success(answers.parent_death_result, tid, "its parent-death signal");
  expect_success(answers.timer_slack, tid, "its timer slack");
}

}  // namespace

std::span<const agent::ThreadAnswers> answers_of(HeldProcess& held) {
  if (held.answers.empty()) {
    if (held.stopped == nullptr) {
      throw base::Error(
          base::ErrorCode::internal,
          fmt::format("the threads of process {} have not told of themselves", held.pid));
    }
    std::vector<agent::ThreadAnswers> answers = Probing(held).ask();
    for (std::size_t i = 0; i < answers.size(); ++i) {
      check(answers[i], held.stopped->threads[i].tid());
    }
    held.answers = std::move(answers);
  }
  return held.answers;
}

}  // namespace torpor::process
