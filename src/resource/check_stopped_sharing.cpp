// Processes that have something in common which only threads usually have, where kcmp(2) is
// refused: found by what the agents in them can do.
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "process/remote_memory.h"
#include "resource/refusals.h"

namespace torpor::resource {
namespace {

using process::HeldProcess;
using Processes = std::span<HeldProcess* const>;
using Obstacles = std::vector<Obstacle>;

void add(Obstacles& obstacles, const HeldProcess& held, std::string what, std::string reason) {
  obstacles.push_back(
      {true, held.pid, std::move(what), std::move(reason),
       "processes made with clone(2) that share such things, and threads that unshare(2) them, are "
       "not supported"});
}

// ---- memory: the agent of one is seen in the other

using AgentWords = std::array<std::uint64_t, 64>;  // of its context, different in each

AgentWords agent_words(const HeldProcess& in, const HeldProcess& of) {
  return process::read_value<AgentWords>(in.memory_pid(), of.agent->context());
}

void check_memory_of(const HeldProcess& held, const std::map<std::uint64_t, HeldProcess*>& agents,
                     Obstacles& obstacles) {
  for (const process::Mapping& mapping : process::read_maps(held.memory_pid())) {
    const auto agent = agents.find(mapping.start);
    if (agent == agents.end() || mapping.start == held.agent->code().address()) continue;
    const HeldProcess& other = *agent->second;
    if (agent_words(held, other) != agent_words(other, other)) continue;  // a copy of long ago
    add(obstacles, held, fmt::format("process {}", held.pid),
        fmt::format("it shares its memory with process {}", other.pid));
  }
}

// Agents that lie at the same address in all processes: each gets a word of its own into its
// message, and has it no more if another has got one there too.
void check_same_places(Processes processes, Obstacles& obstacles) {
  for (std::uint64_t i = 0; i < processes.size(); ++i) {
    process::Batch batch(*processes[i]->agent);
    batch.value(i);
    batch.call(SYS_getpid, {}, "look whether it shares its memory");
    batch.run();
  }
  for (std::uint64_t i = 0; i < processes.size(); ++i) {
    const HeldProcess& held = *processes[i];
    const base::RemotePtr word = held.agent->message_payload();
    if (process::read_value<std::uint64_t>(held.memory_pid(), word) == i) continue;
    add(obstacles, held, fmt::format("process {}", held.pid),
        "it shares its memory with another process");
  }
}

void check_memories(Processes processes, Obstacles& obstacles) {
  check_same_places(processes, obstacles);
  std::map<std::uint64_t, HeldProcess*> agents;
  for (HeldProcess* held : processes) agents[held->agent->code().address()] = held;
  for (const HeldProcess* held : processes) check_memory_of(*held, agents, obstacles);
}

// ---- directories, with which goes the umask: each process gets one of its own for a moment

constexpr std::uint32_t kMasks = 01000;

class OwnMasks {
 public:
  explicit OwnMasks(Processes processes) : processes_(processes) {
    for (const HeldProcess* held : processes) {
      before_.push_back(process::read_status(held->pid, held->threads.front()->tid()).umask);
    }
  }
  OwnMasks(const OwnMasks&) = delete;
  OwnMasks& operator=(const OwnMasks&) = delete;
  ~OwnMasks() {
    for (std::size_t i = 0; i < set_; ++i) put_back(*processes_[i], before_[i]);
  }

  void set_all(std::uint32_t digit, std::uint32_t inverted) {
    masks_.clear();
    for (std::size_t i = 0; i < processes_.size(); ++i) {
      masks_.push_back((static_cast<std::uint32_t>(i) / digit % kMasks) ^ inverted);
      set_ = std::max(set_, i + 1);
      set(*processes_[i], masks_[i], before_[i]);
    }
  }

  [[nodiscard]] bool has_own(std::size_t process, pid_t tid) const {
    return process::read_status(processes_[process]->pid, tid).umask == masks_[process];
  }

 private:
  // Should we be killed meanwhile, the agent puts it back.
  static void set(const HeldProcess& held, std::uint32_t mask, std::uint32_t before) {
    agent::Call undo{};
    undo.number = SYS_umask;
    undo.args[0] = before;
    process::Batch batch(*held.agent);
    const base::RemotePtr place = batch.value(undo);
    batch.call(agent::kSetUndo, {place, 1}, "prepare for being killed");
    batch.call(SYS_umask, {mask}, "set its umask");
    batch.run();
  }

  static void put_back(const HeldProcess& held, std::uint32_t mask) {
    try {
      process::Batch batch(*held.agent);
      batch.call(SYS_umask, {mask}, "set its umask");
      batch.call(agent::kSetUndo, {0, 0}, "forget what was prepared");
      batch.run();
    } catch (const base::Error&) {
      // The process was killed, or its agent has done it.
    }
  }

  Processes processes_;
  std::vector<std::uint32_t> masks_;
  std::vector<std::uint32_t> before_;
  std::size_t set_ = 0;  // so many have another one now
};

void check_directories(Processes processes, std::uint32_t digit, std::uint32_t inverted,
                       Obstacles& obstacles) {
  OwnMasks masks(processes);
  masks.set_all(digit, inverted);
  for (std::size_t i = 0; i < processes.size(); ++i) {
    const HeldProcess& held = *processes[i];
    const auto& threads = held.threads;
    if (!masks.has_own(i, threads.front()->tid())) {
      add(obstacles, held, fmt::format("process {}", held.pid),
          "it shares its working directory with another process");
      continue;
    }
    for (const process::StoppedThread* thread : threads) {
      if (masks.has_own(i, thread->tid())) continue;
      add(obstacles, held, fmt::format("thread {}", thread->tid()),
          "it has a working directory of its own");
    }
  }
}

}  // namespace

void check_stopped_sharing(Processes processes, Obstacles& obstacles) {
  check_memories(processes, obstacles);
  for (std::uint32_t digit = 1; digit <= processes.size(); digit *= kMasks) {
    check_directories(processes, digit, 0, obstacles);
  }
  // Once more, as a thread that has one of its own could have the very same.
  std::vector<HeldProcess*> with_threads;
  std::ranges::copy_if(processes, std::back_inserter(with_threads),
                       [](const HeldProcess* held) { return held->threads.size() > 1; });
  check_directories(with_threads, 1, kMasks - 1, obstacles);
}

}  // namespace torpor::resource
