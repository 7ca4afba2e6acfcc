#include "restart/init_husk.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "agent/blob.h"
#include "base/clock.h"
#include "base/error.h"
#include "process/descriptor_passing.h"
#include "process/raw_process.h"

namespace torpor::restart {
namespace {

constexpr int kHelloMs = 20000;

// What the child tells when it fails; it may use nothing but system calls.
enum class Step : int {
  user_namespace,
  id_maps,
  namespaces,
  time_offsets,
  second_fork,
  mounts,
  capabilities,
  exec,
};

struct Failure {
  Step step;
  int error;
};

const char* describe(Step step) {
  switch (step) {
    case Step::user_namespace: return "create a user namespace";
    case Step::id_maps: return "map the user and group into the user namespace";
    case Step::namespaces: return "create pid, mount and time namespaces";
    case Step::time_offsets: return "set the clocks of the time namespace";
    case Step::second_fork: return "start a process in the new namespaces";
    case Step::mounts: return "keep mounts to ourselves";
    case Step::capabilities: return "keep the capabilities of the user namespace";
    case Step::exec: return "execute a husk";
  }
  return "start";
}

const char* remedy(Step step) {
  switch (step) {
    case Step::user_namespace:
    case Step::namespaces:
      return "this host does not allow namespaces (see sysctl user.max_user_namespaces, "
             "kernel.unprivileged_userns_clone, or the container's policy): restart as root or on "
             "another host";
    default: return "";
  }
}

// One line of /proc/PID/timens_offsets; nanoseconds must not be negative (time_namespaces(7)).
std::string offset_line(const char* name, std::int64_t offset_ns) {
  std::int64_t seconds = offset_ns / 1000000000;
  std::int64_t rest = offset_ns % 1000000000;
  if (rest < 0) {
    rest += 1000000000;
    --seconds;
  }
  return fmt::format("{} {} {}\n", name, seconds, rest);
}

base::UniqueFd husk_program() {
  base::UniqueFd file(::memfd_create("torpor-husk", MFD_CLOEXEC));
  const auto program = agent::agent_program();
  if (!file ||
      ::write(file.get(), program.data(), program.size()) != static_cast<ssize_t>(program.size())) {
    base::throw_system("cannot make the husk's program");
  }
  return file;
}

// Everything that the children need, made ready before the fork.
struct Prepared {
  NamespacePlan plan;
  std::string uid_map;
  std::string gid_map;
  std::string offsets;
  std::vector<const char*> words;  // of its command line, and null
  int program = -1;
  int socket = -1;
  int failures = -1;  // pipe
};

[[noreturn]] void fail(const Prepared& prepared, Step step) {
  const Failure failure{step, errno};
  (void)!::write(prepared.failures, &failure, sizeof(failure));
  ::_exit(1);
}

bool write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return done;
}

// A husk keeps the capabilities of its user namespace across exec only as ambient ones
// (capabilities(7)). They are given up before the program runs.
bool keep_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (process::get_capabilities(&header, data.data()) != 0) return false;
  for (auto& half : data) half.inheritable = half.permitted;
  if (process::set_capabilities(&header, data.data()) != 0) return false;
  for (unsigned long capability = 0; capability < 64; ++capability) {
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }
  return true;
}

void take_namespaces(const Prepared& prepared) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    fail(prepared, Step::mounts);
  }
  if (prepared.plan.pid) {
    // Not possible where the present /proc is masked (containers); the restart notices.
    ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  }
  if (prepared.plan.user && !keep_capabilities()) fail(prepared, Step::capabilities);
}

[[noreturn]] void become_husk(const Prepared& prepared) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  for (int signal = 1; signal < 65; ++signal) ::signal(signal, SIG_DFL);
  ::umask(0);
  if (prepared.plan.wrapped == nullptr) take_namespaces(prepared);
  if (prepared.socket != agent::kHuskSocket) ::dup2(prepared.socket, agent::kHuskSocket);
  ::fcntl(agent::kHuskSocket, F_SETFD, 0);
  for (int fd = 0; fd < agent::kHuskSocket; ++fd) {
    if (fd != prepared.program && fd != prepared.failures) ::close(fd);
  }
  process::close_on_exec_from(agent::kHuskSocket + 1);
  process::execute_descriptor(prepared.program, prepared.words.data());
  fail(prepared, Step::exec);
}

