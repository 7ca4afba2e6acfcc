// Every row of the table, with a kernel that notes what it is given and answers with its own ids.
#include "agent/resident/id_calls.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "agent/resident/id_wrap.h"
#include "agent/resident/own_table_test.h"
#include "sys/arch/x86_64/raw_syscall.h"

namespace torpor::agent {
namespace {

constexpr std::int32_t kOriginal = 100;
constexpr std::int32_t kCurrent = 20000;

// An argument of some kind, in memory where it is a pointer.
struct Argument {
  alignas(8) char bytes[128]{};
  void set(Id kind, std::int32_t id) {
    std::memset(bytes, 0, sizeof bytes);
    switch (kind) {
      case Id::kInfoIn:
      case Id::kInfoOut: return put_info(id);
      case Id::kEventIn: return put(12, SIGEV_THREAD_ID), put(16, id);
      case Id::kLockOut: return put(24, id);
      case Id::kOwnerIn:
      case Id::kOwnerOut:
      case Id::kCapability: return put(4, id);
      case Id::kSegmentOut: return put(80, id), put(84, id);
      case Id::kQueueOut: return put(96, id), put(100, id);
      case Id::kPidfdInfo: return put(0, 1), put(16, id), put(20, id), put(24, id);
      case Id::kPath:
      case Id::kPathAt: std::strcpy(bytes, ("/proc/" + std::to_string(id)).c_str()); return;
      default: return put(0, id);
    }
  }
  void put(std::size_t offset, std::int32_t value) { std::memcpy(bytes + offset, &value, 4); }
  void put_info(std::int32_t id) { put(0, SIGUSR1), put(8, SI_QUEUE), put(16, id); }
};

bool is_pointer(Id kind) {
  return is_given(kind) || is_returned(kind) || kind == Id::kPath || kind == Id::kPathAt;
}

std::uint64_t number_of(Id kind, std::int32_t id) {
  if (kind != Id::kClock) return static_cast<std::uint64_t>(std::int64_t{id});
  return static_cast<std::uint64_t>(
      std::int64_t{static_cast<std::int32_t>(~static_cast<unsigned>(id) << 3)});
}

struct Script {
  const IdCall* row;
  int calls = 0;
};

// The kernel's side: only current ids are known there.
std::int64_t answer(void* data, const IdRequest& request) {
  auto& script = *static_cast<Script*>(data);
  ++script.calls;
  EXPECT_EQ(request.number, script.row->number);
  for (std::size_t i = 0; i < 6; ++i) {
    const Id kind = script.row->args[i];
    if (kind == Id::kNone) continue;
    Argument current;
    current.set(kind, kCurrent);
    auto* place = reinterpret_cast<char*>(request.args[i]);
    if (is_returned(kind)) {
      std::memcpy(place, current.bytes, bytes_of(kind));
    } else if (is_given(kind)) {
      EXPECT_EQ(std::memcmp(place, current.bytes, bytes_of(kind)), 0) << script.row->name;
    } else if (is_pointer(kind)) {
      EXPECT_STREQ(place, current.bytes) << script.row->name;
    } else {
      EXPECT_EQ(request.args[i], number_of(kind, kCurrent)) << script.row->name;
    }
  }
  return script.row->result == Id::kNone ? 0 : kCurrent;
}

class IdCalls : public testing::Test {
 protected:
  TestTable ids{{kOriginal, kCurrent}};
};

void fill(const IdCall& row, IdRequest* request, Argument* arguments) {
  for (std::size_t i = 0; i < 6; ++i) {
    const Id kind = row.args[i];
    arguments[i].set(kind, kOriginal);
    if (kind != Id::kNone) {
      request->args[i] = is_pointer(kind) ? reinterpret_cast<std::uint64_t>(arguments[i].bytes)
                                          : number_of(kind, kOriginal);
    }
  }
  if (row.when.mask != 0) request->args[row.when.argument] |= row.when.value;
  if (row.number == SYS_ptrace && row.when.mask == 0) request->args[0] = PTRACE_PEEKDATA;
}

TEST_F(IdCalls, AllThatColumnsDescribe) {
  for (const IdCall& row : id_calls) {
    if (row.how != How::kColumns && row.how != How::kExec) continue;
    SCOPED_TRACE(row.name);
    Argument arguments[6];
    std::uint32_t peer_bytes = sizeof(ucred);
    IdRequest request{row.number, {}};
    fill(row, &request, arguments);
    if (row.args[3] == Id::kPeer) {
      request.args[1] = SOL_SOCKET;
      request.args[4] = reinterpret_cast<std::uint64_t>(&peer_bytes);
    }
    ASSERT_EQ(find_id_call(row.number, request.args), &row) << "hidden behind another row";
    Script script{&row};
    IdCaller caller(*ids, {answer, &script});
    const std::int64_t result = caller.call(row, request);
    EXPECT_EQ(script.calls, 1);
    EXPECT_EQ(result, row.result == Id::kNone ? 0 : kOriginal);
    for (std::size_t i = 0; i < 6; ++i) {
      if (!is_pointer(row.args[i])) continue;
      Argument expected;
      expected.set(row.args[i], kOriginal);
      EXPECT_EQ(std::memcmp(arguments[i].bytes, expected.bytes, 128), 0) << "argument " << i;
    }
  }
}

TEST_F(IdCalls, FailuresAndBadPointersAreTheKernels) {
  const IdKernel kernel{[](void*, const IdRequest& r) {
                          return sys::raw_syscall(r.number, r.args[0], r.args[1], r.args[2],
                                                  r.args[3], r.args[4]);
                        },
                        nullptr};
  IdCaller caller(*ids, kernel);
  for (const IdCall& row : id_calls) {
    if (row.how != How::kColumns) continue;
    IdRequest request{row.number, {}};
    bool points = false;
    for (std::size_t i = 0; i < 6; ++i) {
      const bool path = row.args[i] == Id::kPath || row.args[i] == Id::kPathAt;
      if (path || is_given(row.args[i])) points = true, request.args[i] = 8;
    }
    if (!points || row.number == SYS_acct || row.number == SYS_quotactl) continue;
    if (row.when.mask != 0) request.args[row.when.argument] |= row.when.value;
    EXPECT_LT(caller.call(row, request), 0) << row.name;
  }
}

// What is led in by its number alone has to be answered whatever its arguments are.
TEST_F(IdCalls, NoCallIsLedInAndThenForgotten) {
  for (const IdCall& row : id_calls) {
    if (!is_translated(row) || row.when.mask != 0) continue;
    for (const IdCall& other : id_calls) {
      EXPECT_TRUE(other.number != row.number || is_translated(other)) << other.name;
    }
  }
}

TEST_F(IdCalls, HolesAndNothingsSayWhy) {
  for (const IdCall& row : id_calls) {
    if (!is_translated(row)) {
      EXPECT_STRNE(row.note, "") << row.name;
    }
  }
}

}  // namespace
}  // namespace torpor::agent
