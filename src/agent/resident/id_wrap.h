// System calls that have to do with ids, made for a program that knows originals. Everything but
// how the call itself is made: so the same code stands in the agent and in unit tests.
// Freestanding.
#pragma once

#include <cstdint>

#include "agent/resident/id_calls.h"
#include "agent/resident/id_paths.h"
#include "agent/resident/id_structs.h"
#include "agent/resident/id_table.h"

namespace torpor::agent {

struct IdRequest {
  std::int64_t number;
  std::uint64_t args[6];
};

// Whoever makes the calls: the kernel, through the other wrappers; or a test.
struct IdKernel {
  std::int64_t (*make)(void* data, const IdRequest& request);
  void* data;
};

class IdCaller {
 public:
  IdCaller(IdTable& table, const IdKernel& kernel) : table_(table), kernel_(kernel) {}

  // `row` is what find_id_call() says of it. All but kFork, which is the frame's.
  std::int64_t call(const IdCall& row, const IdRequest& request);

  // What the program sees of a number that is the result of a call.
  std::int64_t seen(Id kind, std::int64_t result) const;

 private:
  std::int64_t by_columns(const IdCall& row, IdRequest request);
  std::int64_t wait(const IdCall& row, IdRequest request);
  std::int64_t wait_for(IdRequest request);
  std::int64_t reap(const IdRequest& request, std::uint32_t child, bool* gone);
  std::int64_t start_session(const IdRequest& request);
  std::int64_t signal_everybody(const IdRequest& request);
  std::int64_t owner(const IdRequest& request);
  std::int64_t message(const IdRequest& request);
  std::int64_t send(const IdRequest& request, std::uint64_t message);
  std::int64_t send_many(const IdRequest& request);
  std::int64_t receive(const IdRequest& request);
  std::int64_t read_signals(const IdRequest& request);
  std::int64_t list(const IdRequest& request);
  std::int64_t read_link(const IdCall& row, const IdRequest& request);
  std::uint32_t own_id() const;
  std::int64_t try_futex(std::uint32_t& word, std::uint32_t waiters);
  std::int64_t lock_futex(const IdRequest& request);
  std::int64_t unlock_futex(const IdRequest& request);
  void release_futex(std::uint64_t address);
  void release_robust_futexes();
  std::int64_t lock_with_priority(const IdRequest& request);
  std::int64_t event_message(const IdRequest& request);
  std::int64_t peek(const IdRequest& request);
  std::int64_t leave(const IdRequest& request);

  std::int64_t make(std::int64_t number, std::uint64_t a = 0, std::uint64_t b = 0,
                    std::uint64_t c = 0, std::uint64_t d = 0, std::uint64_t e = 0) const {
    return kernel_.make(kernel_.data, {number, {a, b, c, d, e, 0}});
  }
  std::int64_t make(const IdRequest& request) const { return kernel_.make(kernel_.data, request); }
  std::int32_t to_kernel(Id kind, std::uint64_t id) const {
    return translate_id(table_, Way::kToKernel, kind, static_cast<std::int32_t>(id));
  }

  IdTable& table_;
  IdKernel kernel_;
};

template <typename T>
std::uint64_t address_of_id(const T* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

// Whether the kernel could read so much there. It is asked, as reading could kill us.
bool can_read(std::uint64_t address, std::uint64_t bytes);

// How many bytes of text stand there, without the 0 that ends it; -1 if that is nowhere.
std::int64_t text_length(std::uint64_t address);

// What the kernel says of a descriptor (the link in /proc/self/fd), or of the working directory.
inline constexpr std::int32_t kWorkingDirectory = -100;  // AT_FDCWD
std::int64_t link_of_descriptor(std::int32_t descriptor, char* text, std::uint64_t room);

// Where paths begin that are relative to `directory` (AT_FDCWD: the working directory).
Place place_of_directory(std::int32_t directory);

}  // namespace torpor::agent
