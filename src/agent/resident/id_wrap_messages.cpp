// Calls that read and write buffers with ids somewhere in them: messages, signals read as records,
// listings, links.
#include <asm/errno.h>
#include <asm/unistd.h>

#include "agent/resident/id_wrap.h"

namespace torpor::agent {
namespace {

// struct msghdr of the kernel; struct mmsghdr is it and a length.
struct Message {
  std::uint64_t name, name_bytes, pieces, piece_count, control, control_bytes, flags;
};
struct CountedMessage {
  Message message;
  std::uint64_t bytes;
};
static_assert(sizeof(Message) == 56 && sizeof(CountedMessage) == 64);

constexpr std::uint64_t kMostControl = 384;  // all that a sender of credentials has a use for

template <typename T>
T& at(std::uint64_t address) {
  return *reinterpret_cast<T*>(address);
}

bool same_start(const char* text, const char* wanted, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    if (text[i] != wanted[i]) return false;
  }
  return true;
}

// Does the message carry credentials that need another id? Then its control part is copied and
// translated.
bool needs_translation(const IdTable& table, std::uint64_t message, char* control) {
  if (!can_read(message, sizeof(Message))) return false;
  const auto& given = at<Message>(message);
  const std::uint64_t bytes = given.control_bytes;
  if (given.control == 0 || bytes < 16 || bytes > kMostControl) return false;
  if (!can_read(given.control, bytes)) return false;
  __builtin_memcpy(control, reinterpret_cast<const void*>(given.control), bytes);
  translate_control(table, Way::kToKernel, control, bytes);
  return !same_start(control, reinterpret_cast<const char*>(given.control), bytes);
}

// Records that are spread over pieces of memory as the program likes it.
class SignalRecords {
 public:
  explicit SignalRecords(const IdTable& table) : table_(table) {}
  void pass(char* piece, std::uint64_t bytes) {
    for (std::uint64_t i = 0; i < bytes; ++i) {
      if (seen_ < kHead) head_[seen_] = piece[i], places_[seen_] = piece + i;
      if (++seen_ == kHead) translate();
      if (seen_ == kSignalRecordBytes) seen_ = 0;
    }
  }

 private:
  static constexpr std::uint32_t kHead = 16;  // the id is the last of it
  void translate() {
    translate_signal_record(table_, head_);
    for (std::uint32_t i = 0; i < kHead; ++i) *places_[i] = head_[i];
  }
  const IdTable& table_;
  std::uint32_t seen_ = 0;
  alignas(8) char head_[kHead]{};
  char* places_[kHead]{};
};

bool is_signal_descriptor(std::uint64_t descriptor) {
  constexpr char kSignals[] = "anon_inode:[signalfd]";
  char text[64];
  return link_of_descriptor(static_cast<std::int32_t>(descriptor), text, sizeof(text)) ==
             sizeof(kSignals) - 1 &&
         same_start(text, kSignals, sizeof(kSignals) - 1);
}

}  // namespace

std::int64_t IdCaller::send(const IdRequest& request, std::uint64_t message) {
  alignas(8) char control[kMostControl];
  if (!needs_translation(table_, message, control)) return make(request);
  Message copy{};
  __builtin_memcpy(&copy, reinterpret_cast<const void*>(message), sizeof(copy));
  copy.control = address_of_id(&control[0]);
  return make(__NR_sendmsg, request.args[0], address_of_id(&copy), request.args[2]);
}

// Fewer messages than wanted may be sent: those before the first with credentials, or that one
// alone.
std::int64_t IdCaller::send_many(const IdRequest& request) {
  alignas(8) char control[kMostControl];
  const auto count = static_cast<std::uint32_t>(request.args[2]);
  std::uint32_t plain = 0;
  const auto place = [&] { return request.args[1] + plain * sizeof(CountedMessage); };
  while (plain < count && !needs_translation(table_, place(), control)) ++plain;
  if (plain != 0 || count == 0) {
    IdRequest first = request;
    first.args[2] = plain;
    return make(first);
  }
  const IdRequest one{__NR_sendmsg, {request.args[0], request.args[1], request.args[3]}};
  const std::int64_t sent = send(one, request.args[1]);
  if (sent < 0) return sent;
  at<CountedMessage>(request.args[1]).bytes = static_cast<std::uint32_t>(sent);
  return 1;
}

