#include "process/same_description.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>

#include <optional>

#include "base/error.h"
#include "base/unique_fd.h"

namespace torpor::process {
namespace {

std::optional<bool> same_by_query(int a, int b) {
  constexpr int kDuplicateQuery = 1027;
  const int answer = ::fcntl(a, kDuplicateQuery, b);
  if (answer < 0) return std::nullopt;
  return answer == 1;
}

bool add(int epoll_fd, int number) {
  epoll_event event{};
  return ::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, number, &event) == 0;
}

std::optional<bool> same_by_epoll(int a, int b) {
  const base::UniqueFd set(::epoll_create1(EPOLL_CLOEXEC));
  const base::UniqueFd number(::fcntl(a, F_DUPFD_CLOEXEC, 0));
  if (!set || !number) base::throw_system("cannot compare descriptors");
  if (!add(set.get(), number.get())) return std::nullopt;
  if (::dup3(b, number.get(), O_CLOEXEC) < 0) base::throw_system("cannot compare descriptors");
  return !add(set.get(), number.get()) && errno == EEXIST;
}

// The moment between set and set back is harmless: nobody sends the signal of a file that is not
// O_ASYNC, and such a file epoll takes.
std::optional<bool> same_by_signal(int a, int b) {
  const int before = ::fcntl(a, F_GETSIG);
  const int other = ::fcntl(b, F_GETSIG);
  if (before < 0 || other < 0 || before != other) return false;
  const int probe = before == SIGIO ? 0 : SIGIO;
  if (::fcntl(a, F_SETSIG, probe) != 0) return std::nullopt;
  const bool same = ::fcntl(b, F_GETSIG) == probe;
  ::fcntl(a, F_SETSIG, before);
  return same;
}

std::optional<bool> ask(int a, int b, SameBy way) {
  switch (way) {
    case SameBy::query: return same_by_query(a, b);
    case SameBy::epoll: return same_by_epoll(a, b);
    case SameBy::signal: return same_by_signal(a, b);
    case SameBy::automatic: break;
  }
  if (const auto same = same_by_query(a, b)) return same;
  if (const auto same = same_by_epoll(a, b)) return same;
  return same_by_signal(a, b);
}

}  // namespace

bool is_same_description(int a, int b, SameBy way) {
  if (const auto same = ask(a, b, way)) return *same;
  throw base::Error(base::ErrorCode::host_lacks,
                    "cannot find out which descriptors are shared: this host forbids kcmp(2), and "
                    "its kernel is older than 6.10",
                    "allow kcmp in the container's seccomp profile (CAP_SYS_PTRACE does it)");
}

}  // namespace torpor::process
