#include "resource/attributes.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_scan.h"
#include "process/proc_status.h"
#include "resource/thread_view.h"

namespace torpor::resource {
namespace {

// What has to be asked from inside.
void capture_by_agent(process::AgentClient& agent, snapshot::ProcessAttributes& saved) {
  process::Batch batch(agent);
  const auto ask = [&batch](int option, const char* what) {
    return batch.call(SYS_prctl, {option, 0, 0, 0, 0}, fmt::format("ask for its {}", what));
  };
  const std::size_t dumpable = ask(PR_GET_DUMPABLE, "core dumps");
  const std::size_t huge_pages = ask(PR_GET_THP_DISABLE, "huge page policy");
  const std::size_t keep = ask(PR_GET_KEEPCAPS, "kept capabilities");
  const base::RemotePtr subreaper = batch.space(sizeof(int));
  batch.call(SYS_prctl, {PR_GET_CHILD_SUBREAPER, subreaper, 0, 0, 0},
             "ask whether it is a subreaper");
  batch.run_and_fetch();
  saved.set_dumpable(static_cast<std::int32_t>(batch.result(dumpable)));
  saved.set_thp_disabled(batch.result(huge_pages) != 0);
  saved.set_keep_capabilities(batch.result(keep) != 0);
  saved.set_child_subreaper(batch.fetched_value<int>(subreaper) != 0);
}

std::string thread_name(pid_t pid, pid_t tid) {
  std::string name = process::read_proc_file(pid, tid, "comm");
  if (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

std::uint32_t read_personality(pid_t pid, pid_t tid) {
  const std::string text = process::read_proc_file(pid, tid, "personality");
  return process::Scanner(text, "personality").number<std::uint32_t>(16);
}

std::int32_t read_oom_score_adj(pid_t pid) {
  const std::string text = process::read_proc_file(pid, "oom_score_adj");
  return process::Scanner(text, "oom_score_adj").number<std::int32_t>();
}

std::uint32_t read_coredump_filter(pid_t tid) {
  const std::string text = process::read_proc_file(tid, "coredump_filter");
  return static_cast<std::uint32_t>(std::stoul(text, nullptr, 16));
}

void write_own_file(process::CallList& calls, const std::string& name, const std::string& text) {
  const std::string path = "/proc/self/" + name;
  const std::size_t file =
      calls.call(SYS_openat, {AT_FDCWD, calls.text(path), O_WRONLY, 0}, "open " + path);
  calls.call(SYS_write, {process::ResultOf{file}, calls.text(text), text.size()},
             fmt::format("set its {} to {}", name, text));
  calls.call(SYS_close, {process::ResultOf{file}}, "close " + path);
}

// Links of a living thread: those of a leader that has exited are gone.
void capture_context(pid_t pid, pid_t tid, snapshot::FileSystemContext& saved) {
  const auto link = [&](const char* name) {
    return process::read_link(fmt::format("/proc/{}/task/{}/{}", pid, tid, name));
  };
  saved.set_working_directory(link("cwd"));
  saved.set_root_directory(link("root"));
  saved.set_umask(process::read_status(pid, tid).umask);
}

// Which membarrier(2) commands a program has registered for is not saved. Having registered can be
// told only by the success of these commands and by taking part in those of others, and costs next
// to nothing; so every program is registered for all of them. Must come before there are threads:
// then it takes no grace period of the kernel.
void register_membarriers(process::CallList& calls) {
  for (const int command :
       {MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ}) {
    calls.try_call(SYS_membarrier, {command, 0, 0});  // older kernels know fewer
  }
}

bool is_leader(const snapshot::Thread& thread, const snapshot::Process& process) {
  return thread.tid() == process.pid();
}

}  // namespace

void capture_attributes(process::HeldProcess& held, snapshot::Process& process) {
  const std::vector<ThreadView> threads = threads_with_answers(held, process);
  snapshot::ProcessAttributes& saved = *process.mutable_attributes();
  capture_by_agent(*held.agent, saved);
  saved.set_command_name(thread_name(held.pid, held.pid));
  saved.set_oom_score_adj(read_oom_score_adj(held.pid));
  saved.set_coredump_filter(read_coredump_filter(threads.front().stopped->tid()));
  capture_context(held.pid, threads.front().stopped->tid(), *process.mutable_context());
  // Of each thread; but nobody gives threads different ones.
  saved.set_personality(read_personality(held.pid, threads.front().stopped->tid()));
  for (const ThreadView& thread : threads) {
    thread.saved->set_name(thread_name(held.pid, thread.stopped->tid()));
    thread.saved->set_parent_death_signal(thread.answers->parent_death_signal);
  }
  saved.set_parent_death_signal(threads.front().saved->parent_death_signal());
}

void restore_attributes_early(process::CallList& calls, const snapshot::Process& process) {
  const snapshot::ProcessAttributes& saved = process.attributes();
  calls.call(SYS_prctl, {PR_SET_CHILD_SUBREAPER, saved.child_subreaper() ? 1 : 0, 0, 0, 0},
             "make it a subreaper or none");
  register_membarriers(calls);
  write_own_file(calls, "coredump_filter", fmt::format("{:#x}", saved.coredump_filter()));
  // A husk has the value of us, from whom it comes.
  if (saved.oom_score_adj() == read_oom_score_adj(::getpid())) return;
  write_own_file(calls, "oom_score_adj", std::to_string(saved.oom_score_adj()));
}

void restore_attributes_late(process::CallList& calls, const snapshot::Process& process) {
  calls.call(SYS_prctl, {PR_SET_THP_DISABLE, process.attributes().thp_disabled() ? 1 : 0, 0, 0, 0},
             "set its huge page policy");
  const snapshot::FileSystemContext& context = process.context();
  calls.call(SYS_umask, {context.umask()}, "set its umask");
  // Both paths are as we see them, from our own root: hence this order.
  if (!context.working_directory().empty()) {
    calls.call(SYS_chdir, {calls.text(context.working_directory())},
               "enter its working directory " + context.working_directory());
  }
  if (!context.root_directory().empty() && context.root_directory() != "/") {
    calls.call(SYS_chroot, {calls.text(context.root_directory())},
               "change its root directory to " + context.root_directory());
  }
}

void restore_thread_attributes(process::CallList& calls, const snapshot::Thread& thread,
                               const snapshot::Process& process) {
  calls.call(SYS_prctl, {PR_SET_NAME, calls.text(thread.name()), 0, 0, 0}, "set its name");
  calls.call(SYS_personality, {process.attributes().personality()}, "set its personality");
}

void restore_after_credentials(process::CallList& calls, const snapshot::Thread& thread,
                               const snapshot::Process& process) {
  calls.call(SYS_prctl, {PR_SET_PDEATHSIG, thread.parent_death_signal(), 0, 0, 0},
             "set its parent-death signal");
  if (!is_leader(thread, process)) return;
  calls.call(SYS_prctl, {PR_SET_DUMPABLE, process.attributes().dumpable() == 1 ? 1 : 0, 0, 0, 0},
             "set whether it may dump core");
}

}  // namespace torpor::resource
