// Futexes whose words hold ids. The kernel would take them for its own; so what it does with them
// is done here, with the program's.
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/futex.h>

#include "agent/resident/id_wrap.h"

namespace torpor::agent {
namespace {

constexpr std::uint64_t kEveryBit = 0xffffffff;

std::uint32_t& word_at(std::uint64_t address) { return *reinterpret_cast<std::uint32_t*>(address); }

std::uint32_t load_futex(const std::uint32_t& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

bool change(std::uint32_t& word, std::uint32_t expected, std::uint32_t wanted) {
  return __atomic_compare_exchange_n(&word, &expected, wanted, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE);
}

}  // namespace

std::uint32_t IdCaller::own_id() const {
  return static_cast<std::uint32_t>(seen(Id::kThread, make(__NR_gettid)));
}

// Without the inheritance of priorities: that needs the kernel to know the owner.
std::int64_t IdCaller::lock_with_priority(const IdRequest& request) {
  const std::uint64_t address = request.args[0];
  if (address % 4 != 0) return -EINVAL;
  if (!can_read(address, 4)) return -EFAULT;
  switch (request.args[1] & FUTEX_CMD_MASK) {
    case FUTEX_UNLOCK_PI: return unlock_futex(request);
    case FUTEX_TRYLOCK_PI: return try_futex(word_at(address), 0);
    default: return lock_futex(request);
  }
}

// 0: it is ours. `waiters`: whether others are known to wait.
std::int64_t IdCaller::try_futex(std::uint32_t& word, std::uint32_t waiters) {
  const std::uint32_t own = own_id();
  for (;;) {
    const std::uint32_t value = load_futex(word);
    const std::uint32_t owner = value & FUTEX_TID_MASK;
    if (owner == own) return -EDEADLK;
    if (owner != 0) return -EAGAIN;
    if (change(word, value, own | waiters | (value & ~FUTEX_TID_MASK))) return 0;
  }
}

std::int64_t IdCaller::lock_futex(const IdRequest& request) {
  std::uint32_t& word = word_at(request.args[0]);
  const bool second = (request.args[1] & FUTEX_CMD_MASK) == FUTEX_LOCK_PI2;
  const std::uint64_t clock =
      second ? request.args[1] & FUTEX_CLOCK_REALTIME : std::uint64_t{FUTEX_CLOCK_REALTIME};
  const std::uint64_t wait = FUTEX_WAIT_BITSET | clock | (request.args[1] & FUTEX_PRIVATE_FLAG);
  for (std::uint32_t waiters = 0;; waiters = FUTEX_WAITERS) {
    const std::int64_t tried = try_futex(word, waiters);
    if (tried != -EAGAIN) return tried;
    const std::uint32_t value = load_futex(word);
    if ((value & FUTEX_TID_MASK) == 0) continue;
    const std::uint32_t waited = value | FUTEX_WAITERS;
    if (value != waited && !change(word, value, waited)) continue;
    const std::int64_t woken = kernel_.make(
        kernel_.data, {__NR_futex, {request.args[0], wait, waited, request.args[3], 0, kEveryBit}});
    if (woken < 0 && woken != -EAGAIN) return woken;
  }
}

std::int64_t IdCaller::unlock_futex(const IdRequest& request) {
  std::uint32_t& word = word_at(request.args[0]);
  const std::uint32_t own = own_id();
  for (;;) {
    const std::uint32_t value = load_futex(word);
    if ((value & FUTEX_TID_MASK) != own) return -EPERM;
    if (!change(word, value, 0)) continue;
    if ((value & FUTEX_WAITERS) == 0) return 0;
    const std::uint64_t wake = FUTEX_WAKE | (request.args[1] & FUTEX_PRIVATE_FLAG);
    make(__NR_futex, request.args[0], wake, 1);
    return 0;
  }
}

// What the kernel does with a robust futex whose owner has ended (handle_futex_death()).
void IdCaller::release_futex(std::uint64_t address) {
  if (address % 4 != 0 || !can_read(address, 4)) return;
  std::uint32_t& word = word_at(address);
  const std::uint32_t own = own_id();
  for (;;) {
    const std::uint32_t value = load_futex(word);
    if ((value & FUTEX_TID_MASK) != own) return;
    if (!change(word, value, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) continue;
    if ((value & FUTEX_WAITERS) != 0) make(__NR_futex, address, FUTEX_WAKE, 1);
    return;
  }
}

// The kernel does so by itself when the program's id is its own.
void IdCaller::release_robust_futexes() {
  struct Head {
    std::uint64_t next;
    std::uint64_t offset;
    std::uint64_t pending;
  };
  constexpr std::uint64_t kInherits = 1;  // in the lowest bit of an entry's address
  if (make(__NR_gettid) == own_id()) return;
  std::uint64_t head = 0;
  std::uint64_t bytes = 0;
  if (make(__NR_get_robust_list, 0, address_of_id(&head), address_of_id(&bytes)) < 0) return;
  if (head == 0 || !can_read(head, sizeof(Head))) return;
  const auto& list = *reinterpret_cast<const Head*>(head);
  std::uint64_t entry = list.next & ~kInherits;
  for (int limit = 2048; limit != 0 && entry != head && can_read(entry, 8); --limit) {
    const std::uint64_t next = *reinterpret_cast<const std::uint64_t*>(entry) & ~kInherits;
    if (entry != (list.pending & ~kInherits)) release_futex(entry + list.offset);
    entry = next;
  }
  if (list.pending != 0) release_futex((list.pending & ~kInherits) + list.offset);
}

}  // namespace torpor::agent
