#include "image/core_notes.h"

#include <elf.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/page_source.h"

namespace torpor::image {

using snapshot::Area;
using snapshot::Process;
using snapshot::Thread;

namespace {

using Bytes = std::vector<std::byte>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <typename T>
std::span<const std::byte> bytes_of_value(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <typename T>
void append(Bytes& bytes, const T& value) {
  const auto raw = bytes_of_value(value);
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

void append_padded(Bytes& bytes, std::span<const std::byte> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
  bytes.resize((bytes.size() + 3) / 4 * 4);
}

// `owner` is "CORE" for what every System V has, "LINUX" for what Linux added.
void append_note(Bytes& notes, std::string_view owner, std::uint32_t type,
                 std::span<const std::byte> content) {
  Elf64_Nhdr header{};
  header.n_namesz = static_cast<Elf64_Word>(owner.size() + 1);
  header.n_descsz = static_cast<Elf64_Word>(content.size());
  header.n_type = type;
  append(notes, header);
  append_padded(notes, bytes_of(std::string(owner) + '\0'));
  append_padded(notes, content);
}

// Fills a field of fixed length; what is too long is cut, and ends with a NUL.
template <std::size_t Size>
void copy_text(char (&field)[Size], std::string_view text) {
  const std::size_t length = std::min(text.size(), Size - 1);
  std::memcpy(field, text.data(), length);
  field[length] = '\0';
}

std::uint64_t pending_mask(const Thread& thread) {
  std::uint64_t mask = 0;
  for (const snapshot::Signal& signal : thread.pending()) {
    std::int32_t number = 0;  // si_signo comes first in siginfo_t
    if (signal.info().size() < sizeof(number)) continue;
    std::memcpy(&number, signal.info().data(), sizeof(number));
    if (number >= 1 && number <= 64) mask |= std::uint64_t{1} << (number - 1);
  }
  return mask;
}

void check_registers(const Process& process, const Thread& thread) {
  const snapshot::Registers& registers = thread.registers();
  if (registers.general().size() == sizeof(elf_gregset_t) &&
      registers.extended().size() >= sizeof(user_fpregs_struct)) {
    return;
  }
  throw base::Error(base::ErrorCode::internal,
                    fmt::format("thread {} of process {} has {} bytes of general and {} bytes of "
                                "extended registers",
                                thread.tid(), process.pid(), registers.general().size(),
                                registers.extended().size()));
}

elf_prstatus status_of(const Process& process, const Thread& thread) {
  elf_prstatus status{};
  status.pr_pid = thread.tid();
  status.pr_ppid = process.parent();
  status.pr_pgrp = process.group();
  status.pr_sid = process.session();
  status.pr_sigpend = pending_mask(thread);
  status.pr_sighold = thread.signal_mask();
  status.pr_fpvalid = 1;
  std::memcpy(&status.pr_reg, thread.registers().general().data(), sizeof(status.pr_reg));
  return status;
}

elf_prpsinfo info_of(const Process& process, const Thread& thread) {
  elf_prpsinfo info{};
  const bool stopped = process.state() == Process::STOPPED;
  info.pr_state = stopped ? 3 : 0;  // the index in "RSDTZW", fs/binfmt_elf.c
  info.pr_sname = stopped ? 'T' : 'R';
  info.pr_nice = static_cast<char>(thread.scheduling().nice());
  info.pr_uid = process.credentials().uid();
  info.pr_gid = process.credentials().gid();
  info.pr_pid = process.pid();
  info.pr_ppid = process.parent();
  info.pr_pgrp = process.group();
  info.pr_sid = process.session();
  copy_text(info.pr_fname, process.attributes().command_name());
  copy_text(info.pr_psargs, process.layout().executable());
  return info;
}

// count, page size, then start, end, offset in pages of each, then the paths.
Bytes file_note(const std::vector<MappedFile>& files) {
  Bytes note;
  append(note, std::uint64_t{files.size()});
  append(note, base::page_size);
  for (const MappedFile& file : files) {
    append(note, file.start);
    append(note, file.end);
    append(note, file.offset / base::page_size);
  }
  for (const MappedFile& file : files) {
    const auto path = bytes_of(file.path);
    note.insert(note.end(), path.begin(), path.end());
    note.push_back(std::byte{0});
  }
  return note;
}

void append_process_notes(Bytes& notes, const Process& process, const Thread& first,
                          const std::vector<MappedFile>& files) {
  append_note(notes, "CORE", NT_PRPSINFO, bytes_of_value(info_of(process, first)));
  append_note(notes, "CORE", NT_SIGINFO, bytes_of_value(siginfo_t{}));  // no signal killed it
  append_note(notes, "CORE", NT_AUXV, bytes_of(process.layout().auxv()));
  if (!files.empty()) append_note(notes, "CORE", NT_FILE, file_note(files));
}

void append_floating_point(Bytes& notes, const Thread& thread) {
  const std::string_view extended = thread.registers().extended();
  append_note(notes, "CORE", NT_FPREGSET, bytes_of(extended.substr(0, sizeof(user_fpregs_struct))));
  append_note(notes, "LINUX", NT_X86_XSTATE, bytes_of(extended));
}

}  // namespace

std::vector<MappedFile> mapped_files(const Process& process) {
  std::vector<MappedFile> files;
  for (const Area& area : process.areas()) {
    const bool is_file = area.kind() == Area::FILE || area.kind() == Area::SAVED_FILE;
    if (!is_file || area.path().empty()) continue;
    files.push_back({area.start(), area.end(), area.offset(), area.path()});
  }
  return files;
}

std::vector<std::byte> core_notes(const Process& process, const std::vector<MappedFile>& files) {
  Bytes notes;
  bool first = true;
  for (const Thread& thread : process.threads()) {
    if (thread.dead()) continue;
    check_registers(process, thread);
    append_note(notes, "CORE", NT_PRSTATUS, bytes_of_value(status_of(process, thread)));
    if (first) append_process_notes(notes, process, thread, files);
    append_floating_point(notes, thread);
    first = false;
  }
  return notes;
}

}  // namespace torpor::image
