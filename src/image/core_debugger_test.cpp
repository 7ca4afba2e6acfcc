// A core of a real process, judged by the tools that cores are made for.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <atomic>
#include <csignal>
#include <sstream>
#include <thread>

#include "image/test_support.h"

namespace torpor::image {
namespace {

using base::page_size;
using ::testing::HasSubstr;
using ::testing::Not;

// What the child tells: its registers, as they were inside of stop_in_debuggers_sight.
struct Exchange {
  ucontext_t context;
  std::array<char, 512> floating_point;
  std::atomic<bool> ready;
};

constexpr std::size_t untouched_size = 64 * page_size;

[[gnu::noinline]] void stop_in_debuggers_sight(Exchange& exchange) {
  volatile long written = 0x5eed5eed;
  static volatile char untouched[untouched_size];  // .bss: anonymous, no page exists
  const volatile char* middle = &untouched[untouched_size / 2];
  ::getcontext(&exchange.context);
  std::memcpy(exchange.floating_point.data(), exchange.context.uc_mcontext.fpregs,
              exchange.floating_point.size());
  exchange.ready = true;
  while (written != 0) ::pause();
  (void)*middle;
}

// gregset_t has the order of sigcontext, not that of ptrace.
std::string general_registers(const ucontext_t& context) {
  const auto& from = context.uc_mcontext.gregs;
  const auto reg = [&](int index) { return static_cast<unsigned long long>(from[index]); };
  user_regs_struct to{};
  to.rbx = reg(REG_RBX);
  to.rbp = reg(REG_RBP);
  to.r12 = reg(REG_R12);
  to.r13 = reg(REG_R13);
  to.r14 = reg(REG_R14);
  to.r15 = reg(REG_R15);
  to.rip = reg(REG_RIP);
  to.rsp = reg(REG_RSP);
  to.cs = 0x33;
  to.ss = 0x2b;
  return {reinterpret_cast<const char*>(&to), sizeof(to)};
}

// The header of XSAVE behind the 512 bytes of FXSAVE, and XCR0 where the kernel puts it.
std::string extended_registers(const Exchange& exchange) {
  std::string area(exchange.floating_point.data(), exchange.floating_point.size());
  area.resize(576);
  area[464] = 3;
  area[512] = 3;
  return area;
}

class Child : public base::PageSource {
 public:
  Child()
      : exchange_(static_cast<Exchange*>(::mmap(nullptr, sizeof(Exchange), PROT_READ | PROT_WRITE,
                                                MAP_SHARED | MAP_ANONYMOUS, -1, 0))),
        pid_(::fork()) {
    if (pid_ == 0) stop_in_debuggers_sight(*exchange_);
    while (!exchange_->ready) std::this_thread::yield();
    memory_.reset(::open(proc("mem").c_str(), O_RDONLY | O_CLOEXEC));
    pagemap_.reset(::open(proc("pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ~Child() override {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(exchange_, sizeof(Exchange));
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] std::string proc(const std::string& file) const {
    return fmt::format("/proc/{}/{}", pid_, file);
  }

  std::vector<base::PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                            bool file_backed) override {
    std::vector<base::PageRun> runs;
    for (std::uint64_t at = start; at < end; at += page_size) {
      std::uint64_t entry = 0;
      EXPECT_EQ(::pread(pagemap_.get(), &entry, 8, static_cast<off_t>(at / page_size * 8)), 8);
      const bool exists = (entry >> 62U) != 0;
      const bool is_files = (entry >> 61U & 1U) != 0;
      if (exists && !(file_backed && is_files)) runs.push_back({at, at + page_size});
    }
    return runs;
  }

  void read(std::uint64_t address, std::span<std::byte> into) override {
    const ssize_t n = ::pread(memory_.get(), into.data(), into.size(), static_cast<off_t>(address));
    EXPECT_EQ(n, static_cast<ssize_t>(into.size()));
  }

  [[nodiscard]] snapshot::Process model() {
    snapshot::Process process;
    process.set_pid(pid_);
    process.set_parent(::getpid());
    snapshot::Thread& thread = *process.add_threads();
    thread.set_tid(pid_);
    thread.mutable_registers()->set_general(general_registers(exchange_->context));
    thread.mutable_registers()->set_extended(extended_registers(*exchange_));
    process.mutable_attributes()->set_command_name("image_test");
    process.mutable_layout()->set_executable(executable());
    process.mutable_layout()->set_auxv(testing::content_of(proc("auxv")));
    std::istringstream maps(testing::content_of(proc("maps")));
    for (std::string line; std::getline(maps, line);) add_mapping(process, line);
    return process;
  }

  [[nodiscard]] static std::string executable() {
    return std::filesystem::read_symlink("/proc/self/exe");
  }

 private:
  void add_mapping(snapshot::Process& process, const std::string& line) {
    std::array<char, 5> mode{};
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t offset = 0;
    int name = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx %4s %lx %*s %*s %n", &start, &end, mode.data(),
                          &offset, &name),
              4);
    const std::string path = line.substr(static_cast<std::size_t>(name));
    if (path == "[vsyscall]") return;
    snapshot::Area& area = *testing::add_area(process, start, end, kind_of(path));
    area.set_protection((mode[0] == 'r' ? PROT_READ : 0U) | (mode[1] == 'w' ? PROT_WRITE : 0U) |
                        (mode[2] == 'x' ? PROT_EXEC : 0U));
    area.set_shared(mode[3] == 's');
    area.set_offset(offset);
    area.set_path(path);
    if (area.kind() != snapshot::Area::VDSO) return;
    std::vector<std::byte> content(end - start);
    read(start, content);
    process.mutable_layout()->set_vdso(start);
    process.mutable_layout()->set_vdso_content(content.data(), content.size());
  }

