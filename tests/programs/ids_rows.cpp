// For every row of the pid table (src/agent/resident/id_calls.h) what the call tells of processes
// and threads that were there from the beginning: always the same, by whatever way it is made.
// What it tells of somebody differs from what it tells of nobody: rows where this host does not let
// the two be told apart are named in a line "skipped: ...". --ids FILE: writes the ids to it.
// --after FILE: waits for it with nothing open, and then goes through all once more.
#include "ids_rows.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <map>

extern "C" {
long vfork_by_instruction(long* seen);
extern const char vfork_end[];
}
// Uses no stack: the child's would be the parent's.
asm(R"(
  .text
vfork_by_instruction:
  mov %rdi, %r8
  mov $58, %eax
  syscall
  test %rax, %rax
  jnz 1f
  mov $39, %eax
  syscall
  mov %rax, (%r8)
  xor %edi, %edi
  mov $60, %eax
  syscall
1:
  ret
vfork_end:
  .section .note.GNU-stack,"",@progbits
  .text
)");

namespace rows {
namespace {

long vfork_by_library(long* seen) {
  const pid_t child = vfork();
  if (child == 0) {
    *seen = getpid();
    _exit(0);
  }
  return child;
}

std::vector<Caller> all_callers() {
  auto* code = reinterpret_cast<const char*>(&vfork_by_instruction);
  void* copy = generated_code(code, (size_t)(vfork_end - code));
  return {{"library", 0, by_library, vfork_by_library},
          {"instruction", 1, by_instruction, vfork_by_instruction},
          {"generated code", 2, generated(), reinterpret_cast<long (*)(long*)>(copy)}};
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const IdCall& row : torpor::agent::id_calls) {
    if (!torpor::agent::is_translated(row)) continue;
    const bool for_everybody = is(row, "acct");  // it would be done
    if (for_everybody && geteuid() == 0) continue;
    const size_t before = cases.size();
    add_special_cases(row, cases);
    if (cases.size() == before) add_column_cases(row, cases);
    CHECK(cases.size() > before, "expected a case for %s", row.name);
  }
  return cases;
}

std::string words(const Told& told) {
  std::string text;
  for (const long one : told) text += " " + std::to_string(one);
  return text;
}

// What everybody is compared with.
std::map<std::string, Told> first_told(const std::vector<Case>& cases, const Caller& by) {
  std::map<std::string, Told> told;
  for (const Case& one : cases) {
    told[one.name] = one.run(by);
    if (one.of_nobody && one.of_nobody(by) == told[one.name]) {
      fprintf(stderr, "skipped: %s (here it tells the same of nobody:%s)\n", one.name.c_str(),
              words(told[one.name]).c_str());
    }
  }
  return told;
}

void compare(const std::vector<Case>& cases, const std::map<std::string, Told>& first,
             const Caller& by) {
  for (const Case& one : cases) {
    const Told seen = one.run(by);
    const Told& expected = first.at(one.name);
    CHECK(seen == expected, "%s by %s: expected%s, saw%s", one.name.c_str(), by.name,
          words(expected).c_str(), words(seen).c_str());
  }
}

void* wait_for_ever(void* tid) {
  __atomic_store_n((long*)tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
  for (;;) pause();
}

void start_thread() {
  pthread_t thread;
  ZERO(pthread_create(&thread, nullptr, wait_for_ever, &people.thread));
  while (__atomic_load_n(&people.thread, __ATOMIC_ACQUIRE) == 0) nap_ms(1);
}

void start_child() {
  people.child = MUST(fork());
  if (people.child == 0) {
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    for (;;) pause();
  }
  MUST(setpgid((pid_t)people.child, 0));
}

void lock_file() {
  char path[] = "/tmp/program-lock-XXXXXX";
  people.locked = MUST(mkstemp(path));
  MUST(unlink(path));
}

void start_servant(const std::vector<Caller>& callers) {
  int ends[2];
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
  people.servant = MUST(fork());
  if (people.servant == 0) serve(ends[1], callers);
  MUST(close(ends[1]));
  people.link = ends[0];
  answer();
}

void end_people() {
  for (const long id : {people.child, people.servant}) {
    MUST(kill((pid_t)id, SIGKILL));
    MUST(waitpid((pid_t)id, nullptr, 0));
  }
}

void write_ids(const char* path) {
  FILE* file = path ? fopen(path, "w") : nullptr;
  if (!file) return;
  fprintf(file, "%ld %ld %ld %ld\n", people.me, people.thread, people.child, people.servant);
  fclose(file);
}

int run(int argc, char** argv) {
  sigset_t set;
  sigemptyset(&set), sigaddset(&set, SIGUSR2);
  MUST(sigprocmask(SIG_BLOCK, &set, nullptr));
  const std::vector<Caller> callers = all_callers();
  people.me = getpid();
  lock_file(), start_child(), start_servant(callers), start_thread();
  const std::vector<Case> cases = all_cases();
  const auto first = first_told(cases, callers[0]);
  write_ids(text_option(argc, argv, "--ids", nullptr));
  const long long end = end_time(argc, argv);
  say("ready");
  const char* wanted = text_option(argc, argv, "--after", nullptr);
  while (wanted && access(wanted, F_OK) != 0) nap_ms(10);
  do
    for (const Caller& by : callers) compare(cases, first, by);
  while (time_left(end));
  end_people();
  say("ok");
  return 0;
}

}  // namespace
}  // namespace rows

int main(int argc, char** argv) { return rows::run(argc, argv); }