void make_namespaces(const Prepared& prepared) {
  if (prepared.plan.user) {
    if (::unshare(CLONE_NEWUSER) != 0) fail(prepared, Step::user_namespace);
    write_file("/proc/self/setgroups", "deny");
    if (!write_file("/proc/self/uid_map", prepared.uid_map) ||
        !write_file("/proc/self/gid_map", prepared.gid_map)) {
      fail(prepared, Step::id_maps);
    }
  }
  const int flags = CLONE_NEWNS | CLONE_NEWTIME | (prepared.plan.pid ? CLONE_NEWPID : 0);
  if (::unshare(flags) != 0) fail(prepared, Step::namespaces);
  if (!write_file("/proc/self/timens_offsets", prepared.offsets)) {
    fail(prepared, Step::time_offsets);
  }
}

[[noreturn]] void start_husk(const Prepared& prepared) {
  if (prepared.plan.wrapped == nullptr) make_namespaces(prepared);
  // CLONE_PARENT: the supervisor's child, so that we need not stay.
  const pid_t child = process::fork_sibling();
  if (child < 0) fail(prepared, Step::second_fork);
  if (child == 0) become_husk(prepared);
  ::_exit(0);
}

std::vector<const char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<const char*> pointers;
  for (const std::string& word : words) pointers.push_back(word.c_str());
  pointers.push_back(nullptr);
  return pointers;
}

void throw_if_failed(int failures) {
  Failure failure{};
  if (::read(failures, &failure, sizeof(failure)) != sizeof(failure)) return;
  base::throw_host_lacks(failure.error, fmt::format("cannot {}", describe(failure.step)),
                         remedy(failure.step));
}

process::AgentClient greet(base::UniqueFd socket) {
  agent::Hello hello{};
  const pid_t pid = process::receive_with_pid(socket.get(), &hello, sizeof(hello), kHelloMs);
  process::AgentClient agent(std::move(socket), pid, base::RemotePtr(hello.context),
                             base::RemotePtr(hello.code));
  return agent;
}

struct SocketPair {
  base::UniqueFd ours;
  base::UniqueFd theirs;
};

SocketPair make_socket_pair() {
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    base::throw_system("cannot make a socket pair");
  }
  SocketPair sockets{base::UniqueFd(pair[0]), base::UniqueFd(pair[1])};
  process::pass_credentials(sockets.ours.get());
  return sockets;
}

}  // namespace

InitHusk start_init_husk(const NamespacePlan& plan) {
  SocketPair sockets = make_socket_pair();
  int failures[2] = {-1, -1};
  if (::pipe2(failures, O_CLOEXEC) != 0) base::throw_system("cannot make a pipe");
  const base::UniqueFd read_failures(failures[0]);
  base::UniqueFd write_failures(failures[1]);
  const base::UniqueFd program =
      plan.wrapped != nullptr ? wrapped::resident_program(*plan.wrapped) : husk_program();
  const std::vector<std::string> words = plan.wrapped != nullptr
                                             ? wrapped::husk_arguments(*plan.wrapped)
                                             : std::vector<std::string>{"torpor-husk"};
  const std::int64_t monotonic = base::clock_ns();
  const std::int64_t boottime = base::clock_ns(CLOCK_BOOTTIME);
  Prepared prepared{plan,
                    fmt::format("{} {} 1\n", plan.uid, ::geteuid()),
                    fmt::format("{} {} 1\n", plan.gid, ::getegid()),
                    offset_line("monotonic", plan.clocks.monotonic_ns() - monotonic) +
                        offset_line("boottime", plan.clocks.boottime_ns() - boottime),
                    pointers_to(words),
                    program.get(),
                    sockets.theirs.get(),
                    write_failures.get()};
  const pid_t child = ::fork();
  if (child < 0) base::throw_system("cannot start a process");
  if (child == 0) start_husk(prepared);
  write_failures.reset();
  sockets.theirs.reset();
  ::waitpid(child, nullptr, 0);
  throw_if_failed(read_failures.get());
  process::AgentClient agent = greet(std::move(sockets.ours));
  const pid_t pid = agent.pid();
  return {pid, std::move(agent), monotonic, boottime, true};
}

process::AgentClient fork_husk(process::AgentClient& parent, pid_t seen_pid, int exit_signal) {
  SocketPair sockets = make_socket_pair();
  const int number = parent.give_fd_anywhere(sockets.theirs.get());
  sockets.theirs.reset();
  process::Batch batch(parent);
  const base::RemotePtr wanted = batch.value(seen_pid);
  batch.call(
      agent::kForkHusk,
      {number, seen_pid == 0 ? base::RemotePtr(0) : wanted, seen_pid == 0 ? 0 : 1, exit_signal},
      fmt::format("create a process with the id {}", seen_pid));
  batch.call(SYS_close, {number}, "close a descriptor");
  batch.run();
  return greet(std::move(sockets.ours));
}

}  // namespace torpor::restart
