// For the tests of descriptors and their kinds: real programs, stopped as a checkpoint has them,
// and what comes back from their model.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "process/injection.h"
#include "process/proc_stat.h"
#include "process/proc_test_support.h"
#include "process/stopped_tree.h"
#include "resource/descriptors.h"
#include "resource/file_kind.h"

namespace torpor::resource {

using process::expect_error;
using process::TestDirectory;

// A child with no descriptors but standard error. The constructor returns when `prepare` has run in
// it, or has called `ready`; the child then sleeps until the end.
class Program {
 public:
  using Ready = std::function<void()>;

  explicit Program(const std::function<void(const Ready&)>& prepare)
      : ready_(static_cast<std::atomic<int>*>(
            ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    pid_ = ::fork();
    if (pid_ == 0) run(prepare);
    while (ready_->load() == 0 && ::waitpid(pid_, nullptr, WNOHANG) == 0) ::usleep(500);
    if (ready_->load() == 0) ADD_FAILURE() << "the test's program failed";
  }
  explicit Program(const std::function<void()>& prepare)
      : Program([&](const Ready&) { prepare(); }) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    ::kill(-pid_, SIGKILL);  // with all that it has forked
    ::waitpid(pid_, nullptr, __WALL);
    ::munmap(ready_, 4096);
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  [[noreturn]] void run(const std::function<void(const Ready&)>& prepare) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(0, 0);
    ::close_range(0, 1, 0);
    ::close_range(3, kFirstKept - 1, 0);
    const Ready ready = [this] { ready_->store(1); };
    prepare(ready);
    ready();
    for (;;) ::pause();
  }

 public:
  static constexpr unsigned kFirstKept = 500;  // tests put what the child is to inherit there

 private:
  std::atomic<int>* ready_;
  pid_t pid_ = -1;
};

// A process and all below it: stopped, the agent in each, the processes in a model. They go on when
// it is destroyed.
class StoppedProgram {
 public:
  explicit StoppedProgram(pid_t root) : tree_(process::StoppedTree::stop({root, 0, {}}, 5000)) {
    state.model = &model;
    for (process::StoppedProcess& stopped : tree_.processes()) {
      Member& member = members_.emplace_back();
      member.held = process::hold(stopped, stopped.pid);
      state.processes[stopped.pid] = &member.held;
      snapshot::Process& process = *model.add_processes();
      process.set_pid(stopped.pid);
      process.set_parent(process::read_stat(stopped.pid).ppid);
      if (stopped.zombie) continue;
      if (!stopped.leader_dead) {  // descriptors are read without an agent too
        member.agent = process::InjectedAgent::enter(stopped);
        member.held.agent = &member.agent->client();
      }
      held_.push_back(&member.held);
    }
  }

  void capture() { capture_descriptors(held_, state); }

  [[nodiscard]] process::HeldProcess& held(std::size_t i = 0) { return *held_.at(i); }
  [[nodiscard]] std::size_t count() const { return held_.size(); }

  // The description that a descriptor of the model refers to; fails the test if there is none.
  [[nodiscard]] const snapshot::OpenFile& file(pid_t pid, int fd) const {
    for (const snapshot::Process& process : model.processes()) {
      for (const snapshot::Descriptor& descriptor : process.descriptors()) {
        if (process.pid() != pid || descriptor.number() != fd) continue;
        return model.open_files(static_cast<int>(descriptor.open_file()) - 1);
      }
    }
    ADD_FAILURE() << "process " << pid << " has no descriptor " << fd;
    return snapshot::OpenFile::default_instance();
  }

  [[nodiscard]] std::uint64_t id(pid_t pid, int fd) const { return file(pid, fd).id(); }

  snapshot::Computation model;
  CaptureState state;

 private:
  struct Member {
    process::HeldProcess held;
    std::unique_ptr<process::InjectedAgent> agent;
  };

  process::StoppedTree tree_;
  std::deque<Member> members_;
  std::vector<process::HeldProcess*> held_;
};

// In a test's child: puts `fd` at `number`.
inline void put_at(int fd, int number) {
  if (fd == number) return;
  if (::dup2(fd, number) != number) ::_exit(98);
  ::close(fd);
}

inline FileView own_view(int fd) {
  FileView view;
  view.pid = ::getpid();
  view.tid = view.pid;
  view.fd = fd;
  view.target = process::fd_target(view.pid, fd);
  view.info = process::read_fdinfo(view.pid, fd);
  ::fstat(fd, &view.status);
  return view;
}

// A model of descriptors of this process, captured by their kinds.
class OwnDescriptors {
 public:
  explicit OwnDescriptors(const std::vector<int>& fds) {
    state.model = &model;
    for (const int fd : fds) add(own_view(fd));
  }

  [[nodiscard]] std::optional<Refusal> check(std::size_t i = 0) const {
    const FileView& view = views.at(i);
    return kind_of(view, state).check(view, state);
  }

  [[nodiscard]] std::string kind(std::size_t i = 0) const {
    return kind_of(views.at(i), state).name();
  }

  void capture() {
    for (const FileView& view : views) {
      snapshot::OpenFile& file = *model.add_open_files();
      file.set_id(static_cast<std::uint64_t>(model.open_files_size()));
      file.set_flags(view.info.flags & ~static_cast<std::uint32_t>(O_CLOEXEC));
      file.set_position(static_cast<std::uint64_t>(view.info.pos));
      file.set_path(view.target);
      kind_of(view, state).capture(view, state, file);
    }
    for (std::size_t i = 0; i < views.size(); ++i) {
      kind_of(views[i], state)
          .finish_capture(views[i], state, *model.mutable_open_files(static_cast<int>(i)));
    }
  }

  snapshot::Computation model;
  CaptureState state;
  std::vector<FileView> views;

 private:
  void add(const FileView& view) {
    state.holders.push_back(
        {view.pid, view.fd, view.status.st_dev, view.status.st_ino, view.info.flags});
    views.push_back(view);
  }
};

// The descriptions of a model, made again in this process. Contents come from the capture.
class Restored {
 public:
  explicit Restored(const snapshot::Computation& model) { state.model = &model; }

  // As content.h does, but straight from the capture.
  void take_contents(const CaptureState& capture) {
    for (const CaptureState::Content& content : capture.contents) {
      auto& place = content.shared_memory ? state.shared_memories : state.saved_files;
      place[content.id] = copy_of(content);
    }
  }

  void make() { restore_open_files(state); }
  [[nodiscard]] int fd(std::uint64_t id) { return state.open_files.at(id).get(); }

  RestoreState state;

 private:
  static base::UniqueFd copy_of(const CaptureState::Content& content) {
    base::UniqueFd copy(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    std::string bytes(content.size, '\0');
    if (::pread(content.fd.get(), bytes.data(), bytes.size(), 0) !=
            static_cast<ssize_t>(bytes.size()) ||
        ::pwrite(copy.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
      ADD_FAILURE() << "cannot copy a content";
    }
    return copy;
  }
};

inline std::string read_all(int fd) {
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(fd, piece, sizeof(piece))) > 0;) {
    text.append(piece, static_cast<std::size_t>(got));
  }
  return text;
}

inline std::string file_content(const std::string& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd ? read_all(fd.get()) : "cannot open " + path;
}

inline void write_file(const std::string& path, std::string_view text) {
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    base::throw_system("write {}", path);
  }
}

inline void append_file(const std::string& path, std::string_view text) {
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    base::throw_system("append to {}", path);
  }
}

inline base::UniqueFd open_file(const std::string& path, int flags) {
  base::UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd) base::throw_system("open {}", path);
  return fd;
}

}  // namespace torpor::resource
