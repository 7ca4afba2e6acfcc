#include "resource/file_owner.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"

// The C library shows these with _GNU_SOURCE, which g++ defines.
static_assert(F_GETOWN_EX == 16 && F_SETOWN_EX == 15);

namespace torpor::resource {
namespace {

struct Answer {
  int type = 0;
  pid_t id = 0;
  int signal = 0;
};

void save(const Answer& answer, snapshot::OpenFile& file) {
  if (answer.id == 0 && answer.signal == 0) return;
  file.mutable_owner()->set_type(answer.type);
  file.mutable_owner()->set_id(answer.id);
  file.mutable_owner()->set_signal(answer.signal);
}

// The questions about the descriptors of one process, in one message.
class Questions {
 public:
  explicit Questions(process::AgentClient& agent) : batch_(agent) {}

  [[nodiscard]] bool full() const { return !batch_.fits(2, sizeof(struct ::f_owner_ex)); }

  void ask(int fd, snapshot::OpenFile& file) {
    const base::RemotePtr place = batch_.space(sizeof(struct ::f_owner_ex));
    const std::size_t owner = batch_.try_call(SYS_fcntl, {fd, F_GETOWN_EX, place});
    const std::size_t signal = batch_.try_call(SYS_fcntl, {fd, F_GETSIG});
    asked_.push_back({&file, place, owner, signal});
  }

  void start() { batch_.start(true); }

  void finish() {
    batch_.finish();
    for (const Asked& asked : asked_) {
      if (batch_.result(asked.owner) < 0 || batch_.result(asked.signal) < 0) continue;
      const auto owner = batch_.fetched_value<struct ::f_owner_ex>(asked.place);
      save({owner.type, owner.pid, static_cast<int>(batch_.result(asked.signal))}, *asked.file);
    }
  }

 private:
  struct Asked {
    snapshot::OpenFile* file;
    base::RemotePtr place;
    std::size_t owner;
    std::size_t signal;
  };

  process::Batch batch_;
  std::vector<Asked> asked_;
};

// Of a description that we hold ourselves; the ids are ours and have to be translated.
void ask_here(int fd, const CaptureState& state, snapshot::OpenFile& file) {
  struct ::f_owner_ex owner {};
  const int signal = ::fcntl(fd, F_GETSIG);
  if (signal < 0 || ::fcntl(fd, F_GETOWN_EX, &owner) != 0) return;
  const auto held = state.processes.find(owner.pid);
  save({owner.type, held == state.processes.end() ? 0 : held->second->seen_pid, signal}, file);
}

}  // namespace

// All processes are asked first, and then listened to: they answer at the same time.
void capture_owners(CaptureState& state) {
  std::map<process::AgentClient*, std::unique_ptr<Questions>> open;
  for (const auto& [view, id] : state.representatives) {
    snapshot::OpenFile& file = *state.model->mutable_open_files(static_cast<int>(id) - 1);
    if ((view.info.flags & O_PATH) != 0) continue;
    if (view.pid == ::getpid()) ask_here(view.fd, state, file);
    if (view.agent == nullptr) continue;
    std::unique_ptr<Questions>& questions = open[view.agent];
    if (questions && questions->full()) {
      questions->start();
      questions->finish();
      questions.reset();
    }
    if (!questions) questions = std::make_unique<Questions>(*view.agent);
    questions->ask(view.fd, file);
  }
  for (auto& [agent, questions] : open) questions->start();
  for (auto& [agent, questions] : open) questions->finish();
}

void restore_owner(process::HeldProcess& holder, int fd, const snapshot::OpenFile& file,
                   RestoreState& state) {
  const bool async = (file.flags() & O_ASYNC) != 0;
  if (!file.has_owner() && !async) return;
  process::Batch batch(*holder.agent);
  std::optional<std::size_t> set_owner;
  if (file.has_owner()) {
    struct ::f_owner_ex owner {};
    owner.type = static_cast<decltype(owner.type)>(file.owner().type());
    owner.pid = file.owner().id();
    set_owner = batch.try_call(SYS_fcntl, {fd, F_SETOWN_EX, batch.value(owner)});
    batch.call(SYS_fcntl, {fd, F_SETSIG, file.owner().signal()}, "set the signal of a file");
  }
  if (async) {
    batch.call(SYS_fcntl, {fd, F_SETFL, file.flags()}, "set O_ASYNC");
  }
  batch.run();
  if (set_owner && batch.result(*set_owner) < 0) {
    state.warnings.push_back(
        fmt::format("{}: the process or group {} that was to get its signals is not there",
                    file.path(), file.owner().id()));
  }
}

}  // namespace torpor::resource
