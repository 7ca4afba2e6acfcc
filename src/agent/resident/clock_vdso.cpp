#include "agent/resident/clock_vdso.h"

#include <linux/elf.h>

namespace torpor::agent {
namespace {

struct Bytes {
  const std::uint8_t* start;
  std::uint64_t count;

  bool has(std::uint64_t at, std::uint64_t bytes) const {
    return at <= count && bytes <= count - at;
  }
  template <typename T>
  bool read(std::uint64_t at, T& value) const {
    if (!has(at, sizeof(T))) return false;
    __builtin_memcpy(&value, start + at, sizeof(T));
    return true;
  }
};

struct Symbols {
  std::uint64_t symbols = 0;
  std::uint64_t texts = 0;
  std::uint64_t count = 0;
};

bool find_symbols(const Bytes& vdso, Symbols& found) {
  Elf64_Ehdr header;
  if (!vdso.read(0, header)) return false;
  Elf64_Phdr segment{};
  for (unsigned i = 0; i < header.e_phnum && segment.p_type != PT_DYNAMIC; ++i) {
    if (!vdso.read(header.e_phoff + i * sizeof(segment), segment)) return false;
  }
  if (segment.p_type != PT_DYNAMIC) return false;
  Elf64_Dyn entry{};
  for (std::uint64_t at = segment.p_offset; vdso.read(at, entry) && entry.d_tag != DT_NULL;
       at += sizeof(entry)) {
    if (entry.d_tag == DT_SYMTAB) found.symbols = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRTAB) found.texts = entry.d_un.d_ptr;
  }
  // The linker puts the names right behind the symbols.
  if (found.symbols == 0 || found.texts <= found.symbols) return false;
  found.count = (found.texts - found.symbols) / sizeof(Elf64_Sym);
  return true;
}

bool is_named(const Bytes& vdso, std::uint64_t at, const char* name) {
  for (; vdso.has(at, 1); ++at, ++name) {
    if (static_cast<char>(vdso.start[at]) != *name) return false;
    if (*name == '\0') return true;
  }
  return false;
}

bool find_function(const Bytes& vdso, Elf64_Sym& found) {
  Symbols symbols;
  if (!find_symbols(vdso, symbols)) return false;
  for (std::uint64_t i = 0; i < symbols.count; ++i) {
    if (!vdso.read(symbols.symbols + i * sizeof(found), found)) return false;
    if (is_named(vdso, symbols.texts + found.st_name, "__vdso_clock_gettime")) {
      return found.st_size >= kHeadBytes && vdso.has(found.st_value, found.st_size);
    }
  }
  return false;
}

template <typename T>
T read_at(const std::uint8_t* from) {
  T value{};
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

// What the beginnings of compiled functions are made of; everything else is not understood.
enum class Kind : std::uint8_t { kUnknown, kSame, kBranch, kAddress };

struct Instruction {
  Kind kind = Kind::kUnknown;
  std::uint8_t bytes = 0;
  std::uint8_t condition = 0;  // of a branch
  std::uint8_t target_register = 0;
  std::int32_t distance = 0;  // kBranch and kAddress: from its end
};

Instruction same(unsigned bytes) {
  return {Kind::kSame, static_cast<std::uint8_t>(bytes), 0, 0, 0};
}

// Of operands in registers only, or in memory next to the stack pointer or the frame pointer.
unsigned operand_bytes(const std::uint8_t* modrm) {
  const unsigned mode = *modrm >> 6;
  const unsigned base = *modrm & 7U;
  if (mode == 3) return 1;
  if (mode == 1) return base == 4 ? 3 : 2;
  return 0;
}

Instruction with_operand(unsigned before, const std::uint8_t* modrm, unsigned behind) {
  const unsigned operand = operand_bytes(modrm);
  return operand == 0 ? Instruction{} : same(before + operand + behind);
}

Instruction address_of_data(unsigned before, const std::uint8_t* modrm, bool high) {
  if ((*modrm & 0xc7U) != 0x05) return with_operand(before, modrm, 0);
  Instruction found{Kind::kAddress, static_cast<std::uint8_t>(before + 5), 0, 0,
                    read_at<std::int32_t>(modrm + 1)};
  found.target_register = static_cast<std::uint8_t>((*modrm >> 3 & 7U) | (high ? 8U : 0U));
  return found;
}

Instruction decode(const std::uint8_t* at) {
  constexpr std::uint32_t kEndBranch = 0xfa1e0ff3;
  if (read_at<std::uint32_t>(at) == kEndBranch) return same(4);
  const bool prefixed = (*at & 0xf0U) == 0x40;
  const std::uint8_t prefix = prefixed ? *at : 0;
  const bool wide = (prefix & 8U) != 0;
  const unsigned skip = prefixed ? 1 : 0;
  const std::uint8_t code = at[skip];
  const std::uint8_t* operand = at + skip + 1;
  const unsigned before = skip + 1;
  if (code >= 0x50 && code <= 0x57) return same(before);                   // push
  if (code >= 0xb8 && code <= 0xbf) return same(before + (wide ? 8 : 4));  // mov $..., register
  switch (code) {
    case 0x29:
    case 0x31:
    case 0x33:
    case 0x39:
    case 0x85:
    case 0x89:
    case 0x8b:
    case 0x63: return with_operand(before, operand, 0);
    case 0x83: return with_operand(before, operand, 1);
    case 0x81: return with_operand(before, operand, 4);
    case 0x8d: return wide ? address_of_data(before, operand, (prefix & 4U) != 0) : Instruction{};
    default: break;
  }
  if (prefixed) return {};
  if ((code & 0xf0U) == 0x70) {
    return {Kind::kBranch, 2, static_cast<std::uint8_t>(code & 0x0fU), 0,
            static_cast<std::int8_t>(*operand)};
  }
  if (code == 0x0f && (*operand & 0xf0U) == 0x80) {
    return {Kind::kBranch, 6, static_cast<std::uint8_t>(*operand & 0x0fU), 0,
            read_at<std::int32_t>(operand + 1)};
  }
  return {};
}

// Whether anything may jump between the instructions that are overwritten. Whatever could be a
// relative jump is taken for one; short ones in the function only: compilers make none from one
// function into another, and bytes that look so are not rare.
bool leads_inside(const Bytes& vdso, std::uint64_t entry, std::uint64_t bytes) {
  const auto inside = [entry](std::uint64_t target) {
    return target > entry && target < entry + kPatchBytes;
  };
  for (std::uint64_t at = 0; at + 6 <= vdso.count; ++at) {
    const std::uint8_t code = vdso.start[at];
    const bool is_long =
        code == 0xe8 || code == 0xe9 || (code == 0x0f && (vdso.start[at + 1] & 0xf0U) == 0x80);
    const std::uint64_t operand = at + (code == 0x0f ? 2 : 1);
    const auto far =
        static_cast<std::uint64_t>(std::int64_t{read_at<std::int32_t>(vdso.start + operand)});
    if (is_long && inside(operand + 4 + far)) return true;
    const bool is_short = at - entry < bytes && ((code & 0xf0U) == 0x70 || code == 0xeb);
    const auto near =
        static_cast<std::uint64_t>(std::int64_t{static_cast<std::int8_t>(vdso.start[at + 1])});
    if (is_short && inside(at + 2 + near)) return true;
  }
  return false;
}

class Writer {
 public:
  explicit Writer(ClockStub& stub) : stub_(stub) { stub_.count = 0; }

  void step(std::uint64_t from) {
    stub_.steps[stub_.count++] = {static_cast<std::uint8_t>(from), static_cast<std::uint8_t>(at_)};
  }
  void put(std::uint8_t byte) { stub_.code[at_++] = byte; }
  void put_all(const void* bytes, std::size_t count) {
    __builtin_memcpy(stub_.code + at_, bytes, count);
    at_ += count;
  }
  // Without a register: jmp *(%rip), and the address behind it.
  void jump(std::uint64_t address) {
    constexpr std::uint8_t kJump[] = {0xff, 0x25, 0, 0, 0, 0};
    put_all(kJump, sizeof(kJump));
    put_all(&address, sizeof(address));
  }
  void branch(std::uint8_t condition, std::uint64_t address) {
    constexpr std::uint8_t kJumpBytes = 14;
    put(static_cast<std::uint8_t>(0x70U | (condition ^ 1U)));  // the opposite
    put(kJumpBytes);
    jump(address);
  }
  void load_address(std::uint8_t into, std::uint64_t address) {
    put(into >= 8 ? 0x49 : 0x48);
    put(static_cast<std::uint8_t>(0xb8U | (into & 7U)));
    put_all(&address, sizeof(address));
  }

 private:
  ClockStub& stub_;
  std::size_t at_ = 0;
};

bool copy_head(const std::uint8_t* function, ClockStub& stub) {
  Writer writer(stub);
  std::uint64_t at = 0;
  while (at < kPatchBytes) {
    const Instruction instruction = decode(function + at);
    writer.step(at);
    const std::uint64_t end = at + instruction.bytes;
    const std::uint64_t target =
        stub.entry + end + static_cast<std::uint64_t>(std::int64_t{instruction.distance});
    switch (instruction.kind) {
      case Kind::kSame: writer.put_all(function + at, instruction.bytes); break;
      case Kind::kBranch: writer.branch(instruction.condition, target); break;
      case Kind::kAddress: writer.load_address(instruction.target_register, target); break;
      case Kind::kUnknown: return false;
    }
    at = end;
  }
  writer.step(at);
  writer.jump(stub.entry + at);
  return true;
}

}  // namespace

std::uint64_t vdso_bytes(const std::uint8_t* vdso) {
  constexpr std::uint64_t kPageBytes = 4096;
  Elf64_Ehdr header;
  __builtin_memcpy(&header, vdso, sizeof(header));
  std::uint64_t end = header.e_shoff + std::uint64_t{header.e_shnum} * header.e_shentsize;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    __builtin_memcpy(&segment, vdso + header.e_phoff + i * sizeof(segment), sizeof(segment));
    const std::uint64_t end_of_segment = segment.p_vaddr + segment.p_memsz;
    if (segment.p_type == PT_LOAD && end_of_segment > end) end = end_of_segment;
  }
  return (end + kPageBytes - 1) / kPageBytes * kPageBytes;
}

