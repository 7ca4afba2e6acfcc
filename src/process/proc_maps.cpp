#include "process/proc_maps.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "process/proc_scan.h"
#include "process/proc_text.h"

namespace torpor::process {

namespace {

constexpr std::array<std::pair<std::string_view, VmFlag>, 41> flag_names{{
    {"rd", VmFlag::rd}, {"wr", VmFlag::wr}, {"ex", VmFlag::ex}, {"sh", VmFlag::sh},
    {"mr", VmFlag::mr}, {"mw", VmFlag::mw}, {"me", VmFlag::me}, {"ms", VmFlag::ms},
    {"gd", VmFlag::gd}, {"pf", VmFlag::pf}, {"dw", VmFlag::dw}, {"lo", VmFlag::lo},
    {"io", VmFlag::io}, {"sr", VmFlag::sr}, {"rr", VmFlag::rr}, {"dc", VmFlag::dc},
    {"de", VmFlag::de}, {"lf", VmFlag::lf}, {"ac", VmFlag::ac}, {"nr", VmFlag::nr},
    {"ht", VmFlag::ht}, {"sf", VmFlag::sf}, {"nl", VmFlag::nl}, {"ar", VmFlag::ar},
    {"wf", VmFlag::wf}, {"dd", VmFlag::dd}, {"bt", VmFlag::bt}, {"sd", VmFlag::sd},
    {"mm", VmFlag::mm}, {"hg", VmFlag::hg}, {"nh", VmFlag::nh}, {"mg", VmFlag::mg},
    {"um", VmFlag::um}, {"uw", VmFlag::uw}, {"ui", VmFlag::ui}, {"mt", VmFlag::mt},
    {"mp", VmFlag::mp}, {"ss", VmFlag::ss}, {"sl", VmFlag::sl}, {"dp", VmFlag::dp},
    {"gu", VmFlag::gu},
}};

constexpr std::size_t slot(char first, char second) {
  return static_cast<std::size_t>((first - 'a') * 26 + (second - 'a'));
}

// Every mapping has about six flags: one indexed load each instead of a search.
constexpr auto flag_by_letters = [] {
  std::array<uint64_t, std::size_t{26} * 26> table{};
  for (const auto& [name, flag] : flag_names) {
    table[slot(name[0], name[1])] = static_cast<uint64_t>(flag);
  }
  return table;
}();

constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }

uint64_t flag_named(std::string_view name) {
  if (name.size() != 2 || !is_lower(name[0]) || !is_lower(name[1])) return 0;
  return flag_by_letters[slot(name[0], name[1])];
}

void parse_flags(Scanner& value, Mapping& into) {
  for (value.skip_blanks(); !value.empty(); value.skip_blanks()) {
    const std::string_view name = value.word();
    const uint64_t flag = flag_named(name);
    into.flags |= flag;
    if (flag == 0) into.unknown_flags.emplace_back(name);
  }
}

void parse_attribute(Scanner& line, Mapping& into) {
  const std::string_view key = line.until(':');
  if (key == "VmFlags") {
    parse_flags(line, into);
  } else if (key == "KernelPageSize") {
    into.kernel_page_size = line.number<uint64_t>() * 1024;
  } else if (key == "ProtectionKey") {
    into.protection_key = line.number<uint32_t>();
  }
}

void parse_permissions(Scanner& line, Mapping& into) {
  const std::string_view letters = line.word();
  if (letters.size() != 4) line.fail();
  into.read = letters[0] == 'r';
  into.write = letters[1] == 'w';
  into.exec = letters[2] == 'x';
  into.shared = letters[3] == 's';
}

std::string decode_newlines(std::string_view text) {
  constexpr std::string_view escape = "\\012";
  std::string result;
  for (;;) {
    const std::size_t at = text.find(escape);
    result += text.substr(0, at);
    if (at == std::string_view::npos) return result;
    result += '\n';
    text.remove_prefix(at + escape.size());
  }
}

Mapping parse_head(Scanner line) {
  const Scanner whole = line;
  Mapping result;
  result.start = line.number<uint64_t>(16);
  line.expect("-");
  result.end = line.number<uint64_t>(16);
  if (result.end <= result.start) whole.fail();
  parse_permissions(line, result);
  result.offset = line.number<uint64_t>(16);
  result.dev_major = line.number<uint32_t>(16);
  line.expect(":");
  result.dev_minor = line.number<uint32_t>(16);
  result.inode = line.number<uint64_t>();
  line.skip_blanks();
  result.path = decode_newlines(line.rest());
  return result;
}

// Only a link tells a newline from the four characters "\012" in a name. It is a link of the
// process, there is none of a thread; without it the guess stands.
void settle_newlines(pid_t pid, Mapping& mapping) {
  if (mapping.path.find('\n') == std::string::npos) return;
  const std::string name = fmt::format("map_files/{:x}-{:x}", mapping.start, mapping.end);
  std::string target;
  if (read_link_into(proc_path(pid, name), target) == 0) mapping.path = std::move(target);
}

std::vector<Mapping> read_from(pid_t pid, std::string path) {
  const ProcText text(std::move(path));
  std::vector<Mapping> result = parse_maps(text.view(), text.path());
  if (result.empty()) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("{}: no memory, process {} has ended", text.path(), pid));
  }
  for (Mapping& mapping : result) settle_newlines(pid, mapping);
  return result;
}

}  // namespace

std::vector<Mapping> parse_maps(std::string_view text, std::string_view file) {
  std::vector<Mapping> result;
  Scanner rest(text, file);
  while (!rest.empty()) {
    Scanner line = rest.line();
    const bool attribute =
        !line.empty() && line.rest().front() >= 'A' && line.rest().front() <= 'Z';
    if (!attribute) {
      result.push_back(parse_head(line));  // addresses are printed in lower case
    } else if (result.empty()) {
      line.fail();
    } else {
      parse_attribute(line, result.back());
    }
  }
  return result;
}

std::vector<Mapping> read_smaps(pid_t pid) { return read_from(pid, proc_path(pid, "smaps")); }

std::vector<Mapping> read_smaps(pid_t pid, pid_t tid) {
  return read_from(pid, proc_path(pid, tid, "smaps"));
}

std::vector<Mapping> read_maps(pid_t pid) { return read_from(pid, proc_path(pid, "maps")); }

std::vector<Mapping> read_maps(pid_t pid, pid_t tid) {
  return read_from(pid, proc_path(pid, tid, "maps"));
}

}  // namespace torpor::process
