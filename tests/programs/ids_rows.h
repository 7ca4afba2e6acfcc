// What ids_rows is made of: the people whose ids are used, and what a call told about them.
#ifndef TESTS_PROGRAMS_IDS_ROWS_H_
#define TESTS_PROGRAMS_IDS_ROWS_H_

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "agent/resident/id_calls.h"
#include "callers.h"

namespace rows {

using torpor::agent::Id;
using torpor::agent::IdCall;

// What it told: results, errors (negative), ids in structures.
using Told = std::vector<long>;

struct Caller {
  const char* name;
  long index;
  caller call;
  long (*vfork)(long* seen_by_child);  // the child notes its getpid(2) and ends
};

// Made before anything is disturbed. `servant` leads a session and a group, and does what it is
// told to; `child` leads a group in our session and waits. `thread` is one of ours, and waits.
struct People {
  long me, thread, child, servant;
  int link;    // to the servant
  int locked;  // a file that the servant has locked
};
inline People people;

constexpr long kNobodysId = 4194303;  // PID_MAX_LIMIT - 1: given last

struct Case {
  std::string name;
  std::function<Told(const Caller&)> run;
  // The same of an id that nobody has: that tells something else. May be empty.
  std::function<Told(const Caller&)> of_nobody;
};

// Of a row that its columns describe, one for each id in it; of any other.
void add_column_cases(const IdCall& row, std::vector<Case>& cases);
void add_special_cases(const IdCall& row, std::vector<Case>& cases);

// The servant's life, and what it can be asked to do.
enum Wish : long { kParent, kGroup, kSignal, kTerminal, kMessage, kMessages };
[[noreturn]] void serve(int link, const std::vector<Caller>& callers);
void ask(const Caller& by, Wish wish, long argument = 0);
Told answer();

template <typename... Arguments>
long call(const Caller& by, long number, Arguments... arguments) {
  long list[6] = {};
  [[maybe_unused]] int i = 0;
  ((list[i++] = (long)arguments), ...);
  return by.call(number, list[0], list[1], list[2], list[3], list[4], list[5]);
}

inline bool is(const IdCall& row, const char* name) { return std::strcmp(row.name, name) == 0; }

}  // namespace rows

#endif  // TESTS_PROGRAMS_IDS_ROWS_H_
