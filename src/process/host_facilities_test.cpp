#include "process/host_facilities.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace torpor::process {
namespace {

TEST(HostFacilities, ComeInTheirOrderAndHaveNames) {
  const std::vector<Offer> offers = probe_host();
  ASSERT_EQ(offers.size(), static_cast<std::size_t>(Facility::page_scan) + 1);
  for (std::size_t i = 0; i < offers.size(); ++i) {
    EXPECT_EQ(offers[i].facility, static_cast<Facility>(i));
    EXPECT_FALSE(offers[i].name.empty());
    EXPECT_EQ(is_offered(offers, offers[i].facility), offers[i].error == 0);
  }
}

TEST(HostFacilities, LookingLeavesNoChildBehind) {
  probe_host();
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace torpor::process
