#include "agent/resident/id_paths.h"

namespace torpor::agent {
namespace {

// A component of a path, or a whole text.
struct Word {
  const char* begin;
  std::size_t length;
};

bool is(const Word& word, const char* text) {
  std::size_t i = 0;
  while (i < word.length && text[i] != '\0' && text[i] == word.begin[i]) ++i;
  return i == word.length && text[i] == '\0';
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The id that a word is, as /proc reads names; 0: none.
std::uint32_t id_of(const Word& word) {
  if (word.length == 0 || word.begin[0] == '0') return 0;
  std::uint32_t id = 0;
  for (std::size_t i = 0; i < word.length; ++i) {
    if (!is_digit(word.begin[i])) return 0;
    id = id * 10 + static_cast<std::uint32_t>(word.begin[i] - '0');
    if (id >= kIdLimit) return 0;
  }
  return id;
}

// Decimal digits, from the end of a buffer of 11 bytes.
struct Digits {
  explicit Digits(std::uint32_t number) {
    do {
      text[--first] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
  }
  std::size_t length() const { return sizeof(text) - first; }
  const char* begin() const { return text + first; }
  char text[11];
  std::size_t first = sizeof(text);
};

Place above(Place at) {
  switch (at) {
    case Place::kRoot:
    case Place::kProc: return Place::kRoot;
    case Place::kProcess: return Place::kProc;
    case Place::kTasks: return Place::kProcess;
    case Place::kThread: return Place::kTasks;
    default: return at;
  }
}

Place in_proc(const Word& word) {
  if (is(word, "self") || id_of(word) != 0) return Place::kProcess;
  return is(word, "thread-self") ? Place::kThread : Place::kBelow;
}

Place step(Place at, const Word& word) {
  if (is(word, ".")) return at;
  if (is(word, "..")) return above(at);
  switch (at) {
    case Place::kRoot: return is(word, "proc") ? Place::kProc : Place::kElsewhere;
    case Place::kProc: return in_proc(word);
    case Place::kProcess: return is(word, "task") ? Place::kTasks : Place::kBelow;
    case Place::kTasks: return id_of(word) != 0 ? Place::kThread : Place::kBelow;
    case Place::kThread: return Place::kBelow;
    default: return at;
  }
}

bool has_ids(Place at) { return at == Place::kProc || at == Place::kTasks; }
bool goes_on(Place at) { return at != Place::kElsewhere && at != Place::kBelow; }

const char* skip_slashes(const char* at) {
  while (*at == '/') ++at;
  return at;
}

Word word_at(const char* at) {
  std::size_t length = 0;
  while (at[length] != '\0' && at[length] != '/') ++length;
  return {at, length};
}

class Sink {
 public:
  Sink(char* to, std::size_t room) : to_(to), room_(room) {}
  void put(const char* from, std::size_t length) {
    for (std::size_t i = 0; i < length; ++i) {
      if (length_ < room_) to_[length_] = from[i];
      ++length_;
    }
  }
  std::size_t length() const { return length_; }

 private:
  char* to_;
  std::size_t room_;
  std::size_t length_ = 0;
};

std::uint32_t translated(const IdTable& table, Way way, std::uint32_t id) {
  return static_cast<std::uint32_t>(
      translate_id(table, way, Id::kThread, static_cast<std::int32_t>(id)));
}

// Is the text that of /proc/self or /proc/thread-self: an id, or an id, "/task/" and an id?
bool is_own_link(const char* text, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    if (!is_digit(text[i]) && text[i] != '/' && (text[i] < 'a' || text[i] > 'z')) return false;
  }
  return length != 0 && is_digit(text[0]);
}

// A record of a listing: inode and offset (8 bytes each), its length (2), then in the new form the
// type (1); the name, ended by 0; in the old form the type in the record's last byte.
struct Record {
  char* at;
  Listing form;

  std::size_t name_at() const { return form == Listing::k64 ? 19 : 18; }
  std::size_t length() const {
    std::uint16_t value = 0;
    __builtin_memcpy(&value, at + 16, sizeof(value));
    return value;
  }
  Word name() const { return word_at(at + name_at()); }
  std::size_t length_with(std::size_t name_length) const {
    const std::size_t whole = name_at() + name_length + 1 + (form == Listing::kOld ? 1 : 0);
    return (whole + 7) / 8 * 8;
  }
};

void set_length(char* record, std::size_t length) {
  const auto value = static_cast<std::uint16_t>(length);
  __builtin_memcpy(record + 16, &value, sizeof(value));
}

void move_bytes(char* to, const char* from, std::size_t length) {
  if (to < from) {
    for (std::size_t i = 0; i < length; ++i) to[i] = from[i];
  } else {
    for (std::size_t i = length; i != 0; --i) to[i - 1] = from[i - 1];
  }
}

// Writes the record with another name to `to`, which is before it. The new length.
std::size_t rename_record(const Record& from, const Digits& name, char* to) {
  const char type = from.at[from.length() - 1];
  const std::size_t length = from.length_with(name.length());
  move_bytes(to, from.at, from.name_at());
  for (std::size_t i = from.name_at(); i < length; ++i) to[i] = '\0';
  __builtin_memcpy(to + from.name_at(), name.begin(), name.length());
  if (from.form == Listing::kOld) to[length - 1] = type;
  set_length(to, length);
  return length;
}

// The same, whatever it is to become; 0 if the program is not to see it.
std::size_t put_record(const IdTable& table, const Record& from, char* to) {
  const std::uint32_t id = id_of(from.name());
  const std::uint32_t seen = id == 0 ? 0 : translated(table, Way::kToProgram, id);
  if (id != 0 && seen == kOutside) return 0;
  if (id != seen) return rename_record(from, Digits(seen), to);
  const std::size_t length = from.length();
  move_bytes(to, from.at, length);
  return length;
}

}  // namespace

Place place_of(const char* path, std::size_t length) {
  if (length == 0 || path[0] != '/') return Place::kElsewhere;
  Place at = Place::kRoot;
  std::size_t i = 0;
  while (goes_on(at)) {
    while (i < length && path[i] == '/') ++i;
    if (i == length) return at;
    std::size_t end = i;
    while (end < length && path[end] != '/') ++end;
    at = step(at, {path + i, end - i});
    i = end;
  }
  return at;
}

bool may_lead_to_id(const char* path) {
  const char* at = path;
  while (*at == '/' || (*at == '.' && (at[1] == '/' || at[1] == '.'))) ++at;
  if (is_digit(*at)) return true;
  const Word first = word_at(at);
  return is(first, "proc") || is(first, "task") || is(first, "self") || is(first, "thread-self");
}

std::size_t translate_path(const IdTable& table, Way way, Place from, const char* path, char* to,
                           std::size_t room) {
  Sink sink(to, room);
  bool changed = false;
  Place at = path[0] == '/' ? Place::kRoot : from;
  const char* cursor = path;
  while (*cursor != '\0' && goes_on(at)) {
    const char* begin = skip_slashes(cursor);
    sink.put(cursor, static_cast<std::size_t>(begin - cursor));
    const Word word = word_at(begin);
    const std::uint32_t id = has_ids(at) ? id_of(word) : 0;
    const std::uint32_t other = id == 0 ? 0 : translated(table, way, id);
    const Digits digits(other);
    sink.put(id != other ? digits.begin() : begin, id != other ? digits.length() : word.length);
    changed = changed || id != other;
    at = step(at, word);
    cursor = begin + word.length;
  }
  if (!changed) return 0;
  std::size_t rest = 0;
  while (cursor[rest] != '\0') ++rest;
  sink.put(cursor, rest + 1);
  return sink.length() - 1;
}

LastStep last_step(Place from, const char* path) {
  Place at = path[0] == '/' ? Place::kRoot : from;
  LastStep last{at, false};
  for (const char* cursor = skip_slashes(path); *cursor != '\0';) {
    const Word word = word_at(cursor);
    last = {at, at == Place::kProc && (is(word, "self") || is(word, "thread-self"))};
    at = step(at, word);
    cursor = skip_slashes(cursor + word.length);
  }
  return last;
}

std::size_t translate_link(const IdTable& table, LastStep link, char* text, std::size_t length,
                           std::size_t room) {
  const bool own = link.is_self && is_own_link(text, length);
  const bool magic = link.parent == Place::kProcess || link.parent == Place::kThread ||
                     link.parent == Place::kBelow;
  constexpr std::size_t kLongest = 256;
  if ((!own && !magic) || length >= kLongest) return length;
  char ended[kLongest];
  char rewritten[kLongest];
  __builtin_memcpy(ended, text, length);
  ended[length] = '\0';
  const Place from = own ? Place::kProc : Place::kElsewhere;
  const std::size_t whole =
      translate_path(table, Way::kToProgram, from, ended, rewritten, kLongest);
  if (whole == 0 || whole >= kLongest) return length;
  const std::size_t told = whole < room ? whole : room;
  __builtin_memcpy(text, rewritten, told);
  return told;
}

// The shortest record has 24 bytes, and may become 32.
std::size_t room_for_listing(std::size_t room) {
  const std::size_t less = room / 4 * 3;
  return less < 32 ? room : less;
}

std::size_t translate_listing(const IdTable& table, Listing form, char* entries, std::size_t used,
                              std::size_t room) {
  char* from = entries + (room - used);
  move_bytes(from, entries, used);
  std::size_t put = 0;
  while (used != 0) {
    const Record record{from, form};
    const std::size_t length = record.length();
    if (length == 0 || length > used) break;
    put += put_record(table, record, entries + put);
    from += length;
    used -= length;
  }
  return put;
}

}  // namespace torpor::agent
