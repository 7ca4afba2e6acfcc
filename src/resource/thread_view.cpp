#include "resource/thread_view.h"

#include "base/error.h"
#include "process/thread_answers.h"

namespace torpor::resource {

std::vector<ThreadView> living_threads(process::HeldProcess& held, snapshot::Process& process) {
  std::vector<snapshot::Thread*> saved;
  for (snapshot::Thread& thread : *process.mutable_threads()) {
    if (!thread.dead()) saved.push_back(&thread);
  }
  const std::vector<process::StoppedThread*>& threads = held.threads;
  if (saved.empty() || saved.size() != threads.size()) {
    throw base::Error(base::ErrorCode::internal,
                      fmt::format("process {}: {} threads are held, {} are in the model", held.pid,
                                  threads.size(), saved.size()));
  }
  std::vector<ThreadView> views;
  views.reserve(saved.size());
  for (std::size_t i = 0; i < saved.size(); ++i) views.push_back({threads[i], saved[i], nullptr});
  return views;
}

std::vector<ThreadView> threads_with_answers(process::HeldProcess& held,
                                             snapshot::Process& process) {
  std::vector<ThreadView> views = living_threads(held, process);
  const auto answers = process::answers_of(held);
  for (std::size_t i = 0; i < views.size(); ++i) views[i].answers = &answers[i];
  return views;
}

}  // namespace torpor::resource
