#include "resource/host_facts.h"

#include <cpuid.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace torpor::resource {
namespace {

std::string cpuinfo_value(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos && line.compare(0, key.size(), key) == 0) {
      return line.substr(colon + 2);
    }
  }
  return {};
}

// CPUID leaf 0xD: the register sets that the processor and the system save (Intel SDM vol. 1, 13).
void add_xsave(snapshot::Host& host) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(0xd, 0, &a, &b, &c, &d) == 0) return;
  host.set_xfeatures((static_cast<std::uint64_t>(d) << 32) | a);
  host.set_xsave_size(b);
}

}  // namespace

snapshot::Host host_facts() {
  snapshot::Host host;
  utsname name{};
  ::uname(&name);
  host.set_kernel_release(name.release);
  host.set_machine(name.machine);
  host.set_hostname(name.nodename);
  host.set_cpu_model(cpuinfo_value("model name"));
  std::istringstream flags(cpuinfo_value("flags"));
  for (std::string flag; flags >> flag;) host.add_cpu_features(flag);
  add_xsave(host);
  host.set_page_size(static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE)));
  return host;
}

}  // namespace torpor::resource
