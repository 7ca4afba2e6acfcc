#include "image/core_elf.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "image/area_rules.h"

namespace torpor::image {

using base::page_size;

namespace {

class SegmentBuilder {
 public:
  SegmentBuilder(const snapshot::Area& area, std::vector<Segment>& segments)
      : area_(area), segments_(segments), zeros_between_(!is_file_backed(area)) {}

  void add(const PageExtent& extent) {
    if (continues(extent)) {
      segments_.back().file_size += extent.size();
      segments_.back().memory_size = segments_.back().file_size;
      return;
    }
    fill_with_zeros(extent.vaddr);
    begin(extent.vaddr, extent.file_offset, extent.size(), extent.size());
  }

  void finish() { fill_with_zeros(area_.end()); }

 private:
  [[nodiscard]] bool continues(const PageExtent& extent) const {
    if (!begun_) return false;
    const Segment& last = segments_.back();
    return last.file_size != 0 && last.vaddr + last.file_size == extent.vaddr &&
           last.offset + last.file_size == extent.file_offset;
  }

  // A debugger takes what a segment has in memory but not in the file for zeros.
  void fill_with_zeros(std::uint64_t until) {
    if (!zeros_between_) return;
    if (!begun_ && until > area_.start()) begin(area_.start(), 0, 0, 0);
    if (begun_) segments_.back().memory_size = until - segments_.back().vaddr;
  }

  void begin(std::uint64_t vaddr, std::uint64_t offset, std::uint64_t in_file,
             std::uint64_t in_memory) {
    segments_.push_back({vaddr, offset, in_file, in_memory, area_.protection()});
    begun_ = true;
  }

  const snapshot::Area& area_;
  std::vector<Segment>& segments_;
  bool zeros_between_;
  bool begun_ = false;
};

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

void pad(std::vector<std::byte>& bytes, std::size_t alignment) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

std::uint32_t flags_of(std::uint32_t protection) {
  std::uint32_t flags = 0;
  if ((protection & PROT_READ) != 0) flags |= PF_R;
  if ((protection & PROT_WRITE) != 0) flags |= PF_W;
  if ((protection & PROT_EXEC) != 0) flags |= PF_X;
  return flags;
}

Elf64_Phdr load_header(const Segment& segment) {
  Elf64_Phdr header{};
  header.p_type = PT_LOAD;
  header.p_flags = flags_of(segment.protection);
  header.p_offset = segment.offset;
  header.p_vaddr = segment.vaddr;
  header.p_filesz = segment.file_size;
  header.p_memsz = segment.memory_size;
  header.p_align = page_size;
  return header;
}

Elf64_Phdr note_header(std::uint64_t offset, std::uint64_t size) {
  Elf64_Phdr header{};
  header.p_type = PT_NOTE;
  header.p_offset = offset;
  header.p_filesz = size;
  header.p_align = 4;
  return header;
}

Elf64_Ehdr elf_header(std::uint64_t headers_at, std::size_t header_count) {
  Elf64_Ehdr elf{};
  std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.e_ident[EI_VERSION] = EV_CURRENT;
  elf.e_type = ET_CORE;
  elf.e_machine = EM_X86_64;
  elf.e_version = EV_CURRENT;
  elf.e_phoff = headers_at;
  elf.e_ehsize = sizeof(Elf64_Ehdr);
  elf.e_phentsize = sizeof(Elf64_Phdr);
  elf.e_phnum = static_cast<Elf64_Half>(std::min<std::size_t>(header_count, PN_XNUM));
  return elf;
}

// elf(5), e_phnum: from PN_XNUM on, the number stands in sh_info of section header 0.
void append_section_header(std::vector<std::byte>& bytes, std::uint64_t at, std::size_t headers,
                           Elf64_Ehdr& elf) {
  elf.e_shoff = at + bytes.size();
  elf.e_shnum = 1;
  elf.e_shentsize = sizeof(Elf64_Shdr);
  Elf64_Shdr section{};
  section.sh_info = static_cast<Elf64_Word>(headers);
  section.sh_size = 1;  // the number of section headers
  append(bytes, section);
}

// The program's calls may have been stopped in the vdso: with its content a debugger can unwind.
void append_vdso(std::vector<std::byte>& bytes, const snapshot::MemoryLayout& layout,
                 std::vector<Segment>& segments, std::uint64_t at) {
  const std::string& content = layout.vdso_content();
  if (layout.vdso() == 0 || content.empty()) return;
  segments.push_back(
      {layout.vdso(), at + bytes.size(), content.size(), content.size(), PROT_READ | PROT_EXEC});
  const auto* begin = reinterpret_cast<const std::byte*>(content.data());
  bytes.insert(bytes.end(), begin, begin + content.size());
}

}  // namespace

std::vector<Segment> segments_of(const snapshot::Process& process,
                                 std::span<const PageExtent> extents) {
  std::vector<Segment> segments;
  auto extent = extents.begin();
  for (const snapshot::Area& area : process.areas()) {
    if (!belongs_into_core(area)) continue;
    SegmentBuilder builder(area, segments);
    for (; extent != extents.end() && extent->vaddr < area.end(); ++extent) builder.add(*extent);
    builder.finish();
  }
  return segments;
}

Trailer make_trailer(const snapshot::Process& process, std::vector<Segment> segments,
                     std::span<const std::byte> notes, std::uint64_t at) {
  Trailer trailer;
  std::vector<std::byte>& bytes = trailer.bytes;
  append_vdso(bytes, process.layout(), segments, at);
  std::ranges::sort(segments, {}, &Segment::vaddr);
  pad(bytes, page_size);
  const std::uint64_t notes_at = at + bytes.size();
  // A segment without bytes has to point somewhere. Not to the start of the file: gdb looks for an
  // ELF file at the place that each segment points to, would find the core itself, and each thread
  // twice.
  for (Segment& segment : segments) {
    if (segment.file_size == 0) segment.offset = notes_at;
  }
  bytes.insert(bytes.end(), notes.begin(), notes.end());
  pad(bytes, 8);

  const std::size_t headers = segments.size() + 1;
  Elf64_Ehdr elf = elf_header(at + bytes.size(), headers);
  append(bytes, note_header(notes_at, notes.size()));
  for (const Segment& segment : segments) append(bytes, load_header(segment));
  if (headers >= PN_XNUM) append_section_header(bytes, at, headers, elf);
  std::memcpy(trailer.first_page.data(), &elf, sizeof(elf));
  return trailer;
}

}  // namespace torpor::image
