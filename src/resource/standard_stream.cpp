#include "resource/standard_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "resource/file_path.h"
#include "resource/terminal.h"

namespace torpor::resource {
namespace {

bool can_read(std::uint32_t flags) { return (flags & O_ACCMODE) != O_WRONLY; }
bool can_write(std::uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

bool may_lead_outside(const FileView& view) {
  return S_ISFIFO(view.status.st_mode) || S_ISSOCK(view.status.st_mode) || is_terminal(view);
}

// Does anybody inside hold what this end of a pipe is connected to?
bool has_partner(const FileView& view, const CaptureState& state) {
  return std::ranges::any_of(state.holders, [&view](const Holder& holder) {
    if (holder.device != view.status.st_dev || holder.inode != view.status.st_ino) return false;
    return can_read(view.info.flags) ? can_write(holder.flags) : can_read(holder.flags);
  });
}

class StandardStreamKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "standard stream"; }

  [[nodiscard]] bool matches(const FileView& view, const CaptureState& state) const override {
    return !is_terminal(view) && outside_stream(view, state).has_value();
  }

  void capture(const FileView& view, CaptureState& state, snapshot::OpenFile& file) const override {
    snapshot::StandardStream& standard = *file.mutable_standard();
    standard.set_stream(*outside_stream(view, state));
    standard.set_was(view.target);
  }

  [[nodiscard]] bool made(const snapshot::OpenFile& file) const override {
    return file.has_standard() && !file.standard().terminal();
  }

  [[nodiscard]] std::optional<Refusal> check_restore(const snapshot::OpenFile& file,
                                                     const RestoreState& state) const override {
    return check_stream(file, state);
  }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState& state) const override {
    return duplicate_stream(file, state);
  }

  // It is shared with whoever started us.
  [[nodiscard]] bool is_ours(const snapshot::OpenFile&, const RestoreState&) const override {
    return false;
  }
};

}  // namespace

// One file may stand for several streams (a terminal, `>& file`): the number itself decides, then
// the direction.
std::optional<unsigned> outside_stream(const FileView& view, const CaptureState& state) {
  if (!may_lead_outside(view)) return std::nullopt;
  std::vector<unsigned> streams;
  for (const OutsideStream& outside : state.outside) {
    if (outside.device == view.status.st_dev && outside.inode == view.status.st_ino) {
      streams.push_back(outside.stream);
    }
  }
  if (streams.empty()) return std::nullopt;
  for (const unsigned stream : streams) {
    if (view.fd == static_cast<int>(stream)) return stream;
  }
  for (const unsigned stream : streams) {
    if (stream == 0 ? !can_write(view.info.flags) : can_write(view.info.flags)) return stream;
  }
  return streams.front();
}

std::vector<OutsideStream> streams_that_lead_outside(std::span<const FileView> root_streams,
                                                     const CaptureState& state) {
  std::vector<OutsideStream> outside;
  for (const FileView& view : root_streams) {
    if (view.fd > 2 || !may_lead_outside(view)) continue;
    if (S_ISFIFO(view.status.st_mode) && has_partner(view, state)) continue;
    outside.push_back({static_cast<unsigned>(view.fd), view.status.st_dev, view.status.st_ino});
  }
  return outside;
}

namespace {

// A pipe or terminal of the restarter that blocks otherwise than the program's did: the program
// gets a description of its own, because the restarter's must not change. Invalid where that is not
// to be had (sockets; files, whose position is shared on purpose).
base::UniqueFd stream_with_flags(int stream, std::uint32_t present, const snapshot::OpenFile& file,
                                 RestoreState& state) {
  struct ::stat status {};
  if (((present ^ file.flags()) & O_NONBLOCK) == 0 || ::fstat(stream, &status) != 0 ||
      (!S_ISFIFO(status.st_mode) && ::isatty(stream) == 0)) {
    return {};
  }
  snapshot::OpenFile wanted = file;
  wanted.set_flags((present & O_ACCMODE) | (file.flags() & (O_NONBLOCK | O_APPEND)));
  try {
    return reopen_descriptor(stream, wanted, state);
  } catch (const base::Error&) {  // another user's pipe
    return {};
  }
}

}  // namespace

base::UniqueFd duplicate_stream(const snapshot::OpenFile& file, RestoreState& state) {
  const unsigned stream = file.standard().stream();
  if (stream >= std::size(state.streams)) {
    throw base::Error(base::ErrorCode::bad_image,
                      fmt::format("open file {} is standard stream {}", file.id(), stream));
  }
  const int present = state.streams[stream];
  const int flags = ::fcntl(present, F_GETFL);
  if (flags < 0) base::throw_system("cannot duplicate standard stream {}", stream);
  base::UniqueFd own = stream_with_flags(present, static_cast<std::uint32_t>(flags), file, state);
  if (own) return own;
  base::UniqueFd fd(::fcntl(present, F_DUPFD_CLOEXEC, 0));
  if (!fd) base::throw_system("cannot duplicate standard stream {}", stream);
  return fd;
}

std::optional<Refusal> check_stream(const snapshot::OpenFile& file, const RestoreState& state) {
  const unsigned stream = file.standard().stream();
  if (stream >= std::size(state.streams)) return Refusal{"there is no such standard stream", ""};
  const int flags = ::fcntl(state.streams[stream], F_GETFL);
  if (flags < 0) {
    return Refusal{
        fmt::format("the program needs standard stream {}, and it is closed here", stream),
        "restart with all three open, for instance to /dev/null"};
  }
  const auto have = static_cast<std::uint32_t>(flags);
  if (stream == 0 ? !can_read(have) : !can_write(have)) {
    return Refusal{fmt::format("standard stream {} is not open for {}", stream,
                               stream == 0 ? "reading" : "writing"),
                   "redirect it the right way"};
  }
  return std::nullopt;
}

std::unique_ptr<FileKind> make_standard_stream_kind() {
  return std::make_unique<StandardStreamKind>();
}

}  // namespace torpor::resource
