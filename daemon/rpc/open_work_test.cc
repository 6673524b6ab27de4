// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/open_work.h"

#include <gtest/gtest.h>

namespace shadow::rpc {
namespace {

class OpenWorkTest : public testing::Test {
 protected:
  Result<std::string> Ask(const std::string& request) {
    return work_.Do(request, [&]() -> Result<std::string> { return std::to_string(++done_); });
  }
  ManualClock clock_;
  OpenWork work_{clock_};
  int done_ = 0;
};

TEST_F(OpenWorkTest, OneAnswerServesAllForAWhile) {
  EXPECT_EQ(*Ask("classes"), "1");
  EXPECT_EQ(*Ask("classes"), "1");
  EXPECT_EQ(*Ask("checks"), "2");
  clock_.AdvanceMs(OpenWork::kFreshUs / 1000);
  EXPECT_EQ(*Ask("classes"), "3");
}

TEST_F(OpenWorkTest, NobodyCanKeepRootAtWork) {
  int refused = 0;
  for (int i = 0; i < 1000; ++i) refused += Ask("plan " + std::to_string(i)).ok() ? 0 : 1;
  EXPECT_EQ(done_, OpenWork::kBurst);
  EXPECT_EQ(refused, 1000 - OpenWork::kBurst);
  EXPECT_EQ(Ask("plan x").error().code, Code::kUnavailable);
  clock_.AdvanceMs(3000);
  for (int i = 0; i < 1000; ++i) (void)Ask("again " + std::to_string(i));
  EXPECT_EQ(done_, OpenWork::kBurst + 3);
}

}  // namespace
}  // namespace shadow::rpc