std::int64_t IdCaller::message(const IdRequest& request) {
  switch (request.number) {
    case __NR_sendmsg: return send(request, request.args[1]);
    case __NR_sendmmsg: return send_many(request);
    default: return receive(request);
  }
}

std::int64_t IdCaller::receive(const IdRequest& request) {
  const std::int64_t result = make(request);
  if (result < 0) return result;
  const bool many = request.number == __NR_recvmmsg;
  const std::int64_t count = many ? result : 1;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto offset = static_cast<std::uint64_t>(i) * sizeof(CountedMessage);
    const auto& message = at<Message>(request.args[1] + offset);
    if (message.control == 0) continue;
    translate_control(table_, Way::kToProgram, reinterpret_cast<void*>(message.control),
                      message.control_bytes);
  }
  return result;
}

// Whole records are read, into one buffer or into one after the other.
std::int64_t IdCaller::read_signals(const IdRequest& request) {
  const std::int64_t result = make(request);
  if (result <= 0 || !is_signal_descriptor(request.args[0])) return result;
  const bool one = request.number == __NR_read;
  const std::uint64_t only[2] = {request.args[1], request.args[2]};
  const auto* pieces = one ? only : &at<const std::uint64_t>(request.args[1]);
  auto left = static_cast<std::uint64_t>(result);
  SignalRecords records(table_);
  for (std::size_t i = 0; left != 0 && (one ? i == 0 : i < request.args[2]); ++i) {
    const std::uint64_t bytes = pieces[2 * i + 1] < left ? pieces[2 * i + 1] : left;
    records.pass(reinterpret_cast<char*>(pieces[2 * i]), bytes);
    left -= bytes;
  }
  return result;
}

std::int64_t IdCaller::list(const IdRequest& request) {
  const Place place = place_of_directory(static_cast<std::int32_t>(request.args[0]));
  if (place != Place::kProc && place != Place::kTasks) return make(request);
  const auto room = static_cast<std::uint32_t>(request.args[2]);
  const Listing form = request.number == __NR_getdents ? Listing::kOld : Listing::k64;
  IdRequest less = request;
  less.args[2] = room_for_listing(room);
  for (;;) {
    const std::int64_t used = make(less);
    if (used <= 0) return used;
    const std::size_t seen =
        translate_listing(table_, form, reinterpret_cast<char*>(request.args[1]),
                          static_cast<std::size_t>(used), room);
    if (seen != 0) return static_cast<std::int64_t>(seen);  // all of them hidden is not the end
  }
}

std::int64_t IdCaller::read_link(const IdCall& row, const IdRequest& request) {
  const std::int64_t length = by_columns(row, request);
  const std::size_t at_path = request.number == __NR_readlinkat ? 1 : 0;
  if (length <= 0) return length;
  auto* buffer = reinterpret_cast<char*>(request.args[at_path + 1]);
  const bool may_be =
      (buffer[0] >= '1' && buffer[0] <= '9') || (length > 6 && same_start(buffer, "/proc/", 6));
  if (!may_be) return length;
  const auto* path = reinterpret_cast<const char*>(request.args[at_path]);
  const std::int32_t directory =
      at_path == 0 ? kWorkingDirectory : static_cast<std::int32_t>(request.args[0]);
  const Place from = path[0] == '/' ? Place::kRoot : place_of_directory(directory);
  return static_cast<std::int64_t>(translate_link(table_, last_step(from, path), buffer,
                                                  static_cast<std::size_t>(length),
                                                  request.args[at_path + 2]));
}

}  // namespace torpor::agent
