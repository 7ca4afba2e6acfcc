#include "process/proc_fdinfo.h"

#include <fmt/format.h>

#include <charconv>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "process/proc_file.h"
#include "process/proc_scan.h"
#include "process/proc_stat.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

template <typename T>
T& made(std::optional<T>& value) {
  return value ? *value : value.emplace();
}

template <auto Member, int Base = 10>
void number(Scanner& value, FdInfo& into) {
  using Int = std::remove_reference_t<decltype(into.*Member)>;
  into.*Member = value.number<Int>(Base);
}

template <auto Member>
void present(Scanner&, FdInfo& into) {
  into.*Member = true;
}

// "(seconds, nanoseconds)"
void parse_time(Scanner& value, timespec& into) {
  value.expect("(");
  into.tv_sec = value.number<time_t>();
  value.expect(",");
  into.tv_nsec = value.number<long>();
  value.expect(")");
}

void parse_eventfd_count(Scanner& value, FdInfo& into) {
  made(into.eventfd).count = value.number<uint64_t>(16);
}

void parse_eventfd_id(Scanner& value, FdInfo& into) { made(into.eventfd).id = value.number<int>(); }

void parse_eventfd_semaphore(Scanner& value, FdInfo& into) {
  made(into.eventfd).semaphore = value.number<int>() != 0;
}

void parse_timer_clock(Scanner& value, FdInfo& into) {
  made(into.timerfd).clockid = value.number<int>();
}

void parse_timer_ticks(Scanner& value, FdInfo& into) {
  made(into.timerfd).ticks = value.number<uint64_t>();
}

void parse_timer_flags(Scanner& value, FdInfo& into) {
  made(into.timerfd).settime_flags = value.number<uint32_t>(8);
}

void parse_timer_value(Scanner& value, FdInfo& into) {
  parse_time(value, made(into.timerfd).it_value);
}

void parse_timer_interval(Scanner& value, FdInfo& into) {
  parse_time(value, made(into.timerfd).it_interval);
}

void parse_sigmask(Scanner& value, FdInfo& into) {
  into.signalfd_mask = value.number<uint64_t>(16);
}

void parse_epoll_item(Scanner& value, FdInfo& into) {
  EpollItem item;
  item.tfd = value.number<int>();
  value.expect("events:");
  item.events = value.number<uint32_t>(16);
  value.expect("data:");
  item.data = value.number<uint64_t>(16);
  if (value.accept("pos:")) {
    item.pos = value.number<int64_t>();
    value.expect("ino:");
    item.ino = value.number<uint64_t>(16);
    value.expect("sdev:");
    item.sdev = value.number<uint32_t>(16);
  }
  into.epoll.push_back(item);
}

std::vector<uint8_t> parse_bytes(Scanner& value, std::size_t count) {
  const std::string_view digits = value.word();
  if (digits.size() != 2 * count) value.fail();
  std::vector<uint8_t> bytes(count);
  for (std::size_t i = 0; i < count; ++i) {
    const char* const at = digits.data() + 2 * i;
    if (std::from_chars(at, at + 2, bytes[i], 16).ptr != at + 2) value.fail();
  }
  return bytes;
}

void parse_inotify_watch(Scanner& value, FdInfo& into) {
  InotifyWatch watch;
  watch.wd = value.number<int>(16);
  value.expect("ino:");
  watch.ino = value.number<uint64_t>(16);
  value.expect("sdev:");
  watch.sdev = value.number<uint32_t>(16);
  value.expect("mask:");
  watch.mask = value.number<uint32_t>(16);
  value.expect("ignored_mask:");
  value.number<uint32_t>(16);
  if (value.accept("fhandle-bytes:")) {
    const auto count = value.number<std::size_t>(16);
    value.expect("fhandle-type:");
    watch.handle_type = value.number<uint32_t>(16);
    value.expect("f_handle:");
    watch.handle = parse_bytes(value, count);
  }
  into.inotify.push_back(std::move(watch));
}

void parse_pidfd(Scanner& value, FdInfo& into) { made(into.pidfd).pid = value.number<pid_t>(); }

void parse_pidfd_inner(Scanner& value, FdInfo& into) { value.numbers(made(into.pidfd).nspid); }

void parse_tty_index(Scanner& value, FdInfo& into) { into.tty_index = value.number<int>(); }

void parse_scm_fds(Scanner& value, FdInfo& into) { into.scm_fds = value.number<uint32_t>(); }

void parse_lock_line(Scanner& value, FdInfo& into) {
  value.skip_blanks();
  into.locks.emplace_back(value.rest());
}

constexpr std::array<Field<FdInfo>, 23> fields{{
    {"pos", number<&FdInfo::pos>},
    {"flags", number<&FdInfo::flags, 8>},
    {"mnt_id", number<&FdInfo::mnt_id>},
    {"ino", number<&FdInfo::ino>},
    {"lock", parse_lock_line},
    {"eventfd-count", parse_eventfd_count},
    {"eventfd-id", parse_eventfd_id},
    {"eventfd-semaphore", parse_eventfd_semaphore},
    {"clockid", parse_timer_clock},
    {"ticks", parse_timer_ticks},
    {"settime flags", parse_timer_flags},
    {"it_value", parse_timer_value},
    {"it_interval", parse_timer_interval},
    {"sigmask", parse_sigmask},
    {"tfd", parse_epoll_item},
    {"inotify wd", parse_inotify_watch},
    {"Pid", parse_pidfd},
    {"NSpid", parse_pidfd_inner},
    {"tty-index", parse_tty_index},
    {"scm_fds", parse_scm_fds},
    {"fanotify flags", present<&FdInfo::fanotify>},
    {"SqMask", present<&FdInfo::io_uring>},
    {"API", present<&FdInfo::userfaultfd>},
}};

FdInfo read_from(std::string path) {
  const ProcText text(std::move(path));
  return parse_fdinfo(text.view(), text.path());
}

std::string fdinfo_name(int fd) { return fmt::format("fdinfo/{}", fd); }

std::string fd_name(int fd) { return fmt::format("fd/{}", fd); }

}  // namespace

FdInfo parse_fdinfo(std::string_view text, std::string_view file) {
  const Scanner whole(text, file);
  if (!text.starts_with("pos:"))
    whole.fail();  // every kernel prints it first, for every descriptor
  FdInfo result;
  parse_fields(whole, fields, result);
  return result;
}

FdInfo read_fdinfo(pid_t pid, int fd) { return read_from(proc_path(pid, fdinfo_name(fd))); }

FdInfo read_fdinfo(pid_t pid, pid_t tid, int fd) {
  return read_from(proc_path(pid, tid, fdinfo_name(fd)));
}

std::vector<int> list_fds(pid_t pid) { return list_fds(pid, pid); }

std::vector<int> list_fds(pid_t pid, pid_t tid) try {
  return list_numbers(proc_path(pid, tid, "fd"));
} catch (const base::Error& error) {
  // The directory of a zombie is root's.
  if (error.code() != base::ErrorCode::permission || read_stat(pid, tid).state != 'Z') throw;
  return {};
}

std::string fd_target(pid_t pid, int fd) { return read_link(proc_path(pid, fd_name(fd))); }

std::string fd_target(pid_t pid, pid_t tid, int fd) {
  return read_link(proc_path(pid, tid, fd_name(fd)));
}

}  // namespace torpor::process
