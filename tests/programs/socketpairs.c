/* UNIX socket pairs with content held for --hold-ms (100): streams in both directions, datagrams
 * and packets with their boundaries, half closed, closed on one side, with descriptors and
 * credentials in flight; options; one pair between two processes. */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "check.h"

enum { kPart = 20000, kBoundaries = 5 };
static const size_t kSizes[kBoundaries] = {1, 700, 0, 8000, 33};

struct Round {
  int stream[2], datagram[2], packet[2], shut[2], closed[2], carrier[2], in_flight[2], file;
};

static unsigned char bytes[1 << 16];
static const char* file_path;

static void put(int fd, size_t size, unsigned seed) {
  fill(bytes, size, seed);
  CHECK_EQ(MUST(send(fd, bytes, size, MSG_NOSIGNAL)), size);
}

static void get(int fd, size_t size, unsigned seed, const char* what) {
  CHECK_EQ(MUST(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)), size);
  check_filled(bytes, size, seed, what);
}

/* Sends one byte with a descriptor and the sender's credentials. */
static void send_fd(int carrier, int fd) {
  struct ucred self = {getpid(), getuid(), getgid()};
  union {
    char room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof self)];
    struct cmsghdr aligned;
  } control;
  memset(&control, 0, sizeof control);
  struct iovec part = {(void*)"f", 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  header = CMSG_NXTHDR(&message, header);
  *header = (struct cmsghdr){CMSG_LEN(sizeof self), SOL_SOCKET, SCM_CREDENTIALS};
  memcpy(CMSG_DATA(header), &self, sizeof self);
  CHECK_EQ(MUST(sendmsg(carrier, &message, MSG_NOSIGNAL)), 1);
}

static int receive_fd(int carrier) {
  char room[512] __attribute__((aligned(16))), byte = 0;
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  CHECK_EQ(MUST(recvmsg(carrier, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)), 1);
  CHECK_EQ(byte, 'f');
  int fd = -1, credentials = 0;
  for (struct cmsghdr* it = CMSG_FIRSTHDR(&message); it; it = CMSG_NXTHDR(&message, it)) {
    if (it->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(it), sizeof fd);
    if (it->cmsg_type != SCM_CREDENTIALS) continue;
    struct ucred seen;
    memcpy(&seen, CMSG_DATA(it), sizeof seen);
    CHECK(seen.pid == getpid() && seen.uid == getuid() && seen.gid == getgid(),
          "expected the credentials of %d, saw %d", (int)getpid(), (int)seen.pid);
    credentials = 1;
  }
  CHECK(fd >= 0 && credentials, "expected a descriptor and credentials in flight");
  return fd;
}

static void check_options(int fd, int size, const struct ucred* creator) {
  int seen = 0, on = 0;
  struct ucred peer;
  struct timeval timeout;
  socklen_t length = sizeof seen;
  MUST(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &seen, &length));
  CHECK_EQ(seen, size);
  MUST(getsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, &length));
  CHECK_EQ(on, 1);
  length = sizeof peer;
  MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length));
  CHECK(peer.pid == creator->pid && peer.uid == creator->uid, "expected the peer %d, saw %d",
        (int)creator->pid, (int)peer.pid);
  length = sizeof timeout;
  MUST(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length));
  CHECK(timeout.tv_sec == 77 && timeout.tv_usec == 0, "expected a timeout of 77 s");
}

static void fill_round(struct Round* it, unsigned round) {
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, it->stream));
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, it->datagram));
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, it->packet));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, it->shut));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, it->closed));
  put(it->stream[0], kPart, round), put(it->stream[0], 17, round + 1),
      put(it->stream[1], 5, round + 2);
  for (unsigned i = 0; i < kBoundaries; ++i) {
    put(it->datagram[0], kSizes[i], round + i);
    if (kSizes[i])
      put(it->packet[1], kSizes[i], round + i); /* an empty packet would read as the end */
  }
  put(it->shut[0], 300, round), put(it->shut[1], 400, round);
  MUST(shutdown(it->shut[0], SHUT_WR));
  put(it->closed[0], 500, round);
  MUST(close(it->closed[0]));
  /* The writing end of a pipe that exists in flight alone, and a file whose offset is shared. */
  MUST(pipe(it->in_flight));
  send_fd(it->carrier[0], it->in_flight[1]), send_fd(it->carrier[0], it->file);
  MUST(close(it->in_flight[1]));
  MUST(lseek(it->file, round, SEEK_SET));
}

