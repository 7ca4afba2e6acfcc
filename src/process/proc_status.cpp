#include "process/proc_status.h"

#include <type_traits>
#include <utility>

#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

// The kernel escapes newline and backslash in the name of this file (not in `stat`).
std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      result += text[i];
    } else {
      ++i;
      result += text[i] == 'n' ? '\n' : text[i];
    }
  }
  return result;
}

void parse_name(Scanner& value, Status& into) {
  value.until('\t');  // the name itself may begin with blanks
  into.name = unescape(value.rest());
}

void parse_cpus(Scanner& value, Status& into) {
  value.skip_blanks();
  into.cpus_allowed_list = value.rest();
}

void parse_sigq(Scanner& value, Status& into) {
  into.sigq_used = value.number<uint64_t>();
  value.expect("/");
  into.sigq_limit = value.number<uint64_t>();
}

template <auto Member, int Base = 10>
void number(Scanner& value, Status& into) {
  using Int = std::remove_reference_t<decltype(into.*Member)>;
  into.*Member = value.number<Int>(Base);
}

template <auto Member>
void four(Scanner& value, Status& into) {
  for (auto& id : into.*Member) id = value.number<std::remove_reference_t<decltype(id)>>();
}

template <auto Member>
void list(Scanner& value, Status& into) {
  value.numbers(into.*Member);
}

constexpr std::array<Field<Status>, 34> fields{{
    {"Name", parse_name},
    {"Umask", number<&Status::umask, 8>},
    {"State", [](Scanner& value, Status& into) { into.state = value.word().front(); }},
    {"Tgid", number<&Status::tgid>},
    {"Pid", number<&Status::pid>},
    {"PPid", number<&Status::ppid>},
    {"TracerPid", number<&Status::tracer_pid>},
    {"Uid", four<&Status::uids>},
    {"Gid", four<&Status::gids>},
    {"Groups", list<&Status::groups>},
    {"NStgid", list<&Status::nstgid>},
    {"NSpid", list<&Status::nspid>},
    {"NSpgid", list<&Status::nspgid>},
    {"NSsid", list<&Status::nssid>},
    {"VmRSS", number<&Status::vm_rss>},
    {"RssAnon", number<&Status::rss_anon>},
    {"RssShmem", number<&Status::rss_shmem>},
    {"VmSwap", number<&Status::vm_swap>},
    {"Threads", number<&Status::threads>},
    {"SigQ", parse_sigq},
    {"SigPnd", number<&Status::sig_pnd, 16>},
    {"ShdPnd", number<&Status::shd_pnd, 16>},
    {"SigBlk", number<&Status::sig_blk, 16>},
    {"SigIgn", number<&Status::sig_ign, 16>},
    {"SigCgt", number<&Status::sig_cgt, 16>},
    {"CapInh", number<&Status::cap_inh, 16>},
    {"CapPrm", number<&Status::cap_prm, 16>},
    {"CapEff", number<&Status::cap_eff, 16>},
    {"CapBnd", number<&Status::cap_bnd, 16>},
    {"CapAmb", number<&Status::cap_amb, 16>},
    {"NoNewPrivs", [](Scanner& v, Status& into) { into.no_new_privs = v.number<int>() != 0; }},
    {"Seccomp", number<&Status::seccomp>},
    {"Seccomp_filters", number<&Status::seccomp_filters>},
    {"Cpus_allowed_list", parse_cpus},
}};

Status read_from(std::string path) {
  const ProcText text(std::move(path));
  return parse_status(text.view(), text.path());
}

}  // namespace

Status parse_status(std::string_view text, std::string_view file) {
  Status result;
  const Scanner whole(text, file);
  parse_fields(whole, fields, result);
  if (result.state == 0) whole.fail();  // every kernel prints it, for every process
  return result;
}

Status read_status(pid_t pid) { return read_from(proc_path(pid, "status")); }

Status read_status(pid_t pid, pid_t tid) { return read_from(proc_path(pid, tid, "status")); }

}  // namespace torpor::process
