// The second half of a checkpoint: the image is written and becomes visible.
#include <signal.h>

#include "base/error.h"
#include "base/fault_point.h"
#include "checkpoint/session.h"
#include "image/core_writer.h"
#include "image/raw_writer.h"
#include "process/page_source.h"
#include "process/whole_range_source.h"
#include "resource/host_facts.h"
#include "resource/memory.h"

namespace torpor::checkpoint {

using Clock = std::chrono::steady_clock;

namespace {

[[noreturn]] void throw_copy_was_killed(pid_t pid) {
  throw base::Error(
      base::ErrorCode::io,
      fmt::format("the copy of process {} was killed while it was being written", pid),
      "see whether memory has run out (dmesg), and try again; the program goes on");
}

}  // namespace

image::CoreFile Session::write_core_of(Member& member) {
  snapshot::Process& process = model_of(member);
  process.set_memory_file(image::core_name(process.pid()));
  process.set_extents_file(image::extents_name(process.pid()));
  process::ProcessPageSource memory(member.frozen ? member.frozen->pid()
                                                  : member.held.memory_pid());
  process::WholeRangeSource whole(memory);
  const auto source_of = [&](const snapshot::Area& area) -> base::PageSource& {
    if (resource::must_copy_in_pause(area)) return member.copied;
    if (area.kind() == snapshot::Area::SAVED_FILE) return whole;
    return memory;
  };
  return image::write_core(process, source_of, writer_->directory_fd(), progress_);
}

void Session::write_member(Member& member) {
  image::CoreFile file;
  try {
    file = write_core_of(member);
  } catch (const base::Error&) {
    // Reading from a dead process fails in many ways, none of which says that.
    if (member.frozen && member.frozen->has_ended()) throw_copy_was_killed(member.held.seen_pid);
    throw;
  }
  bytes_ += file.core.description.size();
  writer_->add(std::move(file.core));
  writer_->add(std::move(file.extents));
}

void Session::write_contents() {
  for (resource::CaptureState::Content& content : state_.contents) {
    const std::string name = content.shared_memory ? image::shared_memory_name(content.id)
                                                   : image::saved_file_name(content.id);
    image::ContentFile file = image::write_content(content.fd.get(), content.size,
                                                   writer_->directory_fd(), name, progress_);
    const auto describe = [&](auto& record) {
      record.set_size(content.size);
      record.set_content_file(name);
      record.mutable_extents()->Assign(file.extents.begin(), file.extents.end());
    };
    const int index = static_cast<int>(content.id) - 1;
    if (content.shared_memory) {
      describe(*model_.mutable_shared_memories(index));
    } else {
      describe(*model_.mutable_saved_files(index));
    }
    bytes_ += file.file.description.size();
    writer_->add(std::move(file.file));
  }
}

void Session::write() {
  base::fault_point("checkpoint.write");
  for (Member& member : members_) {
    if (!member.held.zombie) write_member(member);
  }
  write_contents();
}

void Session::kill_program() {
  for (const process::HeldProcess& process : tree_->processes()) {
    if (!process.zombie) ::kill(process.pid, SIGKILL);
  }
  tree_->await_end(5000);
}

Outcome Session::commit() {
  base::fault_point("checkpoint.commit");
  snapshot::Manifest manifest;
  manifest.set_torpor_version(TORPOR_VERSION);
  manifest.set_created_ns(model_.clocks().realtime_ns());
  *manifest.mutable_host() = resource::host_facts();
  Outcome outcome;
  outcome.processes = static_cast<std::uint32_t>(model_.processes_size());
  *manifest.mutable_computation() = std::move(model_);
  outcome.generation = writer_->generation();
  outcome.image = writer_->commit(std::move(manifest));
  base::fault_point("checkpoint.committed");
  if (request_.kill) kill_program();
  if (resumed_ == Clock::time_point{}) {
    if (!request_.kill) let_calls_age();
    tree_->release();
    resumed_ = Clock::now();
  }
  image::Store(request_.directory, request_.name).keep_latest(request_.keep);
  outcome.pause = resumed_ - stopped_;
  outcome.total = Clock::now() - began_;
  outcome.bytes = bytes_;
  outcome.threads = threads_;
  outcome.warnings = state_.warnings;
  return outcome;
}

}  // namespace torpor::checkpoint
