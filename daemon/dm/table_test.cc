// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/table.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

ShadowTable Example() {
  ShadowTable t;
  t.sectors = 3145728;
  t.metadata = "/dev/vg/db0_meta";
  t.origin = {"/dev/vg/db0", "LV-aaaa"};
  t.target = TableLeg{"/dev/fast/db0", "LV-bbbb"};
  return t;
}

TEST(BuildTable, TheDocumentsExamples) {
  ShadowTable t = Example();
  EXPECT_EQ(*BuildTable(t),
            "/dev/vg/db0_meta 512 2 origin /dev/vg/db0 target /dev/fast/db0 "
            "6 leg_id origin LV-aaaa leg_id target LV-bbbb");
  t.target.reset();
  EXPECT_EQ(*BuildTable(t), "/dev/vg/db0_meta 512 1 origin /dev/vg/db0 3 leg_id origin LV-aaaa");
  t.origin.id.clear();
  EXPECT_EQ(*BuildTable(t), "/dev/vg/db0_meta 512 1 origin /dev/vg/db0");
  t.fresh = true;
  t.shrink = true;
  EXPECT_EQ(*BuildTable(t), "/dev/vg/db0_meta 512 1 origin /dev/vg/db0 2 fresh shrink");
}

TEST(BuildTable, NoNameBecomesAnArgument) {
  for (const std::string bad : {"", "/dev/a b", "/dev/a\tb", "/dev/a\\b", "/dev/\x01"}) {
    ShadowTable t = Example();
    t.origin.device = bad;
    EXPECT_FALSE(BuildTable(t).ok()) << bad;
    t = Example();
    t.metadata = bad;
    EXPECT_FALSE(BuildTable(t).ok()) << bad;
  }
  ShadowTable t = Example();
  t.target->id = "a b";
  EXPECT_FALSE(BuildTable(t).ok());
  t = Example();
  t.origin.id.clear();
  EXPECT_FALSE(BuildTable(t).ok()) << "a target needs both identities";
  t = Example();
  t.block_sectors = 500;
  EXPECT_FALSE(BuildTable(t).ok());
  t.block_sectors = 64;
  EXPECT_FALSE(BuildTable(t).ok());
}

TEST(ParseTable, ReadsBackWhatWasBuilt) {
  ShadowTable t = Example();
  t.read_policy = "balance";
  t.shrink = true;
  auto parsed = ParseTable(t.sectors, *BuildTable(t));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->origin, t.origin);
  EXPECT_EQ(parsed->target, t.target);
  EXPECT_EQ(parsed->read_policy, "balance");
  EXPECT_TRUE(parsed->shrink);
}

TEST(BuildTable, TiersComeAfterTheOtherLegs) {
  ShadowTable t = Example();
  t.tiers[0] = TableTier{{"/dev/nvme/t1", "LV-t1"}, true};
  t.tiers[1] = TableTier{{"-", "LV-t2"}, false};
  const std::string line = *BuildTable(t);
  EXPECT_EQ(line,
            "/dev/vg/db0_meta 512 4 origin /dev/vg/db0 target /dev/fast/db0 tier1 /dev/nvme/t1 "
            "tier2 - 14 leg_id origin LV-aaaa leg_id target LV-bbbb leg_id tier1 LV-t1 "
            "leg_id tier2 LV-t2 writeback tier1");
  const ShadowTable back = *ParseTable(t.sectors, line);
  EXPECT_EQ(back.tiers, t.tiers);
  EXPECT_EQ(back.target, t.target);
  t.tiers[0]->leg.id.clear();
  EXPECT_FALSE(BuildTable(t).ok()) << "a tier needs an identity";
}

TEST(ParseTable, RefusesTiersThatDoNotFit) {
  for (const char* bad :
       {"8:0 512 2 origin 8:1 tier3 8:2", "8:0 512 3 origin 8:1 tier1 8:2 tier1 8:3",
        "8:0 512 1 origin 8:1 3 leg_id tier1 x", "8:0 512 1 origin 8:1 2 writeback tier1",
        "8:0 512 2 origin 8:1 tier1 8:2 1 writeback",
        "8:0 512 5 origin 8:1 target 8:2 tier1 8:3 tier2 8:4 tier2 8:5"}) {
    EXPECT_FALSE(ParseTable(8, bad).ok()) << bad;
  }
}

TEST(ParseTable, RefusesWhatIsNotOurs) {
  for (const char* bad : {"", "8:0 0", "8:0 512 1 origin", "8:0 512 3 origin 8:1",
                          "8:0 512 1 target 8:1", "8:0 512 2 origin 8:1 origin 8:2",
                          "8:0 512 1 origin 8:1 9 fresh", "8:0 512 1 origin 8:1 1 wat",
                          "8:0 99999999999 1 origin 8:1", "8:0 512 1 origin 8:1 1 read"}) {
    EXPECT_FALSE(ParseTable(8, bad).ok()) << bad;
  }
}

RC_GTEST_PROP(ParseTable, NoTextCrashesIt, (const std::vector<std::string>& words)) {
  std::string line = "8:0 512 2 origin 8:1";
  for (const std::string& w : words) line += " " + w;
  (void)ParseTable(8, line);
}

RC_GTEST_PROP(ToLegId, AlwaysMakesALegId, (const std::string& text)) {
  RC_ASSERT(IsLegId(ToLegId(text)));
  RC_ASSERT(IsLegId(ToLegId(text + std::string(100, 'x'))));
}

TEST(ToLegId, LongNamesStayDifferent) {
  const std::string prefix(80, 'a');
  EXPECT_NE(ToLegId(prefix + "1"), ToLegId(prefix + "2"));
  EXPECT_EQ(ToLegId("LV-aaaa"), "LV-aaaa");
}

}  // namespace
}  // namespace shadow
