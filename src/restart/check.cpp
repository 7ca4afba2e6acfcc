// The dry pass of a restart: can this host bring the image back? (I5)
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <string_view>

#include "base/error.h"
#include "image/file_io.h"
#include "image/image_reader.h"
#include "image/manifest_io.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "resource/credentials.h"
#include "resource/descriptors.h"
#include "resource/file_facts.h"
#include "resource/host_facts.h"
#include "resource/refusals.h"
#include "restart/host_ids.h"
#include "restart/restart.h"

namespace torpor::restart {
namespace {

// Instruction sets that a program may have found and use; other flags of /proc/cpuinfo are the
// kernel's business.
bool is_instruction_set(std::string_view flag) {
  constexpr std::array<std::string_view, 24> kHeads{
      "sse",    "ssse",   "avx",   "amx", "bmi",   "fma", "f16c",  "aes",
      "vaes",   "pclmul", "vpcl",  "sha", "gfni",  "adx", "movbe", "popcnt",
      "rdrand", "rdseed", "lzcnt", "abm", "xsave", "mmx", "rdpid", "fsgsbase"};
  return std::any_of(kHeads.begin(), kHeads.end(),
                     [flag](std::string_view head) { return flag.substr(0, head.size()) == head; });
}

void check_processor(const snapshot::Host& was, std::vector<Finding>& findings) {
  const snapshot::Host now = resource::host_facts();
  const char* remedy = "restart on a host whose processor has at least the same features";
  if (was.machine() != now.machine() || was.page_size() != now.page_size()) {
    findings.push_back({true, "image of machine type " + was.machine(),
                        "this host is " + now.machine(), "restart on the same kind of machine"});
    return;
  }
  if ((was.xfeatures() & ~now.xfeatures()) != 0 || was.xsave_size() > now.xsave_size()) {
    findings.push_back({true, "registers of " + was.cpu_model(),
                        fmt::format("this processor saves the register sets {:#x}, the image has "
                                    "{:#x}",
                                    now.xfeatures(), was.xfeatures()),
                        remedy});
  }
  const std::set<std::string> here(now.cpu_features().begin(), now.cpu_features().end());
  std::string missing;
  for (const std::string& flag : was.cpu_features()) {
    if (is_instruction_set(flag) && !here.contains(flag)) missing += " " + flag;
  }
  if (!missing.empty()) {
    findings.push_back(
        {true, "instructions of " + was.cpu_model(), "this processor lacks" + missing, remedy});
  }
}

void check_mapped_file(const snapshot::Process& process, const snapshot::Area& area,
                       bool accept_changed, std::vector<Finding>& findings) {
  const std::string what = fmt::format("process {}, mapped file {}", process.pid(), area.path());
  struct ::stat now {};
  if (::stat(area.path().c_str(), &now) != 0) {
    const int error = errno;
    findings.push_back({true, what, error == ENOENT ? "it does not exist" : ::strerror(error),
                        "bring it back to that path"});
    return;
  }
  if (::access(area.path().c_str(), area.writable_file() ? R_OK | W_OK : R_OK) != 0) {
    findings.push_back({true, what, ::strerror(errno), "give yourself permission to open it"});
    return;
  }
  const auto difference = resource::difference(area.file(), now);
  // A shared file changes as the program writes to it; only its size must allow the mapping.
  if (difference && !area.shared()) {
    findings.push_back({!accept_changed, what, "it has changed: " + *difference,
                        "bring the old file back, or use --accept-changed-files"});
  }
}

void check_mapped_files(const snapshot::Computation& model, bool accept_changed,
                        std::vector<Finding>& findings) {
  std::set<std::pair<std::string, bool>> seen;
  for (const snapshot::Process& process : model.processes()) {
    for (const snapshot::Area& area : process.areas()) {
      if (area.kind() != snapshot::Area::FILE) continue;
      if (!seen.insert({area.path(), area.writable_file()}).second) continue;
      check_mapped_file(process, area, accept_changed, findings);
    }
  }
}

void check_user(const snapshot::Computation& model, std::vector<Finding>& findings) {
  if (::geteuid() == 0 || ::geteuid() == model.uid()) return;
  findings.push_back({true, fmt::format("image of user {}", model.uid()),
                      fmt::format("you are user {}", ::geteuid()),
                      "restart as that user, or as root"});
}

void check_identity(const snapshot::Computation& model, std::vector<Finding>& findings) {
  const char* remedy = "use --identity namespace";
  if (!may_choose_ids()) {
    findings.push_back({true, "ids on the host itself", "only root may choose them", remedy});
  } else if (const auto taken = find_taken_id(model)) {
    findings.push_back({true, fmt::format("id {}", *taken), "somebody has it on this host",
                        fmt::format("end that process, or {}", remedy)});
  }
}

std::string own_vdso() {
  for (const process::Mapping& mapping : process::read_maps(::getpid())) {
    if (mapping.path != "[vdso]") continue;
    return {reinterpret_cast<const char*>(mapping.start), mapping.size()};
  }
  return {};
}

// Programs keep addresses of its functions, and may have been stopped in one of them.
void check_vdso(const snapshot::Computation& model, std::vector<Finding>& findings) {
  const std::string here = own_vdso();
  for (const snapshot::Process& process : model.processes()) {
    const std::string& there = process.layout().vdso_content();
    if (there.empty() || there == here) continue;
    findings.push_back({true, fmt::format("process {}, vdso", process.pid()),
                        "the kernel here has another one, in which the addresses that the program "
                        "keeps mean something else",
                        "restart on a host with the same kernel and kind of processor"});
    return;
  }
}

std::uint64_t all_capabilities() {
  unsigned last = 40;
  std::ifstream("/proc/sys/kernel/cap_last_cap") >> last;
  return (std::uint64_t{2} << last) - 1;
}

// Who a husk of ours will be: in a user namespace of its own if we are not root and there is one.
resource::PresentCredentials future_credentials(const snapshot::Computation& model,
                                                Identity identity) {
  if (::geteuid() == 0 || identity == Identity::table) {
    resource::PresentCredentials present = resource::present_credentials(::getpid());
    // The program sees its own (docs/wrapped-mode.md).
    if (identity == Identity::table) present.credentials.set_no_new_privs(false);
    present.may_install_filters = identity == Identity::table;
    return present;
  }
  resource::PresentCredentials future;
  future.ids =
      resource::IdTranslation({{model.uid(), ::geteuid(), 1}}, {{model.gid(), ::getegid(), 1}});
  future.credentials = resource::credentials_from(process::read_status(::getpid()), future.ids);
  const std::uint64_t all = all_capabilities();
  future.credentials.set_cap_permitted(all);
  future.credentials.set_cap_effective(all);
  future.credentials.set_cap_inheritable(all);
  future.credentials.set_cap_ambient(all);
  future.credentials.set_cap_bounding(all);
  return future;
}

void check_processes(const snapshot::Computation& model, Identity identity,
                     std::vector<Finding>& findings) {
  const resource::PresentCredentials future = future_credentials(model, identity);
  std::vector<resource::Obstacle> obstacles;
  for (const snapshot::Process& process : model.processes()) {
    resource::check_restore(process, future, obstacles);
  }
  for (const resource::Obstacle& found : obstacles) {
    findings.push_back({found.fatal, fmt::format("process {}, {}", found.pid, found.what),
                        found.reason, found.remedy});
  }
}

void check_root(const snapshot::Computation& model, const image::Image& image) {
  for (const snapshot::Process& process : model.processes()) {
    if (process.pid() == model.root_pid()) return;
  }
  image::throw_bad_image(
      image.path() / image::manifest_name,
      fmt::format("the first process, {}, is not among its processes", model.root_pid()));
}

}  // namespace

std::vector<Finding> check(const Request& request) {
  const image::Image image = image::Image::open(request.image);
  const snapshot::Computation& model = image.manifest().computation();
  check_root(model, image);
  std::vector<Finding> findings;
  check_processor(image.manifest().host(), findings);
  check_user(model, findings);
  if (request.identity == Identity::host) check_identity(model, findings);
  check_mapped_files(model, request.accept_changed_files, findings);
  check_vdso(model, findings);
  check_processes(model, chosen_identity(request.identity), findings);
  resource::RestoreState state;
  state.model = &model;
  state.accept_changed_files = request.accept_changed_files;
  state.terminal = request.terminal;
  for (const resource::OpenFileFinding& found : resource::check_open_files(model, state)) {
    findings.push_back({true, found.what, found.reason, found.remedy});
  }
  return findings;
}

}  // namespace torpor::restart
