// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/request_cache.h"

#include <gtest/gtest.h>

namespace shadow::rpc {
namespace {

using Keep = RequestCache::Keep;

bool Never() { return false; }

// The second request comes while the first is being done: the call itself sends it.
TEST(RequestCache, ASecondRequestIsToldThatTheFirstIsAtWork) {
  for (const Keep keep : {Keep::kHere, Keep::kEngine}) {
    RequestCache cache(10, std::chrono::milliseconds(0));
    int done = 0;
    Result<std::string> second = std::string();
    const auto again = [&]() -> Result<std::string> { return std::to_string(++done); };
    const auto first = cache.Do(
        "id-1", "make db0",
        [&]() -> Result<std::string> {
          second = cache.Do("id-1", "make db0", again, Never, keep);
          return std::to_string(++done);
        },
        Never, keep);
    EXPECT_EQ(*first, "1") << "it was done once";
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Code::kUnavailable);
    EXPECT_NE(second.error().message.find("still at work on the request 'id-1'"),
              std::string::npos);
  }
}

TEST(RequestCache, OnlyWhatTheEngineForgetsIsKept) {
  RequestCache cache;
  int done = 0;
  const auto call = [&]() -> Result<std::string> { return std::to_string(++done); };
  EXPECT_EQ(*cache.Do("a", "x", call, Never, Keep::kHere), "1");
  EXPECT_EQ(*cache.Do("a", "x", call, Never, Keep::kHere), "1");
  EXPECT_EQ(cache.Do("a", "y", call, Never, Keep::kHere).error().code, Code::kAlreadyExists);
  EXPECT_EQ(*cache.Do("b", "x", call, Never, Keep::kEngine), "2");
  EXPECT_EQ(*cache.Do("b", "x", call, Never, Keep::kEngine), "3") << "the engine answers";
}

}  // namespace
}  // namespace shadow::rpc
