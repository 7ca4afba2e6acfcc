// The servant of ids_rows: another process, with a session of its own, that does what it is asked.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "ids_rows.h"

namespace rows {
namespace {

struct Request {
  long by, wish, argument;
};

constexpr size_t kMostWords = 8;
int terminal = -1;

Told take_terminal(const Caller& by, long number) {
  if (number < 0) {
    // The hang-up that its leader sends to the foreground is ignored.
    MUST(ioctl(terminal, TIOCNOTTY, 0));
    return {close(terminal)};
  }
  const std::string path = "/dev/pts/" + std::to_string(number);
  terminal = MUST(open(path.c_str(), O_RDWR));
  int group = 0, session = 0, own = (int)call(by, SYS_getpid);
  Told told{call(by, SYS_ioctl, terminal, TIOCSPGRP, &own),
            call(by, SYS_ioctl, terminal, TIOCGPGRP, &group),
            call(by, SYS_ioctl, terminal, TIOCGSID, &session)};
  told.push_back(group), told.push_back(session);
  return told;
}

void send_credentials(const Caller& by, int link, bool many) {
  long words[kMostWords] = {1};
  alignas(8) char control[CMSG_SPACE(sizeof(ucred))] = {};
  iovec piece = {words, sizeof words};
  mmsghdr message = {};
  message.msg_hdr = {nullptr, 0, &piece, 1, control, sizeof control, 0};
  auto* header = (cmsghdr*)control;
  header->cmsg_len = CMSG_LEN(sizeof(ucred));
  header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_CREDENTIALS;
  const ucred own = {(pid_t)call(by, SYS_getpid), getuid(), getgid()};
  std::memcpy(CMSG_DATA(header), &own, sizeof own);
  const long sent = many ? call(by, SYS_sendmmsg, link, &message, 1, 0)
                         : call(by, SYS_sendmsg, link, &message.msg_hdr, 0);
  CHECK(sent > 0, "expected to send credentials, saw %ld", sent);
}

Told done(const Caller& by, const Request& request) {
  switch (request.wish) {
    case kParent: return {call(by, SYS_getppid)};
    case kGroup: return {call(by, SYS_getpgrp)};
    case kSignal: return {call(by, SYS_kill, call(by, SYS_getppid), SIGUSR2)};
    default: return take_terminal(by, request.argument);
  }
}

void tell(int link, Told told) {
  told.resize(kMostWords);
  write_all(link, told.data(), kMostWords * sizeof(long));
}

}  // namespace

void serve(int link, const std::vector<Caller>& callers) {
  MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
  MUST(setsid());
  CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR, "expected to ignore a signal");
  struct flock lock = {};
  lock.l_type = F_WRLCK, lock.l_len = 1;
  MUST(fcntl(people.locked, F_SETLK, &lock));
  tell(link, {});
  for (Request request;;) {
    read_all(link, &request, sizeof request);
    const Caller& by = callers[(size_t)request.by];
    if (request.wish == kMessage || request.wish == kMessages) {
      send_credentials(by, link, request.wish == kMessages);
    } else {
      tell(link, done(by, request));
    }
  }
}

void ask(const Caller& by, Wish wish, long argument) {
  const Request request = {by.index, wish, argument};
  write_all(people.link, &request, sizeof request);
}

Told answer() {
  Told told(kMostWords);
  read_all(people.link, told.data(), kMostWords * sizeof(long));
  return told;
}

}  // namespace rows
