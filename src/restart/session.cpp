#include "restart/session.h"

#include <asm/prctl.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <mutex>
#include <thread>

#include "agent/blob.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fault_point.h"
#include "image/parallel.h"
#include "image/verify.h"
#include "process/proc_stat.h"
#include "resource/content.h"
#include "resource/descriptors.h"
#include "resource/process_state.h"
#include "resource/timers.h"
#include "restart/address_space.h"
#include "restart/host_ids.h"
#include "restart/thread_builder.h"

namespace torpor::restart {
namespace {

bool lives(const Husk& husk) { return husk.model->state() != snapshot::Process::ZOMBIE; }

const snapshot::Thread* leader_of(const snapshot::Process& process) {
  for (const snapshot::Thread& thread : process.threads()) {
    if (thread.tid() == process.pid()) return &thread;
  }
  return nullptr;
}

constexpr int kEndPatienceMs = 5000;

// Its threads are to find it dead.
void await_end_of_leader(pid_t pid) {
  for (int i = 0; i < kEndPatienceMs && process::read_stat(pid, pid).state != 'Z'; ++i) {
    ::usleep(1000);
  }
}

std::uint64_t code_bytes() { return (agent::agent_blob().size() + 4095) / 4096 * 4096; }

}  // namespace

Session::Session(const Request& request, base::Progress& progress)
    : request_(request), progress_(progress) {
  std::copy(request.streams.begin(), request.streams.end(), state_.streams);
  state_.terminal = request.terminal;
  state_.accept_changed_files = request.accept_changed_files;
}

Session::~Session() {
  verify_progress_.cancelled = true;
  if (!released_) kill_everything();
}

void Session::kill_everything() {
  if (!init_) return;
  // Another attempt will need them.
  if (tree_ && !held_ && may_take_namespace()) tree_->give_terminals_up();
  if (tree_ && !own_pid_namespace_) {
    for (auto& [pid, husk] : tree_->husks()) ::kill(husk.held.pid, SIGKILL);
    if (!tree_->reaper_is_init()) ::kill(tree_->reaper().pid(), SIGKILL);
  }
  ::kill(init_->pid, SIGKILL);  // of a namespace: ends everything in it
  // A traced process has not ended before its tracer has seen it, and init not before all others.
  if (held_) held_->await_end(kEndPatienceMs);
  held_.reset();
  for (int i = 0; i < kEndPatienceMs && ::waitpid(init_->pid, nullptr, WNOHANG) == 0; ++i) {
    ::usleep(1000);
  }
}

void Session::look() {
  base::fault_point("restart.look");
  image_.emplace(image::Image::open(request_.image));
  image::verify(*image_, verify_progress_, image::VerifyDepth::tables);
  for (const Finding& finding : check(request_)) {
    if (!finding.fatal) {
      result_.warnings.push_back(finding.what + ": " + finding.reason);
      continue;
    }
    throw base::Error(base::ErrorCode::refused, finding.what + ": " + finding.reason,
                      finding.remedy);
  }
  state_.model = &model();
  // Pages are checked as they are loaded, all else while the processes are built up; nothing runs
  // before it is done.
  verification_ = std::async(std::launch::async, [this] {
    image::verify(*image_, verify_progress_, image::VerifyDepth::contents, 1);
  });
}

void Session::identify() {
  base::fault_point("restart.identify");
  if (request_.identity == Identity::table) identify_by_table();
  NamespacePlan plan;
  if (is_wrapped()) plan.wrapped = &*result_.wrapped;
  plan.user = ::geteuid() != 0;
  plan.pid = !takes_host_ids();
  plan.uid = model().uid();
  plan.gid = model().gid();
  plan.clocks = model().clocks();
  own_pid_namespace_ = plan.pid && !is_wrapped();
  hole_.emplace(is_wrapped() ? Hole::of_resident(model()) : Hole::find(model(), code_bytes()));
  init_.emplace(start_init_husk(plan));
  if (!is_wrapped()) {
    state_.began_monotonic_ns = init_->began_monotonic_ns;
    state_.began_boottime_ns = init_->began_boottime_ns;
  }
  parked_ = move_into_hole(init_->agent, *hole_);
}

bool Session::takes_host_ids() const {
  if (request_.identity != Identity::automatic) return request_.identity == Identity::host;
  return may_choose_ids() && !find_taken_id(model());
}

void Session::grow() {
  base::fault_point("restart.grow");
  tree_.emplace(model(), init_->agent, terminals_of_sessions());
  if (is_wrapped() && model().reaper_pid() == 1) {
    agent::enter_pair(result_.ids->table(), 1, static_cast<std::uint32_t>(init_->pid));
  }
  tree_->grow();
  for (auto& [pid, husk] : tree_->husks()) state_.processes[pid] = &husk.held;
  present_ = resource::present_credentials(init_->pid);
}

void Session::open() {
  base::fault_point("restart.open");
  resource::restore_contents(*image_, state_);
  resource::restore_open_files(state_);
}

void Session::load() {
  base::fault_point("restart.load");
  std::mutex warnings_lock;
  const unsigned workers = tree_->husks().size() > 1 ? 1 : std::thread::hardware_concurrency();
  for_each_living([&](Husk& husk) {
    process::Batch early(*husk.agent);
    resource::restore_process_early(early, *husk.model);
    early.run();
    image::ExtentTable table = image_->extents(*husk.model);
    map_areas(husk.held, *husk.model, table, state_, parked_);
    if (is_wrapped()) use_vdso(husk);
    load_pages(husk.held, *husk.model, *image_, std::move(table), progress_, workers);
    std::vector<std::string> warnings;
    finish_areas(husk.held, *husk.model, is_wrapped(), warnings);
    const std::lock_guard lock(warnings_lock);
    std::ranges::move(warnings, std::back_inserter(result_.warnings));
  });
}

// Several at a time: they do not know of each other.
void Session::for_each_living(const std::function<void(Husk&)>& work) {
  std::vector<Husk*> living;
  for (auto& [pid, husk] : tree_->husks()) {
    if (lives(husk)) living.push_back(&husk);
  }
  image::parallel_for(living.size(), std::thread::hardware_concurrency(),
                      [&] { return [&](std::size_t item) { work(*living[item]); }; });
}

// Moves the agent's socket out of the way of the program's descriptors.
void Session::clear_descriptor_table(Husk& husk) {
  int highest = agent::kHuskSocket;
  for (const snapshot::Descriptor& descriptor : husk.model->descriptors()) {
    highest = std::max(highest, descriptor.number());
  }
  const int number = highest + 1;
  process::Batch batch(*husk.agent);
  const rlimit room{static_cast<rlim_t>(number) + 64, static_cast<rlim_t>(number) + 64};
  rlimit present{};
  ::prlimit(husk.held.pid, RLIMIT_NOFILE, nullptr, &present);
  if (present.rlim_cur < room.rlim_cur) {
    const rlimit raised{room.rlim_cur, std::max(room.rlim_max, present.rlim_max)};
    batch.call(SYS_prlimit64, {0, RLIMIT_NOFILE, batch.value(raised), 0},
               "raise its limit of open files");
  }
  batch.call(SYS_dup3, {agent::kHuskSocket, number, O_CLOEXEC}, "move the agent's socket");
  batch.call(SYS_close, {agent::kHuskSocket}, "close");
  batch.call(agent::kSetSocket, {number}, "use the moved socket");
  batch.run();
  husk.agent->set_remote_socket(number);
  agent_sockets_[husk.held.pid] = number;
}

void Session::describe() {
  base::fault_point("restart.describe");
  for (auto& [pid, husk] : tree_->husks()) {
    if (!lives(husk)) continue;
    clear_descriptor_table(husk);
    if (is_wrapped() && has_signal_fd(husk)) {
      husk.agent->call(agent::kLeadReadsIn, {}, "lead reads of signalfds in");
    }
    resource::give_descriptors(state_, husk.held, *husk.model);
  }
}

// What a thread does for itself. Without ptrace also what else would come with its registers; but
// its alternate stack comes later, as a signal must not use it now.
void Session::describe_thread(process::CallList& calls, const snapshot::Thread& thread,
                              const snapshot::Process& process) const {
  if (!is_wrapped()) {
    resource::restore_thread(calls, thread, process);
  } else {
    snapshot::Thread without = thread;
    without.clear_alternate_stack();
    resource::restore_thread(calls, without, process);
    process::Registers registers{};
    const std::string& saved = thread.registers().general();
    std::memcpy(&registers, saved.data(), std::min(saved.size(), sizeof(registers)));
    calls.call(SYS_arch_prctl, {ARCH_SET_FS, registers.fs_base}, "set its thread pointer");
    calls.call(SYS_arch_prctl, {ARCH_SET_GS, registers.gs_base}, "set its gs base");
  }
  resource::restore_privileges(calls, thread, process, present_);
}

void Session::thread() {
  base::fault_point("restart.thread");
  for_each_living([&](Husk& husk) {
    const snapshot::Process& process = *husk.model;
    if (is_wrapped()) ThreadStacks(process).map(*husk.agent);
    start_threads(husk.held, process, *hole_,
                  [&](process::CallList& calls, const snapshot::Thread& thread) {
                    describe_thread(calls, thread, process);
                  });
  });
}

// The pseudo terminals of the program's own are made for it now.
std::map<pid_t, int> Session::terminals_of_sessions() {
  std::map<pid_t, int> terminals;
  if (model().has_terminal() && request_.terminal >= 0) {
    terminals[model().terminal().session()] = request_.terminal;
  }
  for (const snapshot::OpenFile& file : model().open_files()) {
    if (!file.has_pty_master() || file.pty_master().session() == 0) continue;
    resource::open_file_made(state_, file.id());
    terminals[file.pty_master().session()] = state_.pty_slaves.at(file.id()).get();
  }
  return terminals;
}

void Session::restore_foreground_groups() {
  std::map<pid_t, pid_t> groups;
  if (model().has_terminal()) {
    groups[model().terminal().session()] = model().terminal().foreground_group();
  }
  for (const snapshot::OpenFile& file : model().open_files()) {
    if (!file.has_pty_master()) continue;
    groups[file.pty_master().session()] = file.pty_master().foreground_group();
  }
  tree_->set_foreground_groups(groups);
}

// How far the program's clocks have gone on since they are there again.
std::int64_t Session::elapsed_ns() const { return base::clock_ns() - state_.began_monotonic_ns; }

void Session::finish() {
  base::fault_point("restart.finish");
  resource::finish_descriptors(state_);
  tree_->settle();
  restore_foreground_groups();
  for (auto& [pid, husk] : tree_->husks()) {
    if (!lives(husk)) continue;
    forget_child_signals(*husk.agent);
    process::Batch batch(*husk.agent);
    const resource::TimePassed passed{model().clocks(), elapsed_ns()};
    resource::restore_process_late(batch, *husk.model, passed);
    batch.run();
    resource::restore_queued(*husk.agent, *husk.model, passed);
    seal_areas(husk.held, *husk.model);
  }
  // What only we still hold must really close: the other ends are not to wait for it.
  state_.open_files.clear();
  state_.pty_slaves.clear();
  state_.pipes.clear();
  state_.socket_pairs.clear();
  state_.shared_memories.clear();
  state_.saved_files.clear();
}

void Session::drop() {
  base::fault_point("restart.drop");
  for (auto& [pid, husk] : tree_->husks()) {
    if (!lives(husk)) continue;
    const snapshot::Thread* leader = leader_of(*husk.model);
    process::Batch batch(*husk.agent);
    if (leader != nullptr && !leader->dead()) {
      describe_thread(batch, *leader, *husk.model);
      batch.run();
    } else if (!is_wrapped()) {
      batch.call(SYS_exit, {0}, "end the leader");
      batch.start();
      await_end_of_leader(husk.held.pid);
    }
  }
}

}  // namespace torpor::restart
