// A table of its own for a unit test.
#pragma once

#include <sys/mman.h>

#include <initializer_list>
#include <new>
#include <utility>

#include "agent/resident/id_table.h"

namespace torpor::agent {

class TestTable {
 public:
  // Pairs of original and current.
  TestTable(std::initializer_list<std::pair<std::uint32_t, std::uint32_t>> pairs = {}) {
    void* place = mmap(nullptr, kIdTableBytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) throw std::bad_alloc();
    table_ = static_cast<IdTable*>(place);
    prepare_ids(*table_, 32000);
    for (const auto& [original, current] : pairs) enter_pair(*table_, original, current);
  }
  ~TestTable() { munmap(table_, kIdTableBytes); }
  TestTable(const TestTable&) = delete;
  TestTable& operator=(const TestTable&) = delete;

  IdTable& operator*() const { return *table_; }
  IdTable* operator->() const { return table_; }

 private:
  IdTable* table_;
};

}  // namespace torpor::agent
