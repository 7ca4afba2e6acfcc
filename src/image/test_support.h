// What the unit tests of this room share: directories that go away, memory made of patterns, and a
// small complete image. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/user.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/page_source.h"
#include "base/progress.h"
#include "image/core_writer.h"
#include "image/file_io.h"
#include "image/image_writer.h"
#include "image/raw_writer.h"
#include "image/store.h"
#include "proto/snapshot.pb.h"

namespace torpor::image::testing {

namespace fs = std::filesystem;
using Page = std::array<std::byte, base::page_size>;

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (fs::temp_directory_path() / "torpor-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) base::throw_system("mkdtemp {}", pattern);
    path_ = pattern;
    fd_ = open_directory(path_);
  }
  ~TempDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  fs::path path_;
  base::UniqueFd fd_;
};

inline std::string content_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void put(const fs::path& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  out.close();
  EXPECT_TRUE(out) << path;
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Different for every seed, and no byte is zero.
inline Page pattern(std::uint64_t seed) {
  Page page;
  std::uint64_t state = seed * 0x9E3779B97F4A7C15U + 1;
  for (std::byte& byte : page) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56U) | std::byte{1};
  }
  return page;
}

// Memory that holds exactly the pages that were put into it.
class FakePages : public base::PageSource {
 public:
  void put(std::uint64_t address, const Page& page) { pages_[address] = page; }
  void put_patterns(std::uint64_t start, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t address = start + i * base::page_size;
      put(address, pattern(address));
    }
  }
  void put_zeros(std::uint64_t start, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) put(start + i * base::page_size, Page{});
  }

  std::vector<base::PageRun> existing_pages(std::uint64_t start, std::uint64_t end,
                                            bool file_backed) override {
    asked_file_backed_[start] = file_backed;
    std::vector<base::PageRun> runs;
    for (auto page = pages_.lower_bound(start); page != pages_.end() && page->first < end; ++page) {
      if (runs.empty() || runs.back().end != page->first)
        runs.push_back({page->first, page->first});
      runs.back().end += base::page_size;
    }
    return runs;
  }

  void read(std::uint64_t address, std::span<std::byte> into) override {
    if (on_read) on_read();
    while (!into.empty()) {
      const Page& page = pages_.at(address / base::page_size * base::page_size);
      const std::size_t within = address % base::page_size;
      const std::size_t size = std::min(into.size(), page.size() - within);
      std::memcpy(into.data(), page.data() + within, size);
      into = into.subspan(size);
      address += size;
    }
  }

  [[nodiscard]] const std::map<std::uint64_t, Page>& pages() const { return pages_; }
  [[nodiscard]] bool asked_file_backed(std::uint64_t start) const {
    return asked_file_backed_.at(start);
  }

  std::function<void()> on_read;

 private:
  std::map<std::uint64_t, Page> pages_;
  std::map<std::uint64_t, bool> asked_file_backed_;
};

inline snapshot::Area* add_area(snapshot::Process& process, std::uint64_t start, std::uint64_t end,
                                snapshot::Area::Kind kind = snapshot::Area::ANONYMOUS) {
  snapshot::Area* area = process.add_areas();
  area->set_start(start);
  area->set_end(end);
  area->set_kind(kind);
  area->set_protection(PROT_READ | PROT_WRITE);
  if (kind == snapshot::Area::FILE) area->set_path("/usr/bin/example");
  return area;
}

inline void add_thread(snapshot::Process& process, std::int32_t tid) {
  snapshot::Thread* thread = process.add_threads();
  thread->set_tid(tid);
  user_regs_struct general{};
  general.rip = 0x401000U + static_cast<unsigned>(tid);
  general.rsp = 0x7fff0000U;
  thread->mutable_registers()->set_architecture("x86_64");
  thread->mutable_registers()->set_general(&general, sizeof(general));
  std::string extended(832, '\0');
  extended[464] = 7;  // XCR0: x87, SSE, AVX
  thread->mutable_registers()->set_extended(extended);
}

