// Scanning the kernel's text: numbers, words, lines, "key: value" tables.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <string_view>
#include <system_error>

namespace torpor::process {

// A place in a text. Numbers, words and literals may have blanks and tabs before them. What does
// not fit throws base::Error with the code internal, naming the file and the text at that place.
class Scanner {
 public:
  Scanner(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  [[nodiscard]] bool empty() const { return text_.empty(); }
  [[nodiscard]] std::string_view rest() const { return text_; }

  // Takes the next line, without its newline.
  Scanner line();

  // Takes the text before `delimiter`, and the delimiter. Without one: nothing is taken or
  // returned.
  std::string_view until(char delimiter);

  // Takes what stands before the next blank, tab or the end; at least one character.
  std::string_view word();

  // Takes exactly so many characters, blanks and all; not more than there are.
  std::string_view take(std::size_t count) {
    const std::string_view result = text_.substr(0, count);
    text_.remove_prefix(count);
    return result;
  }

  // Takes `literal` if it comes next.
  bool accept(std::string_view literal);

  void expect(std::string_view literal) {
    if (!accept(literal)) fail();
  }

  template <typename Int>
  Int number(int base = 10) {
    skip_blanks();
    Int value{};
    const auto [end, error] =
        std::from_chars(text_.data(), text_.data() + text_.size(), value, base);
    if (error != std::errc()) fail();
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return value;
  }

  // Takes all numbers up to the end into a vector or the like.
  template <typename Container>
  void numbers(Container& into) {
    for (skip_blanks(); !empty(); skip_blanks()) {
      into.push_back(number<typename Container::value_type>());
    }
  }

  void skip_blanks() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\t')) {
      text_.remove_prefix(1);
    }
  }

  [[noreturn]] void fail() const;

 private:
  std::string_view text_;
  std::string_view file_;
};

// One line "key: value" that interests us and where its value goes.
template <typename Into>
struct Field {
  std::string_view key;
  void (*parse)(Scanner& value, Into& into);
};

// Hands the lines whose key is in the table to their parsers; passes over all others, so that lines
// of newer kernels do no harm. Fastest when the table has the order of the text.
template <typename Into, std::size_t N>
void parse_fields(Scanner text, const std::array<Field<Into>, N>& fields, Into& into) {
  std::size_t last = 0;
  while (!text.empty()) {
    Scanner line = text.line();
    const std::string_view key = line.until(':');
    for (std::size_t i = 0; i < N; ++i) {
      const std::size_t at = last + i < N ? last + i : last + i - N;
      if (fields[at].key != key) continue;
      fields[at].parse(line, into);
      last = at;
      break;
    }
  }
}

}  // namespace torpor::process
