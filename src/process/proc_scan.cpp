#include "process/proc_scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace torpor::process {

Scanner Scanner::line() {
  const std::size_t end = std::min(text_.find('\n'), text_.size());
  const Scanner result(text_.substr(0, end), file_);
  text_.remove_prefix(std::min(end + 1, text_.size()));
  return result;
}

std::string_view Scanner::until(char delimiter) {
  const std::size_t end = text_.find(delimiter);
  if (end == std::string_view::npos) return {};
  const std::string_view result = text_.substr(0, end);
  text_.remove_prefix(end + 1);
  return result;
}

std::string_view Scanner::word() {
  skip_blanks();
  const std::string_view result =
      text_.substr(0, std::min(text_.find_first_of(" \t"), text_.size()));
  if (result.empty()) fail();
  text_.remove_prefix(result.size());
  return result;
}

bool Scanner::accept(std::string_view literal) {
  skip_blanks();
  if (!text_.starts_with(literal)) return false;
  text_.remove_prefix(literal.size());
  return true;
}

void Scanner::fail() const {
  constexpr std::size_t shown = 120;  // enough to see what the kernel wrote, short enough to read
  throw base::Error(base::ErrorCode::internal,
                    fmt::format("cannot parse {} at {:?}", file_, text_.substr(0, shown)),
                    "please report this with the output of `uname -a`");
}

}  // namespace torpor::process
