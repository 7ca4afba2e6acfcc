/* Pseudo terminals of the program's own: one that is a session's terminal, with a job in the
 * foreground and a line half typed; one with bytes in flight both ways; one in packet mode; one
 * that was hung up, and one that nobody has opened yet. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "check.h"

enum { kOutput = 6000, kInput = 700, kPacket = 300 };

static const struct winsize kSize = {.ws_row = 41, .ws_col = 133, .ws_xpixel = 7, .ws_ypixel = 9};

struct Pty {
  int master, slave; /* -1: not open */
  struct termios modes;
};

static volatile sig_atomic_t signals;

static void count(int signal) { signals = signals * 100 + signal; }

static void open_slave(struct Pty* it) {
  int unlocked = 0;
  MUST(ioctl(it->master, TIOCSPTLCK, &unlocked));
  it->slave = MUST(ioctl(it->master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
  MUST(tcgetattr(it->slave, &it->modes));
}

static struct Pty open_pty(int flags) {
  struct Pty it = {.master = MUST(posix_openpt(O_RDWR | O_NOCTTY | flags)), .slave = -1};
  MUST(ioctl(it.master, TIOCSWINSZ, &kSize));
  return it;
}

static void set_modes(struct Pty* it) {
  MUST(tcsetattr(it->slave, TCSANOW, &it->modes));
  MUST(tcgetattr(it->slave, &it->modes));
}

static void check_setting(int fd, const struct termios* expected) {
  struct winsize size;
  struct termios modes;
  MUST(ioctl(fd, TIOCGWINSZ, &size));
  CHECK(memcmp(&size, &kSize, sizeof size) == 0, "expected 41 x 133, saw %d x %d", size.ws_row,
        size.ws_col);
  MUST(tcgetattr(fd, &modes));
  CHECK_EQ(modes.c_iflag, expected->c_iflag);
  CHECK_EQ(modes.c_oflag, expected->c_oflag);
  CHECK_EQ(modes.c_cflag, expected->c_cflag);
  CHECK_EQ(modes.c_lflag, expected->c_lflag);
  CHECK(memcmp(modes.c_cc, expected->c_cc, sizeof modes.c_cc) == 0, "control characters differ");
}

static void expect_text(int fd, const char* text) {
  char seen[256];
  size_t size = 0, wanted = strlen(text);
  while (size < wanted) size += (size_t)MUST(read(fd, seen + size, wanted - size));
  CHECK(memcmp(seen, text, wanted) == 0, "expected \"%s\", saw \"%.*s\"", text, (int)size, seen);
}

static short events(int fd) {
  struct pollfd state = {.fd = fd, .events = POLLIN | POLLPRI};
  MUST(poll(&state, 1, 0));
  return state.revents;
}

/* The job: answers every line that is typed. */
static void answer(const struct Pty* pty) {
  char line[64];
  for (;;) {
    ssize_t size = MUST(read(0, line, sizeof line));
    check_setting(0, &pty->modes);
    CHECK_EQ(MUST(tcgetpgrp(0)), getpgrp());
    CHECK_EQ(MUST(tcgetsid(1)), getppid());
    CHECK_EQ(signals, 0);
    if (size == 0) _exit(0); /* Ctrl-D */
    CHECK(size == 6 && memcmp(line, "hello\n", 6) == 0, "expected a line, saw %zd bytes", size);
    write_all(1, "HELLO\n", 6);
  }
}

/* The session's leader, with its terminal also by name. */
static void lead(const struct Pty* pty) {
  const int caught[] = {SIGHUP, SIGWINCH, SIGTTOU, SIGTTIN, SIGCONT};
  struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
  MUST(setsid());
  MUST(ioctl(pty->slave, TIOCSCTTY, 0));
  for (int fd = 0; fd < 2; ++fd) MUST(dup2(pty->slave, fd));
  MUST(close(pty->master)), MUST(close(pty->slave));
  int tty = MUST(open("/dev/tty", O_RDWR | O_NONBLOCK));
  for (size_t i = 0; i < sizeof caught / sizeof *caught; ++i)
    MUST(sigaction(caught[i], &action, NULL));
  pid_t job = MUST(fork());
  if (job == 0) {
    MUST(setpgid(0, 0));
    sigset_t stop;
    sigemptyset(&stop), sigaddset(&stop, SIGTTOU);
    MUST(sigprocmask(SIG_BLOCK, &stop, NULL));
    MUST(tcsetpgrp(tty, getpid()));
    MUST(sigprocmask(SIG_UNBLOCK, &stop, NULL));
    write_all(1, "ready\n", 6);
    answer(pty);
  }
  reap(job, 0);
  CHECK_EQ(MUST(tcgetsid(tty)), getpid());
  CHECK_EQ(MUST(fcntl(tty, F_GETFL)) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
  CHECK_EQ(signals, 0);
  _exit(0);
}

static pid_t start_session(struct Pty* it) {
  *it = open_pty(0);
  open_slave(it);
  it->modes.c_cc[VERASE] = '#';
  it->modes.c_iflag |= IXANY;
  set_modes(it);
  pid_t leader = MUST(fork());
  if (leader == 0) lead(it);
  MUST(close(it->slave));
  expect_text(it->master, "ready\r\n");
  return leader;
}

static void type_half(const struct Pty* it) { write_all(it->master, "helk", 4); }

/* With what erases the last byte, which the kernel must still know. */
static void type_rest(const struct Pty* it) {
  expect_text(it->master, "helk"); /* the echo */
  write_all(it->master, "#lo\n", 4);
  expect_text(it->master, "\b \blo\r\nHELLO\r\n");
}

static struct Pty open_raw(void) {
  struct Pty it = open_pty(O_NONBLOCK);
  open_slave(&it);
  cfmakeraw(&it.modes);
  it.modes.c_oflag |= OPOST | ONLCR;
  it.modes.c_cc[VMIN] = 3;
  set_modes(&it);
  return it;
}

static void fill_raw(const struct Pty* it, unsigned round) {
  unsigned char bytes[kOutput];
  fill(bytes, kOutput, round);
  for (size_t i = 0; i < kOutput; ++i) bytes[i] |= 0x80; /* no line ends */
  write_all(it->slave, bytes, kOutput);
  fill(bytes, kInput, round + 1);
  write_all(it->master, bytes, kInput);
}

static void drain_raw(const struct Pty* it, unsigned round) {
  unsigned char bytes[kOutput];
  size_t size = 0;
  while (size < kOutput) size += (size_t)MUST(read(it->master, bytes + size, kOutput - size));
  for (size_t i = 0; i < kOutput; ++i) CHECK_EQ(bytes[i], pattern_byte(round, i) | 0x80);
  MUST_FAIL(read(it->master, bytes, 1), EAGAIN);
  for (size = 0; size < kInput;) size += (size_t)MUST(read(it->slave, bytes + size, kInput - size));
  check_filled(bytes, kInput, round + 1, "input of a terminal");
  CHECK_EQ(events(it->slave), 0);
  check_setting(it->slave, &it->modes);
  check_setting(it->master, &it->modes);
}

static struct Pty open_packet(void) {
  int on = 1;
  struct Pty it = open_pty(0);
  open_slave(&it);
  it.modes.c_oflag = 0;
  set_modes(&it);
  MUST(ioctl(it.master, TIOCPKT, &on));
  return it;
}

static void fill_packet(const struct Pty* it, unsigned round) {
  unsigned char bytes[kPacket];
  fill(bytes, kPacket, round);
  write_all(it->slave, bytes, kPacket);
}

static void drain_packet(const struct Pty* it, unsigned round) {
  unsigned char bytes[kPacket + 1];
  size_t size = 0;
  while (size < kPacket) {
    unsigned char part[kPacket + 1];
    ssize_t more = MUST(read(it->master, part, sizeof part));
    CHECK_EQ(part[0], TIOCPKT_DATA);
    memcpy(bytes + size, part + 1, (size_t)more - 1);
    size += (size_t)more - 1;
  }
  check_filled(bytes, kPacket, round, "output in packet mode");
  check_setting(it->slave, &it->modes);
}

static void check_hung_up(unsigned round) {
  static struct Pty it = {.master = -1};
  char byte;
  if (round > 0) {
    CHECK_EQ(events(it.master), POLLIN | POLLHUP);
    expect_text(it.master, "last words");
    MUST_FAIL(read(it.master, &byte, 1), EIO);
    MUST(close(it.master));
  }
  it = open_pty(0);
  open_slave(&it);
  write_all(it.slave, "last words", 10);
  MUST(close(it.slave));
}

static void check_unopened(const struct Pty* it) {
  int locked = 0;
  MUST(ioctl(it->master, TIOCGPTLCK, &locked));
  CHECK_EQ(locked, 1);
  CHECK_EQ(events(it->master), 0);
}

int main(int argc, char** argv) {
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 100), end = end_time(argc, argv);
  struct Pty own, raw = open_raw(), packet = open_packet(), unopened = open_pty(O_NONBLOCK);
  pid_t leader = start_session(&own);
  int again = MUST(dup(raw.master));
  say("ready");
  for (unsigned round = 0; now_ns() < end; ++round) {
    check_hung_up(round);
    fill_raw(&raw, round), fill_packet(&packet, round), type_half(&own);
    nap_ms(hold_ms);
    expect_alive(leader);
    drain_raw(&raw, round), drain_packet(&packet, round), type_rest(&own);
    check_unopened(&unopened);
    CHECK_EQ(MUST(fcntl(again, F_GETFL)), MUST(fcntl(raw.master, F_GETFL)));
    check_setting(own.master, &own.modes);
  }
  write_all(own.master, "\4", 1);
  reap(leader, 0);
  say("ok");
  return 0;
}