static void check_stream(struct Round* it, unsigned round) {
  unsigned char* all = bytes;
  CHECK_EQ(MUST(recv(it->stream[1], all, sizeof bytes, 0)), kPart + 17);
  check_filled(all, kPart, round, "stream"),
      check_filled(all + kPart, 17, round + 1, "stream, second");
  get(it->stream[0], 5, round + 2, "stream, back");
  MUST_FAIL(recv(it->stream[0], bytes, 1, MSG_DONTWAIT), EAGAIN);
}

static void check_boundaries(struct Round* it, unsigned round) {
  for (unsigned i = 0; i < kBoundaries; ++i) {
    get(it->datagram[1], kSizes[i], round + i, "datagram");
    if (kSizes[i]) get(it->packet[0], kSizes[i], round + i, "packet");
  }
  MUST_FAIL(recv(it->datagram[1], bytes, 1, MSG_DONTWAIT), EAGAIN);
  MUST_FAIL(recv(it->packet[0], bytes, 1, 0), EAGAIN);
}

static void check_ends(struct Round* it, unsigned round) {
  get(it->shut[1], 300, round, "shut down"), get(it->shut[0], 400, round, "shut down, back");
  CHECK_EQ(MUST(recv(it->shut[1], bytes, 1, 0)), 0);
  MUST_FAIL(send(it->shut[0], bytes, 1, MSG_NOSIGNAL), EPIPE);
  put(it->shut[1], 9, round), get(it->shut[0], 9, round, "shut down, other way");
  get(it->closed[1], 500, round, "closed");
  CHECK_EQ(MUST(recv(it->closed[1], bytes, 1, 0)), 0);
  MUST_FAIL(send(it->closed[1], bytes, 1, MSG_NOSIGNAL), EPIPE);
}

static void check_in_flight(struct Round* it, unsigned round) {
  struct pollfd pipe_end = {.fd = it->in_flight[0], .events = POLLIN};
  CHECK_EQ(MUST(poll(&pipe_end, 1, 0)), 0); /* no POLLHUP: a writer is in flight */
  int writer = receive_fd(it->carrier[1]), file = receive_fd(it->carrier[1]);
  write_all(writer, "y", 1);
  MUST(close(writer));
  read_all(it->in_flight[0], bytes, 1);
  CHECK_EQ(MUST(read(it->in_flight[0], bytes, 1)), 0);
  CHECK_EQ(MUST(lseek(file, 0, SEEK_CUR)), round);
  MUST(lseek(file, 5, SEEK_CUR));
  CHECK_EQ(MUST(lseek(it->file, 0, SEEK_CUR)), round + 5);
  MUST(close(file)), MUST(close(it->in_flight[0]));
}

static void close_round(struct Round* it) {
  int* pairs[] = {it->stream, it->datagram, it->packet, it->shut};
  for (int i = 0; i < 4; ++i) MUST(close(pairs[i][0])), MUST(close(pairs[i][1]));
  MUST(close(it->closed[1]));
}

/* Answers every packet with the next one, until the other side closes. */
static void answer(int fd) {
  for (unsigned i = 0;; ++i) {
    ssize_t size = MUST(recv(fd, bytes, sizeof bytes, 0));
    if (size == 0) _exit(0);
    check_filled(bytes, (size_t)size, i, "packet to the child");
    put(fd, (size_t)size, i + 1);
  }
}

int main(int argc, char** argv) {
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 100), end = end_time(argc, argv);
  struct Round it;
  const struct ucred creator = {getpid(), getuid(), getgid()};
  const struct timeval timeout = {77, 0};
  int with_child[2], size = 50000, on = 1;
  const char* directory = temporary_directory();
  file_path = in_directory(directory, "file");
  it.file = MUST(open(file_path, O_RDWR | O_CREAT, 0600));
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, with_child));
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, it.carrier));
  MUST(setsockopt(it.carrier[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
  MUST(setsockopt(it.carrier[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  MUST(setsockopt(it.carrier[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
  pid_t child = MUST(fork());
  if (child == 0) {
    MUST(close(with_child[0]));
    answer(with_child[1]);
  }
  MUST(close(with_child[1]));
  say("ready");
  for (unsigned round = 0; now_ns() < end; ++round) {
    fill_round(&it, round);
    put(with_child[0], 3000, round);
    nap_ms(hold_ms);
    check_options(it.carrier[1], 2 * size, &creator);
    check_stream(&it, round), check_boundaries(&it, round);
    check_ends(&it, round), check_in_flight(&it, round);
    CHECK_EQ(MUST(recv(with_child[0], bytes, sizeof bytes, 0)), 3000);
    check_filled(bytes, 3000, round + 1, "packet from the child");
    close_round(&it);
  }
  MUST(close(with_child[0]));
  reap(child, 0);
  MUST(unlink(file_path)), MUST(rmdir(directory));
  say("ok");
  return 0;
}