bool plan_clock_stub(const std::uint8_t* vdso, std::uint64_t bytes, std::uint64_t address,
                     ClockStub& stub) {
  Elf64_Sym function;
  const Bytes whole{vdso, bytes};
  if (!find_function(whole, function)) return false;
  stub.entry = address + function.st_value;
  __builtin_memcpy(stub.head, vdso + function.st_value, kHeadBytes);
  // An instruction may be longer than what it begins in.
  constexpr std::uint64_t kLongest = 15;
  const bool readable = whole.has(function.st_value, kPatchBytes + kLongest);
  const bool understood = readable && !leads_inside(whole, function.st_value, function.st_size) &&
                          copy_head(vdso + function.st_value, stub);
  if (!understood) stub.count = 0;
  return true;
}

void put_jump(std::uint8_t* to, std::uint64_t address) {
  to[0] = 0x48, to[1] = 0xb8;
  __builtin_memcpy(to + 2, &address, sizeof(address));
  to[10] = 0xff, to[11] = 0xe0;
}

std::uint64_t place_in_function(const ClockStub& stub, std::uint64_t offset) {
  std::uint64_t from = 0;
  for (unsigned i = 0; i < stub.count; ++i) {
    if (stub.steps[i].to <= offset) from = stub.steps[i].from;
  }
  return stub.entry + from;
}

std::uint64_t place_in_stub(const ClockStub& stub, std::uint64_t base, std::uint64_t place) {
  for (unsigned i = 0; i < stub.count; ++i) {
    if (stub.entry + stub.steps[i].from == place) return base + stub.steps[i].to;
  }
  return 0;
}

}  // namespace torpor::agent
