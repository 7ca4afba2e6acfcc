#include "agent/resident/id_paths.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "agent/resident/own_table_test.h"

namespace torpor::agent {
namespace {

using std::string;

class IdPaths : public testing::Test {
 protected:
  string to_kernel(const string& path, Place from = Place::kElsewhere) {
    char to[256];
    const std::size_t length =
        translate_path(*ids, Way::kToKernel, from, path.c_str(), to, sizeof to);
    if (length == 0) return path;
    EXPECT_EQ(to[length], '\0');
    return {to, length};
  }
  string link(LastStep at, string text, std::size_t room = 100) {
    text.resize(100);
    const std::size_t told = std::strlen(text.c_str());
    return text.substr(0, translate_link(*ids, at, text.data(), told, room));
  }
  TestTable ids{{100, 20000}, {101, 20001}};
};

TEST_F(IdPaths, Absolute) {
  const std::pair<const char*, const char*> cases[] = {
      {"/proc/100", "/proc/20000"},
      {"/proc/100/stat", "/proc/20000/stat"},
      {"//proc//100//stat/", "//proc//20000//stat/"},
      {"/./proc/./100/.", "/./proc/./20000/."},
      {"/../proc/100", "/../proc/20000"},
      {"/proc/../proc/100", "/proc/../proc/20000"},
      {"/proc/100/task/101/stat", "/proc/20000/task/20001/stat"},
      {"/proc/self/task/101", "/proc/self/task/20001"},
      {"/proc/100/../101/fd/100", "/proc/20000/../20001/fd/100"},
      {"/proc/77/task/101", "/proc/77/task/20001"},
  };
  for (const auto& [path, expected] : cases) EXPECT_EQ(to_kernel(path), expected);
}

TEST_F(IdPaths, LeftAlone) {
  for (const char* path :
       {"", "/", ".", "100", "/100", "/proc", "/proc/", "/proc/0100", "/proc/100a",
        "/proc/self/100", "/tmp/proc/100", "/proc/net/100", "/proc/99999999999999999999",
        "/proc/77/fd/100", "/proc/self/fd/100", "/procs/100", "/proc/thread-self/100"}) {
    EXPECT_EQ(to_kernel(path), path);
  }
}

TEST_F(IdPaths, CurrentIdsAreNobodys) {
  EXPECT_EQ(to_kernel("/proc/20000/stat"), "/proc/1073741823/stat");
}

TEST_F(IdPaths, Relative) {
  EXPECT_EQ(to_kernel("100/stat", Place::kProc), "20000/stat");
  EXPECT_EQ(to_kernel("./100", Place::kProc), "./20000");
  EXPECT_EQ(to_kernel("proc/100", Place::kRoot), "proc/20000");
  EXPECT_EQ(to_kernel("task/101", Place::kProcess), "task/20001");
  EXPECT_EQ(to_kernel("101/stat", Place::kTasks), "20001/stat");
  EXPECT_EQ(to_kernel("../100/stat", Place::kProcess), "../20000/stat");
  EXPECT_EQ(to_kernel("/proc/100", Place::kElsewhere), "/proc/20000");
}

TEST_F(IdPaths, TellsWhatItNeedsIfTheRoomIsSmall) {
  for (std::size_t room = 0; room < 12; ++room) {
    char to[16] = "###############";
    EXPECT_EQ(translate_path(*ids, Way::kToKernel, Place::kElsewhere, "/proc/100", to, room), 11U);
    EXPECT_EQ(to[room], '#');
  }
}

TEST_F(IdPaths, PlacesByTheKernelsWord) {
  const std::pair<string, Place> cases[] = {
      {"/", Place::kRoot},
      {"/proc", Place::kProc},
      {"/proc/100", Place::kProcess},
      {"/proc/100/task", Place::kTasks},
      {"/proc/1/task/2", Place::kThread},
      {"/proc/1/fd", Place::kBelow},
      {"/usr", Place::kElsewhere},
      {"anon_inode:x", Place::kElsewhere},
      {"", Place::kElsewhere},
      {"/proc (deleted)", Place::kElsewhere},
  };
  for (const auto& [path, place] : cases)
    EXPECT_EQ(place_of(path.data(), path.size()), place) << path;
}

TEST_F(IdPaths, TheFirstLookMissesNone) {
  for (const char* path : {"100", "./100", "../100", "/proc/1", "//proc", "proc/1", "task/1",
                           "self", "../../proc/1", "thread-self", "./self"}) {
    EXPECT_TRUE(may_lead_to_id(path)) << path;
  }
  for (const char* path : {"", "/", "/usr/lib/x.so", "a.out", "/procs", "..a"}) {
    EXPECT_FALSE(may_lead_to_id(path)) << path;
  }
}

TEST_F(IdPaths, Links) {
  const auto at = [](const char* path) { return last_step(Place::kElsewhere, path); };
  EXPECT_EQ(link(at("/proc/self"), "20000"), "100");
  EXPECT_EQ(link(at("/proc/thread-self"), "20000/task/20001"), "100/task/101");
  EXPECT_EQ(link(last_step(Place::kProc, "self"), "20000"), "100");
  EXPECT_EQ(link(at("/proc/self/cwd"), "/proc/20000/fd"), "/proc/100/fd");
  EXPECT_EQ(link(at("/proc/self/fd/3"), "/proc/20000/task"), "/proc/100/task");
  EXPECT_EQ(link(at("/tmp/self"), "20000"), "20000");
  EXPECT_EQ(link(at("/tmp/link"), "/proc/20000"), "/proc/20000");
  EXPECT_EQ(link(at("/proc/mounts"), "self/mounts"), "self/mounts");
  EXPECT_EQ(link(at("/proc/self"), "20000", 2), "10");
}

// A directory's entries as the kernel would write them.
struct Entries {
  void add(const string& name, unsigned char type) {
    const std::size_t at = bytes.size();
    bytes.resize(at + (offsetof(dirent64, d_name) + name.size() + 1 + 7) / 8 * 8);
    auto* entry = reinterpret_cast<dirent64*>(bytes.data() + at);
    entry->d_ino = at + 1;
    entry->d_reclen = static_cast<unsigned short>(bytes.size() - at);
    entry->d_type = type;
    std::memcpy(entry->d_name, name.c_str(), name.size());
  }
  std::vector<char> bytes;
};

std::vector<string> names_in(const char* bytes, std::size_t used) {
  std::vector<string> names;
  for (std::size_t at = 0; at < used;) {
    const auto* entry = reinterpret_cast<const dirent64*>(bytes + at);
    EXPECT_EQ(entry->d_reclen % 8, 0);
    EXPECT_EQ(entry->d_type, DT_DIR);
    names.emplace_back(entry->d_name);
    at += entry->d_reclen;
  }
  return names;
}

TEST_F(IdPaths, Listings) {
  Entries entries;
  for (const char* name : {".", "net", "100", "20000", "77", "20001"}) entries.add(name, DT_DIR);
  std::size_t used = entries.bytes.size();
  entries.bytes.resize(used + 64);
  used = translate_listing(*ids, Listing::k64, entries.bytes.data(), used, entries.bytes.size());
  EXPECT_EQ(names_in(entries.bytes.data(), used),
            (std::vector<string>{".", "net", "100", "77", "101"}));
}

TEST_F(IdPaths, ListingsWhoseNamesGrowFitTheRoom) {
  TestTable growing;
  Entries entries;
  std::vector<string> expected;
  for (std::uint32_t id = 1; id < 1000; ++id) {
    ASSERT_TRUE(enter_pair(*growing, 1000000 + id, id));
    entries.add(std::to_string(id), DT_DIR);
    expected.push_back(std::to_string(1000000 + id));
  }
  const std::size_t used = entries.bytes.size();
  const std::size_t room = (used + 2) / 3 * 4 + 8;
  ASSERT_GE(room_for_listing(room), used);
  entries.bytes.resize(room);
  const std::size_t now =
      translate_listing(*growing, Listing::k64, entries.bytes.data(), used, room);
  ASSERT_LE(now, room);
  EXPECT_EQ(names_in(entries.bytes.data(), now), expected);
}

// The old form, from the kernel itself.
TEST_F(IdPaths, OldListings) {
  const int directory = open("/proc", O_RDONLY | O_DIRECTORY);
  TestTable mine;
  const auto self = static_cast<std::uint32_t>(getpid());
  ASSERT_TRUE(enter_pair(*mine, 3000000, self));
  bool seen = false;
  char bytes[4096];
  for (;;) {
    const long used = syscall(SYS_getdents, directory, bytes, room_for_listing(sizeof bytes));
    if (used <= 0) break;
    const std::size_t now = translate_listing(*mine, Listing::kOld, bytes,
                                              static_cast<std::size_t>(used), sizeof bytes);
    for (std::size_t at = 0; at < now;) {
      std::uint16_t length = 0;
      std::memcpy(&length, bytes + at + 16, sizeof length);
      ASSERT_GT(length, 0);
      const string name = bytes + at + 18;
      EXPECT_NE(name, std::to_string(self));
      if (name == "3000000") {
        seen = true;
        EXPECT_EQ(bytes[at + length - 1], DT_DIR);
      }
      at += length;
    }
  }
  close(directory);
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace torpor::agent
