#include "image/core_notes.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/procfs.h>

#include <csignal>

#include "image/test_support.h"

namespace torpor::image {
namespace {

struct Note {
  std::string owner;
  std::uint32_t type = 0;
  std::string content;
};

std::vector<Note> parse(const std::vector<std::byte>& bytes) {
  std::vector<Note> notes;
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto take = [&rest](std::size_t size) {
    const std::string taken(rest.substr(0, size));
    rest.remove_prefix(std::min(rest.size(), (size + 3) / 4 * 4));
    return taken;
  };
  while (!rest.empty()) {
    Elf64_Nhdr header{};
    std::memcpy(&header, take(sizeof(header)).data(), sizeof(header));
    const std::string owner = take(header.n_namesz);
    notes.push_back({owner.c_str(), header.n_type, take(header.n_descsz)});
  }
  return notes;
}

template <typename T>
T as(const Note& note) {
  T value{};
  EXPECT_EQ(note.content.size(), sizeof(T));
  std::memcpy(&value, note.content.data(), std::min(sizeof(T), note.content.size()));
  return value;
}

std::vector<std::uint32_t> types_of(const std::vector<Note>& notes) {
  std::vector<std::uint32_t> types;
  for (const Note& note : notes) types.push_back(note.type);
  return types;
}

TEST(CoreNotes, ProcessThenThreadsInTheOrderOfLinux) {
  snapshot::Process process = testing::example_process();
  testing::add_area(process, 0x400000, 0x402000, snapshot::Area::FILE)->set_offset(0x3000);
  const auto notes = parse(core_notes(process, mapped_files(process)));
  EXPECT_EQ(types_of(notes),
            (std::vector<std::uint32_t>{NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE,
                                        NT_FPREGSET, NT_X86_XSTATE, NT_PRSTATUS, NT_FPREGSET,
                                        NT_X86_XSTATE}));
  EXPECT_EQ(notes[0].owner, "CORE");
  EXPECT_EQ(notes[6].owner, "LINUX");
  EXPECT_EQ(as<elf_prstatus>(notes[0]).pr_pid, 100);
  EXPECT_EQ(as<elf_prstatus>(notes[7]).pr_pid, 101);
  EXPECT_EQ(as<elf_prstatus>(notes[7]).pr_reg[16], 0x401000U + 101);  // rip
  EXPECT_STREQ(as<elf_prpsinfo>(notes[1]).pr_fname, "example");
  EXPECT_EQ(notes[5].content, process.threads(0).registers().extended().substr(0, 512));
  EXPECT_EQ(notes[6].content, process.threads(0).registers().extended());
}

TEST(CoreNotes, FilesWithTheirPlaces) {
  snapshot::Process process = testing::example_process();
  testing::add_area(process, 0x400000, 0x402000, snapshot::Area::FILE)->set_offset(0x3000);
  testing::add_area(process, 0x500000, 0x501000);
  const auto notes = parse(core_notes(process, mapped_files(process)));
  const std::string& note = notes[4].content;
  std::array<std::uint64_t, 5> numbers{};  // count, page size, start, end, offset in pages
  ASSERT_GT(note.size(), sizeof(numbers));
  std::memcpy(numbers.data(), note.data(), sizeof(numbers));
  EXPECT_EQ(numbers, (std::array<std::uint64_t, 5>{1, 4096, 0x400000, 0x402000, 3}));
  EXPECT_STREQ(note.data() + sizeof(numbers), "/usr/bin/example");
}

TEST(CoreNotes, DeadLeaderIsNoThread) {
  snapshot::Process process = testing::example_process();
  process.mutable_threads(0)->set_dead(true);
  process.mutable_threads(0)->clear_registers();
  const auto notes = parse(core_notes(process, {}));
  EXPECT_EQ(types_of(notes), (std::vector<std::uint32_t>{NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO,
                                                         NT_AUXV, NT_FPREGSET, NT_X86_XSTATE}));
  EXPECT_EQ(as<elf_prstatus>(notes[0]).pr_pid, 101);
  EXPECT_EQ(as<elf_prpsinfo>(notes[1]).pr_pid, 100);
}

TEST(CoreNotes, SignalsOfAThread) {
  snapshot::Process process = testing::example_process();
  siginfo_t info{};
  info.si_signo = SIGRTMAX;
  process.mutable_threads(0)->add_pending()->set_info(&info, sizeof(info));
  process.mutable_threads(0)->set_signal_mask(0x8000000000000001U);
  const auto status = as<elf_prstatus>(parse(core_notes(process, {}))[0]);
  EXPECT_EQ(status.pr_sigpend, std::uint64_t{1} << 63U);
  EXPECT_EQ(status.pr_sighold, 0x8000000000000001U);
}

TEST(CoreNotes, LongNamesAreCut) {
  snapshot::Process process = testing::example_process();
  process.mutable_layout()->set_executable(std::string(200, 'x'));
  const auto info = as<elf_prpsinfo>(parse(core_notes(process, {}))[1]);
  EXPECT_EQ(std::string(info.pr_psargs), std::string(79, 'x'));
}

TEST(CoreNotes, RegistersOfAWrongSizeAreABug) {
  snapshot::Process process = testing::example_process();
  process.mutable_threads(1)->mutable_registers()->set_extended("short");
  EXPECT_EQ(testing::error_of([&] { core_notes(process, {}); }), base::ErrorCode::internal);
}

}  // namespace
}  // namespace torpor::image
