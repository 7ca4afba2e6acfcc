// One checkpoint while it is being taken. The steps are member functions, called in their order by
// run(); their names are those of docs/checkpoint-sequence.md and of the fault points.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/frozen_copy.h"
#include "checkpoint/holding.h"
#include "image/copied_pages.h"
#include "image/core_writer.h"
#include "image/image_writer.h"
#include "resource/file_kind.h"

namespace torpor::checkpoint {

class Session {
 public:
  Session(const Request& request, base::Progress& progress);

  void look();       // 1 nothing is stopped: what cannot be saved is refused here
  void stop();       // 2 every thread of every process
  void enter();      // 3 the agent into each
  void capture();    // 4 everything but memory into the model
  void copy();       // 5 what the frozen copies would not hold
  void snapshot();   // 6 the frozen copies
  void leave();      // 7 the agents go, and unless the program is to be killed
  void resume();     //   it runs again
  void write();      // 8 memory and contents
  Outcome commit();  // 9 the image becomes visible

  // It has failed. Where the program is still stopped, its waits are to end when they would have.
  void give_up();
  // What failed may have failed because a process was killed in our hands: then that is the reason.
  void throw_if_somebody_died(const base::Error& error) const;

 private:
  struct Member {
    explicit Member(process::HeldProcess& process) : held(process) {}
    process::HeldProcess& held;  // of tree_
    std::optional<FrozenCopy> frozen;
    image::CopiedPages copied;  // areas that the frozen copy lacks
    int model_index = -1;
  };

  std::vector<Finding> check_patiently();
  std::vector<Finding> check_repeatedly();
  void stop_all();
  void enter_all();
  void capture_member(Member& member);
  void capture_tree();
  void capture_clocks();
  void let_calls_age();
  image::CoreFile write_core_of(Member& member);
  void write_member(Member& member);
  void write_contents();
  void kill_program();
  snapshot::Process& model_of(const Member& member);

  const Request& request_;
  base::Progress& progress_;
  std::unique_lock<std::mutex> wait_lock_;
  resource::WaitLog own_waits_;
  resource::WaitLog& waits_;
  process::TreeScope scope_;
  std::unique_ptr<Holding> tree_;
  std::deque<Member> members_;
  snapshot::Computation model_;
  resource::CaptureState state_;
  std::unique_ptr<image::ImageWriter> writer_;
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point stopped_;
  std::chrono::steady_clock::time_point resumed_;
  std::int64_t interrupted_ns_ = 0;  // CLOCK_MONOTONIC when all were stopped
  std::uint64_t bytes_ = 0;
  std::uint32_t threads_ = 0;
};

}  // namespace torpor::checkpoint
