// How far something is, on one line of a terminal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#include "base/progress.h"

namespace torpor::cli {

// "writing  [#####.....]  52%  1.0 GiB of 2.0 GiB  480.0 MiB/s  2.1 s left", at most `width`
// columns: what has no room is left out. `total` 0: not known.
std::string render_progress(const std::string& label, std::uint64_t done, std::uint64_t total,
                            std::chrono::nanoseconds elapsed, std::size_t width);

// The line on standard error. Nothing is shown unless that is a terminal, nor before half a second.
class ProgressLine {
 public:
  explicit ProgressLine(std::string label);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(std::uint64_t done, std::uint64_t total);
  // Leaves an empty line behind.
  void clear();

 private:
  std::string label_;
  std::chrono::steady_clock::time_point began_;
  bool terminal_;
  bool shown_ = false;
};

// Shows a Progress that others work on, from a thread that gets no signals.
class ProgressWatcher {
 public:
  ProgressWatcher(std::string label, const base::Progress& progress);
  ~ProgressWatcher() { stop(); }
  ProgressWatcher(const ProgressWatcher&) = delete;
  ProgressWatcher& operator=(const ProgressWatcher&) = delete;

  // Nothing is shown from here on.
  void stop();

 private:
  ProgressLine line_;
  std::jthread thread_;
};

}  // namespace torpor::cli
