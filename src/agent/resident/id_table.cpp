#include "agent/resident/id_table.h"

namespace torpor::agent {
namespace {

constexpr std::uint32_t kTicketShift = 22;
constexpr IdWord kTicketMask = IdWord{0xffffffff} << kTicketShift;
// What by_original and by_current have to agree on, besides the ids.
constexpr IdWord kCompared = kTicketMask | kIdPresent;
// Lower ids are not given to processes once they have all been given (RESERVED_PIDS).
constexpr std::uint32_t kFirstId = 300;

IdWord word_of(std::uint32_t id, std::uint32_t ticket) {
  return kIdPresent | IdWord{ticket} << kTicketShift | id;
}

bool can_be_id(std::uint32_t id) { return id != 0 && id < kIdLimit; }

IdWord load_word(const IdWord& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }

bool replace(IdWord& word, IdWord expected, IdWord wanted) {
  return __atomic_compare_exchange_n(&word, &expected, wanted, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE);
}

// Before anything is stored there: a page whose bit is not set holds nothing.
void mark_page(std::uint64_t* pages, std::uint32_t id) {
  const std::uint32_t page = id / kIdsPerPage;
  const std::uint64_t bit = std::uint64_t{1} << (page % 64);
  std::uint64_t& bits = pages[page / 64];
  if ((__atomic_load_n(&bits, __ATOMIC_RELAXED) & bit) == 0) {
    __atomic_fetch_or(&bits, bit, __ATOMIC_ACQ_REL);
  }
}

bool is_marked(const std::uint64_t* pages, std::uint32_t id) {
  const std::uint32_t page = id / kIdsPerPage;
  return (__atomic_load_n(&pages[page / 64], __ATOMIC_ACQUIRE) >> (page % 64) & 1) != 0;
}

// A page that holds nothing is not touched: that would give it memory.
IdWord look(const std::uint64_t* pages, const IdWord* words, std::uint32_t id) {
  return can_be_id(id) && is_marked(pages, id) ? load_word(words[id]) : 0;
}

IdWord entry_of_original(const IdTable& table, std::uint32_t original) {
  return look(table.original_pages, table.by_original, original);
}

// The current id of `original`, or 0 if nobody confirms it.
std::uint32_t confirmed(const IdTable& table, std::uint32_t original) {
  const IdWord claim = entry_of_original(table, original);
  if (claim == 0) return 0;
  const IdWord pair = pair_of_current(table, id_in(claim));
  const bool same = id_in(pair) == original && ((pair ^ claim) & kCompared) == 0;
  return same ? id_in(claim) : 0;
}

// Claims `original` for `current`. What stands there already is left alone: another may be about to
// confirm it; unless it is a claim of the same current id, which then is one of its past.
bool claim(IdTable& table, std::uint32_t original, std::uint32_t current, std::uint32_t ticket) {
  mark_page(table.original_pages, original);
  const IdWord wanted = word_of(current, ticket);
  const IdWord found = load_word(table.by_original[original]);
  if (found == wanted) return true;
  if (found != 0 && id_in(found) != current) return false;
  return replace(table.by_original[original], found, wanted) ||
         load_word(table.by_original[original]) == wanted;
}

// Only the claim with the ticket of `like`.
void release(IdTable& table, std::uint32_t original, std::uint32_t current, IdWord like) {
  const IdWord mine = (like & kCompared) | current;
  replace(table.by_original[original], mine, 0);
}

std::uint32_t next_candidate(IdTable& table) {
  const std::uint32_t range = table.limit - kFirstId;
  const std::uint32_t drawn = __atomic_fetch_add(&table.cursor, 1, __ATOMIC_RELAXED);
  return table.limit - 1 - drawn % range;
}

// An original for a child that cannot be called by its current id. From the upper end down: there
// the kernel arrives last.
std::uint32_t claim_unused(IdTable& table, std::uint32_t current, std::uint32_t ticket,
                           IdInUse in_use) {
  for (std::uint32_t tries = table.limit - kFirstId; tries != 0; --tries) {
    const std::uint32_t candidate = next_candidate(table);
    if (entry_of_original(table, candidate) != 0 || in_use(candidate)) continue;
    if (claim(table, candidate, current, ticket)) return candidate;
  }
  return 0;
}

std::uint32_t claim_original(IdTable& table, std::uint32_t current, std::uint32_t ticket,
                             IdInUse in_use) {
  const std::uint32_t wanted = current + table.apart;
  if (wanted < kIdLimit && claim(table, wanted, current, ticket)) return wanted;
  return claim_unused(table, current, ticket, in_use);
}

// Of a younger child, ours has ended and its id has been given again: that one's pair stays.
bool is_older(IdWord pair, std::uint32_t ticket) {
  const auto age = static_cast<std::uint32_t>(pair >> kTicketShift) - ticket;
  return static_cast<std::int32_t>(age) < 0;
}

// The next id from `from` on whose page holds anything and whose word is not 0.
std::uint32_t next_used(const std::uint64_t* pages, const IdWord* words, std::uint32_t from) {
  for (std::uint32_t id = from; id < kIdLimit;) {
    if (!is_marked(pages, id)) {
      id = (id / kIdsPerPage + 1) * kIdsPerPage;
      continue;
    }
    if (load_word(words[id]) != 0) return id;
    ++id;
  }
  return 0;
}

// Claims that nobody confirms, of an id that nobody has: left by who was killed on the way.
void sweep_claims(IdTable& table, IdInUse in_use) {
  std::uint32_t id = 1;
  while ((id = next_used(table.original_pages, table.by_original, id)) != 0) {
    const IdWord found = load_word(table.by_original[id]);
    if (found != 0 && confirmed(table, id) == 0 && !in_use(id_in(found))) {
      replace(table.by_original[id], found, 0);
    }
    ++id;
  }
}

}  // namespace

void prepare_ids(IdTable& table, std::uint32_t pid_max) {
  const bool sound = pid_max > 2 * kFirstId && pid_max <= kIdLimit;
  table.limit = sound ? pid_max : kIdLimit;
  __atomic_store_n(&table.magic, kIdTableMagic, __ATOMIC_RELEASE);
}

std::uint32_t current_of(const IdTable& table, std::uint32_t original) {
  if (!can_be_id(original)) return original;
  if (const std::uint32_t current = confirmed(table, original); current != 0) return current;
  return pair_of_current(table, original) == 0 ? original : kNobody;
}

std::uint32_t original_of(const IdTable& table, std::uint32_t current) {
  if (!can_be_id(current)) return current;
  if (const IdWord pair = pair_of_current(table, current); pair != 0) return id_in(pair);
  return confirmed(table, current) == 0 ? current : kOutside;
}

bool enter_pair(IdTable& table, std::uint32_t original, std::uint32_t current) {
  if (!can_be_id(original) || !can_be_id(current)) return false;
  if (pair_of_current(table, current) != 0 || confirmed(table, original) != 0) return false;
  const std::uint32_t ticket = draw_ticket(table);
  mark_page(table.original_pages, original);
  __atomic_store_n(&table.by_original[original], word_of(current, ticket), __ATOMIC_RELEASE);
  mark_page(table.current_pages, current);
  return replace(table.by_current[current], 0, word_of(original, ticket));
}

std::uint32_t draw_ticket(IdTable& table) {
  return __atomic_add_fetch(&table.ticket, 1, __ATOMIC_RELAXED);
}

std::uint32_t adopt_child(IdTable& table, std::uint32_t current, std::uint32_t ticket,
                          IdInUse in_use) {
  if (!can_be_id(current)) return 0;
  mark_page(table.current_pages, current);
  for (;;) {
    const IdWord pair = load_word(table.by_current[current]);
    if (pair != 0 && !is_older(pair, ticket)) return id_in(pair);
    if (pair != 0) {
      drop_pair(table, current, pair);
      continue;
    }
    const std::uint32_t original = claim_original(table, current, ticket, in_use);
    if (original == 0) return 0;
    if (replace(table.by_current[current], 0, word_of(original, ticket))) return original;
    const IdWord other = load_word(table.by_current[current]);
    if (id_in(other) != original) release(table, original, current, word_of(0, ticket));
  }
}

IdWord pair_of_current(const IdTable& table, std::uint32_t current) {
  return look(table.current_pages, table.by_current, current);
}

void drop_pair(IdTable& table, std::uint32_t current, IdWord pair) {
  if (pair == 0 || !can_be_id(current)) return;
  const bool dropped = replace(table.by_current[current], pair, 0) ||
                       replace(table.by_current[current], pair ^ kIdSession, 0);
  if (dropped) release(table, id_in(pair), current, pair);
}

void mark_session(IdTable& table, std::uint32_t current) {
  const IdWord pair = pair_of_current(table, current);
  if (pair != 0) replace(table.by_current[current], pair, pair | kIdSession);
}

std::uint32_t next_current(const IdTable& table, std::uint32_t after) {
  return next_used(table.current_pages, table.by_current, after + 1);
}

void sweep_ids(IdTable& table, IdInUse in_use) {
  for (std::uint32_t id = next_current(table, 0); id != 0; id = next_current(table, id)) {
    const IdWord pair = pair_of_current(table, id);
    if (pair != 0 && (pair & kIdSession) == 0 && !in_use(id)) drop_pair(table, id, pair);
  }
  sweep_claims(table, in_use);
}

bool is_time_to_sweep(IdTable& table) {
  if (__atomic_add_fetch(&table.births, 1, __ATOMIC_RELAXED) < kBirthsBetweenSweeps) return false;
  return __atomic_exchange_n(&table.births, 0, __ATOMIC_RELAXED) >= kBirthsBetweenSweeps;
}

}  // namespace torpor::agent
