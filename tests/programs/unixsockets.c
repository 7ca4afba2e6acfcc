/* UNIX sockets with names, held for --hold-ms (100): a listening one with workers blocked in
 * accept, connections through it with content, one whose listening socket and file are gone, an
 * abstract name, a bound datagram socket, and what each shows of names, credentials and its file.
 */
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "check.h"

enum { kWorkers = 2, kPart = 3000 };

static unsigned char bytes[kPart];
static const char *server_path, *gone_path, *letters_path;

static socklen_t address_of(struct sockaddr_un* address, const char* name) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (*name != '@') {
    strncpy(address->sun_path, name, sizeof address->sun_path - 1);
    return sizeof *address;
  }
  memcpy(address->sun_path + 1, name + 1, strlen(name + 1));
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
}

static int bound(const char* name, int type) {
  struct sockaddr_un address;
  socklen_t length = address_of(&address, name);
  int fd = MUST(socket(AF_UNIX, type, 0));
  MUST(bind(fd, (struct sockaddr*)&address, length));
  return fd;
}

static int connected(const char* name) {
  struct sockaddr_un address;
  socklen_t length = address_of(&address, name);
  int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(connect(fd, (struct sockaddr*)&address, length));
  return fd;
}

static void check_name(int fd, int of_peer, const char* name) {
  struct sockaddr_un expected, seen;
  socklen_t length = sizeof seen;
  memset(&seen, 0, sizeof seen);
  address_of(&expected, name);
  if (of_peer) MUST(getpeername(fd, (struct sockaddr*)&seen, &length));
  if (!of_peer) MUST(getsockname(fd, (struct sockaddr*)&seen, &length));
  CHECK(memcmp(seen.sun_path, expected.sun_path, sizeof seen.sun_path) == 0,
        "expected the name %s, saw %s", name, seen.sun_path + (*seen.sun_path == 0));
}

static void check_maker(int fd, pid_t pid) {
  struct ucred seen;
  socklen_t length = sizeof seen;
  MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &seen, &length));
  CHECK_EQ(seen.pid, pid);
  CHECK_EQ(seen.uid, getuid());
}

static void put(int fd, unsigned seed) {
  fill(bytes, kPart, seed);
  CHECK_EQ(MUST(send(fd, bytes, kPart, MSG_NOSIGNAL)), kPart);
}

static void get(int fd, unsigned seed, const char* what) {
  CHECK_EQ(MUST(recv(fd, bytes, kPart, MSG_WAITALL)), kPart);
  check_filled(bytes, kPart, seed, what);
}

/* Tells everyone who it is and gives back what comes, one connection after the other. */
static void work(int listener) {
  pid_t self = getpid();
  for (;;) {
    int fd = MUST(accept(listener, NULL, NULL));
    check_name(fd, 0, server_path);
    check_maker(fd, getppid());
    MUST(send(fd, &self, sizeof self, MSG_NOSIGNAL));
    for (ssize_t size; (size = recv(fd, bytes, kPart, 0)) > 0;)
      MUST(send(fd, bytes, (size_t)size, MSG_NOSIGNAL));
    MUST(close(fd));
  }
}

static int ask(const pid_t* workers, unsigned round) {
  int fd = connected(server_path);
  pid_t worker = 0;
  CHECK_EQ(MUST(recv(fd, &worker, sizeof worker, MSG_WAITALL)), sizeof worker);
  CHECK(worker == workers[0] || worker == workers[1], "answered by %d", (int)worker);
  put(fd, round);
  return fd;
}

int main(int argc, char** argv) {
  long long hold_ms = (long long)option(argc, argv, "--hold-ms", 100), end = end_time(argc, argv);
  const char* directory = temporary_directory();
  char abstract[60];
  pid_t workers[kWorkers];
  struct stat file;
  server_path = in_directory(directory, "server"), gone_path = in_directory(directory, "gone");
  letters_path = in_directory(directory, "letters");
  snprintf(abstract, sizeof abstract, "@unixsockets-%d", (int)getpid());
  int listener = bound(server_path, SOCK_STREAM), letters = bound(letters_path, SOCK_DGRAM);
  int hidden = bound(abstract, SOCK_STREAM), new = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(chmod(server_path, 0604));
  MUST(listen(listener, 7)), MUST(listen(hidden, 1));
  for (int i = 0; i < kWorkers; ++i) {
    workers[i] = MUST(fork());
    if (workers[i] == 0) work(listener);
  }
  say("ready");
  for (unsigned round = 0; now_ns() < end; ++round) {
    struct sockaddr_un address;
    socklen_t length = address_of(&address, letters_path);
    int client = ask(workers, round), gone = bound(gone_path, SOCK_STREAM);
    MUST(listen(gone, 1));
    int one = connected(gone_path), other = MUST(accept(gone, NULL, NULL));
    MUST(close(gone)), MUST(unlink(gone_path));
    put(one, round + 1), put(other, round + 2);
    nap_ms(hold_ms);
    check_name(client, 1, server_path), check_name(other, 0, gone_path),
        check_name(one, 1, gone_path);
    check_maker(client, getpid()), check_maker(other, getpid());
    MUST_FAIL(stat(gone_path, &file), ENOENT);
    MUST(stat(server_path, &file));
    CHECK_EQ(file.st_mode, S_IFSOCK | 0604);
    get(client, round, "answer of a worker");
    get(other, round + 1, "name gone"), get(one, round + 2, "name gone, back");
    MUST(close(client)), MUST(close(one)), MUST(close(other));
    client = ask(workers, round + 3);
    get(client, round + 3, "answer to a new connection");
    MUST(close(client));
    client = connected(abstract), other = MUST(accept(hidden, NULL, NULL));
    check_name(other, 0, abstract), put(client, round), get(other, round, "abstract name");
    MUST(close(client)), MUST(close(other));
    fill(bytes, kPart, round);
    MUST(sendto(new, bytes, kPart, 0, (struct sockaddr*)&address, length));
    get(letters, round, "datagram");
  }
  for (int i = 0; i < kWorkers; ++i) {
    expect_alive(workers[i]);
    MUST(kill(workers[i], SIGKILL));
    CHECK_EQ(MUST(waitpid(workers[i], NULL, 0)), workers[i]);
  }
  MUST(unlink(server_path)), MUST(unlink(letters_path)), MUST(rmdir(directory));
  say("ok");
  return 0;
}
