// A terminal at which nobody sits: for a program that had one, brought back where there is none.
// What it shows goes to our standard output, and our standard input is what is typed.
#pragma once

#include <cstddef>
#include <string_view>
#include <thread>

#include "base/unique_fd.h"
#include "supervisor/pty.h"

namespace torpor::supervisor {

// Works in threads of its own: our streams are shared with others, who must not find them
// non-blocking, and may be held up by their readers for as long as those like.
class HeadlessRelay {
 public:
  // `typed`: whether our standard input is handed on, and its end as the end-of-file key. Else the
  // program waits for keys that never come, as at a terminal that was left alone.
  HeadlessRelay(Pty pty, bool typed);
  // Hands on what the program has written so far, then ends.
  ~HeadlessRelay();
  HeadlessRelay(const HeadlessRelay&) = delete;
  HeadlessRelay& operator=(const HeadlessRelay&) = delete;

 private:
  void carry_input() const;
  void carry_output() const;
  bool wait_for(int fd) const;
  void type(std::string_view keys) const;
  void type_end_of_file() const;
  bool pass_output() const;

  Pty pty_;
  base::UniqueFd stop_;  // eventfd
  std::jthread output_;
  std::jthread input_;
};

}  // namespace torpor::supervisor