  static snapshot::Area::Kind kind_of(const std::string& path) {
    if (path.starts_with("/dev/zero")) return snapshot::Area::SHARED_MEMORY;
    if (path.starts_with('/')) return snapshot::Area::FILE;
    if (path == "[vdso]") return snapshot::Area::VDSO;
    if (path.starts_with("[vvar")) return snapshot::Area::VVAR;
    return snapshot::Area::ANONYMOUS;
  }

  Exchange* exchange_;
  pid_t pid_;
  base::UniqueFd memory_;
  base::UniqueFd pagemap_;
};

std::string output_of(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer{};
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), n);
  }
  ::pclose(pipe);
  return output;
}

bool is_installed(const std::string& tool) { return !output_of("command -v " + tool).empty(); }

class CoreOfAProcess : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer's own terabytes would be looked at page by page";
#endif
    Child child;
    base::Progress progress;
    snapshot::Process process = child.model();
    process.set_memory_file("core");
    process.set_extents_file("extents");
    ASSERT_GT(write_core(process, child, directory_.fd(), progress).pages, 10U);
  }
  [[nodiscard]] std::string core() const { return directory_.path() / "core"; }

  testing::TempDirectory directory_;
};

TEST_F(CoreOfAProcess, ReadelfAcceptsIt) {
  if (!is_installed("readelf")) GTEST_SKIP() << "no readelf";
  const std::string output = output_of("readelf -W -h -l -n " + core());
  EXPECT_THAT(output, HasSubstr("CORE (Core file)"));
  for (const char* note : {"NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE",
                           "NT_FPREGSET", "NT_X86_XSTATE"}) {
    EXPECT_THAT(output, HasSubstr(note));
  }
  EXPECT_THAT(output, Not(::testing::ContainsRegex("[Ww]arning|[Ee]rror|corrupt")));
}

TEST_F(CoreOfAProcess, GdbShowsStackAndVariables) {
  if (!is_installed("gdb")) GTEST_SKIP() << "no gdb";
  const std::string output = output_of(
      "gdb -batch -nx -ex 'bt -4' -ex bt -ex 'print/x written' -ex 'print untouched[100000]'"
      " -ex 'info registers mxcsr' -ex 'info sharedlibrary' " +
      Child::executable() + " " + core());
  EXPECT_THAT(output, HasSubstr("stop_in_debuggers_sight"));
  EXPECT_THAT(output, HasSubstr("in main ("));
  EXPECT_THAT(output, HasSubstr("= 0x5eed5eed"));
  EXPECT_THAT(output, HasSubstr("= 0 '\\000'"));  // no page of it exists, and it reads as zero
  EXPECT_THAT(output, ::testing::ContainsRegex("mxcsr +0x1f[0-9a-f]0 "));  // nothing unmasked
  EXPECT_THAT(output, Not(HasSubstr("Can't open file")));
  EXPECT_EQ(output.find("[New LWP"), output.rfind("[New LWP"));  // one thread, seen once
  EXPECT_THAT(output, HasSubstr("libc.so.6"));
  EXPECT_THAT(output, Not(HasSubstr("Cannot access memory")));
}

}  // namespace
}  // namespace torpor::image