// Threads 100 and 101, no area yet.
inline snapshot::Process example_process(std::int32_t pid = 100) {
  snapshot::Process process;
  process.set_pid(pid);
  process.set_parent(1);
  process.set_group(pid);
  process.set_session(pid);
  process.mutable_attributes()->set_command_name("example");
  process.mutable_layout()->set_executable("/usr/bin/example");
  process.mutable_layout()->set_auxv(std::string(32, '\0'));
  add_thread(process, pid);
  add_thread(process, pid + 1);
  return process;
}

constexpr std::uint64_t heap = 0x10000000;
constexpr std::uint64_t text = 0x400000;

// A process with a heap of 8 pages, of which 3 have content and one was touched, and a private file
// mapping of 4 pages, of which one was written and one was written with zeros.
inline snapshot::Process example_with_memory(FakePages& pages, std::int32_t pid = 100) {
  snapshot::Process process = example_process(pid);
  add_area(process, text, text + 4 * base::page_size, snapshot::Area::FILE);
  add_area(process, heap, heap + 8 * base::page_size);
  pages.put_patterns(text + base::page_size, 1);
  pages.put_zeros(text + 2 * base::page_size, 1);
  pages.put_patterns(heap, 2);
  pages.put_zeros(heap + 2 * base::page_size, 1);
  pages.put_patterns(heap + 5 * base::page_size, 1);
  return process;
}

// Writes an image with all kinds of files: a process, a zombie, a shared memory with a hole, a
// deleted file whose length is no multiple of the page's.
inline fs::path write_example_image(const Store& store, const CommitObserver& observer = {}) {
  ImageWriter writer(store, observer);
  base::Progress progress;
  snapshot::Manifest manifest;
  snapshot::Computation& computation = *manifest.mutable_computation();

  FakePages pages;
  snapshot::Process& process = *computation.add_processes();
  process = example_with_memory(pages);
  CoreFile core = write_core(process, pages, writer.directory_fd(), progress);
  process.set_memory_file(core.core.description.name());
  process.set_extents_file(core.extents.description.name());
  writer.add(std::move(core.core));
  writer.add(std::move(core.extents));

  snapshot::Process& zombie = *computation.add_processes();
  zombie.set_pid(102);
  zombie.set_state(snapshot::Process::ZOMBIE);

  FakePages shared;
  shared.put_patterns(0, 1);
  shared.put_patterns(2 * base::page_size, 1);
  ContentFile memory = write_content(shared, 0, 4 * base::page_size, writer.directory_fd(),
                                     shared_memory_name(1), progress);
  snapshot::SharedMemory& entry = *computation.add_shared_memories();
  entry.set_id(1);
  entry.set_size(4 * base::page_size);
  entry.set_content_file(memory.file.description.name());
  entry.mutable_extents()->Assign(memory.extents.begin(), memory.extents.end());
  writer.add(std::move(memory.file));

  const base::UniqueFd deleted(::memfd_create("deleted", MFD_CLOEXEC));
  const std::string content(5000, 'x');
  write_all(deleted.get(), 0, bytes_of(content));
  ContentFile saved =
      write_content(deleted.get(), 5000, writer.directory_fd(), saved_file_name(1), progress);
  snapshot::SavedFile& file = *computation.add_saved_files();
  file.set_id(1);
  file.set_size(5000);
  file.set_content_file(saved.file.description.name());
  file.mutable_extents()->Assign(saved.extents.begin(), saved.extents.end());
  writer.add(std::move(saved.file));
  return writer.commit(std::move(manifest));
}

// The code of the Error that `action` throws, and its text in `what`.
template <typename Action>
std::optional<base::ErrorCode> error_of(Action action, std::string* what = nullptr) {
  try {
    action();
  } catch (const base::Error& error) {
    if (what != nullptr) *what = error.what();
    return error.code();
  }
  return std::nullopt;
}

}  // namespace torpor::image::testing
