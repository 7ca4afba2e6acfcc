#include "resource/pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "resource/file_path.h"
#include "resource/pipe_content.h"

namespace torpor::resource {
namespace {

// Set by open(2) on 64-bit systems, never by pipe(2); the C library has no name for it there.
constexpr std::uint32_t kLargeFile = 0100000;

bool can_read(std::uint32_t flags) { return (flags & O_ACCMODE) != O_WRONLY; }
bool can_write(std::uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

bool is_fifo(const FileView& view) { return view.target.starts_with('/') && !is_unlinked(view); }

template <typename Predicate>
bool held_inside(const FileView& view, const CaptureState& state, Predicate predicate) {
  return std::ranges::any_of(state.holders, [&](const Holder& holder) {
    return holder.device == view.status.st_dev && holder.inode == view.status.st_ino &&
           predicate(holder.flags);
  });
}

bool has_both_ends(const FileView& view, const CaptureState& state) {
  return held_inside(view, state, can_read) && held_inside(view, state, can_write);
}

// Nobody at all holds the other end: the program sees end of file or EPIPE, and will see it again
// (pipe(7), poll(2)).
bool is_hung_up(int end) {
  pollfd state{end, POLLIN | POLLOUT, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

Refusal other_end_outside(const FileView& view) {
  return {fmt::format("{} end of this pipe is held by a process outside of the computation",
                      can_read(view.info.flags) ? "the write" : "the read"),
          "launch the whole pipeline with torpor, or use a file instead"};
}

const snapshot::Pipe& find_pipe(const snapshot::OpenFile& file, const RestoreState& state) {
  for (const snapshot::Pipe& pipe : state.model->pipes()) {
    if (pipe.id() == file.pipe().pipe()) return pipe;
  }
  throw base::Error(base::ErrorCode::bad_image,
                    fmt::format("pipe {} is not in the image", file.pipe().pipe()));
}

PipeContent content_of(const snapshot::Pipe& pipe) {
  PipeContent content{pipe.content(), {pipe.packets().begin(), pipe.packets().end()}};
  std::uint64_t sum = 0;
  for (const std::uint32_t packet : content.packets) sum += packet;
  if (content.bytes.size() > pipe.capacity() ||
      (!content.packets.empty() && sum != content.bytes.size())) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("pipe {} holds what it cannot hold", pipe.id()));
  }
  return content;
}

class PipeKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "pipe"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState&) const override {
    return S_ISFIFO(view.status.st_mode);
  }

  // While everything is stopped this waits for finish_capture(): the other end may be found in
  // flight in a socket.
  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState& state) const override {
    if (is_fifo(view)) return find_path(view).refusal;
    if (!state.processes.empty() || has_both_ends(view, state)) return std::nullopt;
    const auto end = view.take_if_allowed();
    if (!end || !view.still_there(*end) || is_hung_up(end->get())) return std::nullopt;
    Refusal refusal = other_end_outside(view);
    refusal.certain = false;
    return refusal;
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    std::uint64_t& id = state.pipes[{view.status.st_dev, view.status.st_ino}];
    if (id == 0) {
      snapshot::Pipe& pipe = *state.model->add_pipes();
      id = static_cast<std::uint64_t>(state.model->pipes_size());
      pipe.set_id(id);
      capture_pipe(view, state, pipe);
    }
    file.mutable_pipe()->set_pipe(id);
    if (is_fifo(view)) file.set_path(find_path(view).path);
  }

  void finish_capture(const FileView& view, CaptureState& state,
                      snapshot::OpenFile&) const override {
    if (is_fifo(view) || has_both_ends(view, state) || is_hung_up(view.take().get())) return;
    refuse(view, other_end_outside(view));
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override { return file.has_pipe(); }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    const snapshot::Pipe& pipe = find_pipe(file, state);
    static_cast<void>(content_of(pipe));
    if (pipe.fifo_path().empty()) return std::nullopt;
    snapshot::FileFacts facts;
    facts.set_mode(S_IFIFO);
    return check_path(file, facts);
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    const snapshot::Pipe& pipe = find_pipe(file, state);
    auto& ends = state.pipes[pipe.id()];
    if (!pipe.fifo_path().empty()) {
      if (!ends.first) ends.first = open_fifo(pipe, state);
      return reopen(file.path(), file, state);
    }
    if (!ends.first) ends = make_pipe(pipe, state);
    const int end = can_write(file.flags()) ? ends.second.get() : ends.first.get();
    // What pipe(2) itself made, or another description, opened by /proc/PID/fd.
    if ((file.flags() & kLargeFile) != 0) return reopen_descriptor(end, file, state);
    base::UniqueFd fd(::fcntl(end, F_DUPFD_CLOEXEC, 0));
    if (!fd) base::throw_system("cannot duplicate the end of a pipe");
    return fd;
  }

 private:
  static void capture_pipe(const FileView& view, const CaptureState& state, snapshot::Pipe& pipe) {
    const base::UniqueFd end = view.take();
    const bool packets = held_inside(view, state, [](std::uint32_t flags) {
      return can_write(flags) && (flags & O_DIRECT) != 0;
    });
    PipeContent content = look_into_pipe(end.get(), packets);
    if (is_fifo(view)) pipe.set_fifo_path(find_path(view).path);
    pipe.set_capacity(pipe_capacity(end.get()));
    pipe.set_content(std::move(content.bytes));
    pipe.mutable_packets()->Add(content.packets.begin(), content.packets.end());
    pipe.set_owner_uid(view.status.st_uid);
  }

  static void set_capacity(int end, const snapshot::Pipe& pipe, RestoreState& state) {
    if (set_pipe_capacity(end, pipe.capacity())) return;
    state.warnings.push_back(
        fmt::format("a pipe of {} bytes is made with {} only: this user may not have more",
                    pipe.capacity(), pipe_capacity(end)));
  }

  static std::pair<base::UniqueFd, base::UniqueFd> make_pipe(const snapshot::Pipe& pipe,
                                                             RestoreState& state) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) base::throw_system("cannot make a pipe");
    std::pair<base::UniqueFd, base::UniqueFd> made(ends[0], ends[1]);
    set_capacity(ends[1], pipe, state);
    fill_pipe(ends[1], content_of(pipe));
    return made;
  }

  // Both ends in one: while we hold it, no opening of an end waits for the other.
  static base::UniqueFd open_fifo(const snapshot::Pipe& pipe, RestoreState& state) {
    base::UniqueFd fifo(::open(pipe.fifo_path().c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fifo) base::throw_system("cannot open {}", pipe.fifo_path());
    const PipeContent content = content_of(pipe);
    if (bytes_in_pipe(fifo.get()) == 0) {
      set_capacity(fifo.get(), pipe, state);
      fill_pipe(fifo.get(), content);
    } else {
      state.warnings.push_back(fmt::format(
          "{} holds data of somebody else now: the {} bytes that it held are not put back",
          pipe.fifo_path(), content.bytes.size()));
    }
    return fifo;
  }
};

}  // namespace

std::unique_ptr<FileKind> make_pipe_kind() { return std::make_unique<PipeKind>(); }

}  // namespace torpor::resource
