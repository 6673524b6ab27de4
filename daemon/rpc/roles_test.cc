// SPDX-License-Identifier: Apache-2.0
// Which names have which role.
#include "daemon/rpc/roles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shadow::rpc {
namespace {

using testing::HasSubstr;

TEST(PeerName, OnlyWholeNamesOfAKnownKind) {
  for (const char* good :
       {"CN:ops", "DNS:a.example", "URI:spiffe://x/y", "CN:A B", "CN:\xc3\xa4"}) {
    EXPECT_TRUE(CheckPeerName(good).ok()) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("ops"), std::string("CN:"), std::string("cn:ops"),
        std::string("CN=ops"), std::string("CN:*"), std::string("DNS:*.example"),
        std::string("CN:a\nb"), std::string("CN:a\0b", 6), "CN:" + std::string(600, 'x')}) {
    const Status status = CheckPeerName(bad);
    ASSERT_FALSE(status.ok()) << bad;
    EXPECT_EQ(status.error().code, Code::kInvalidArgument);
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    EXPECT_FALSE(status.error().hint.empty());
  }
}

TEST(RoleMapTest, RefusesListsThatCannotBeMeant) {
  EXPECT_TRUE((RoleMap{{"CN:ops"}, {}}).Check().ok());
  EXPECT_TRUE((RoleMap{{}, {"CN:eye"}}).Check().ok());
  EXPECT_THAT((RoleMap{{}, {}}).Check().error().message, HasSubstr("Nobody"));
  EXPECT_THAT((RoleMap{{"CN:x"}, {"CN:x"}}).Check().error().message, HasSubstr("at once"));
  EXPECT_FALSE((RoleMap{{"CN:x"}, {"x"}}).Check().ok());
  EXPECT_FALSE((RoleMap{{""}, {}}).Check().ok());
}

TEST(RoleMapTest, TheWholeNameDecidesAndTheLesserRoleWins) {
  const RoleMap map{{"CN:ops", "URI:spiffe://x/a"}, {"DNS:eye.example"}};
  EXPECT_EQ(*map.RoleOf({"CN:ops"}), Role::kAdmin);
  EXPECT_EQ(*map.RoleOf({"CN:who", "URI:spiffe://x/a"}), Role::kAdmin);
  EXPECT_EQ(*map.RoleOf({"DNS:eye.example"}), Role::kReadonly);
  EXPECT_EQ(*map.RoleOf({"CN:ops", "DNS:eye.example"}), Role::kReadonly);
  for (const std::vector<std::string>& nobody : {std::vector<std::string>{},
                                                 {""},
                                                 {"CN:"},
                                                 {"CN:op"},
                                                 {"CN:opss"},
                                                 {"CN:OPS"},
                                                 {"DNS:ops"},
                                                 {"URI:CN:ops"},
                                                 {std::string("CN:ops\0", 7)},
                                                 {"DNS:sub.eye.example"}}) {
    const auto role = map.RoleOf(nobody);
    ASSERT_FALSE(role.ok());
    EXPECT_EQ(role.error().code, Code::kPermissionDenied);
    EXPECT_THAT(role.error().hint, HasSubstr("[listen]"));
  }
  EXPECT_THAT(map.RoleOf({"CN:a\x1b[31m\n"}).error().message, HasSubstr("'CN:a?[31m?'"));
}

}  // namespace
}  // namespace shadow::rpc
