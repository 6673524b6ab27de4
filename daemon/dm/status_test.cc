// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/status.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

constexpr const char* kLine =
    "rw migrating 1024 512 origin=1000 copying=4 mirrored=10 retiring=0 target=2 remirroring=0 "
    "hole=8 filling=0 tail=3 old_sectors=262144 queue=5 inflight=256 copied=12 recopied=1 filled=0 "
    "copy_errors=2 last_error=read:origin:17 mirrored_writes=99 failovers=0 stale=0 "
    "dirty_regions=1 rate=4096 inflight_limit=1024 paused=1 read=target commits=7 generation=9 "
    "needs_check=1 mem=2048 something_new=x";

TEST(ParseStatus, ReadsEveryField) {
  auto s = ParseStatus(kLine);
  ASSERT_TRUE(s.ok());
  EXPECT_EQ(s->kernel.mode, "rw");
  EXPECT_EQ(s->kernel.phase, "migrating");
  EXPECT_EQ(s->kernel.blocks, 1024U);
  EXPECT_EQ(s->kernel.block_bytes, 262144U);
  EXPECT_EQ(s->kernel.origin, 1000U);
  EXPECT_EQ(s->kernel.tail, 3U);
  EXPECT_EQ(s->kernel.last_error, "read:origin:17");
  EXPECT_EQ(s->kernel.mirrored_writes, 99U);
  EXPECT_EQ(s->old_sectors, 262144U);
  EXPECT_EQ(s->inflight_limit_kib, 1024U);
  EXPECT_TRUE(s->paused);
  EXPECT_TRUE(s->kernel.needs_check);
  EXPECT_EQ(s->NotOnTarget(), 1004U);
  EXPECT_FALSE(s->MoverIdle());
}

TEST(ParseStatus, RefusesTheRest) {
  for (const char* bad :
       {"", "rw", "rw steady 1", "xx steady 1 512", "rw what 1 512", "rw steady -1 512",
        "rw steady 1 0", "rw steady 1 512 origin=", "rw steady 1 512 origin=x",
        "rw steady 1 512 origin", "rw steady 1 512 paused=2",
        "rw steady 1 512 origin=99999999999999999999999"}) {
    auto s = ParseStatus(bad);
    ASSERT_FALSE(s.ok()) << bad;
    EXPECT_EQ(s.error().code, Code::kDataLoss);
  }
}

TEST(ParseMap, RunsAndWhereToGoOn) {
  auto m = ParseMap("0+3:origin 3+1:copying 10+2:hole next=12");
  ASSERT_TRUE(m.ok());
  ASSERT_EQ(m->runs.size(), 3U);
  EXPECT_EQ(m->runs[2].range, (BlockRange{10, 2}));
  EXPECT_EQ(m->runs[2].state, BlockState::kHole);
  EXPECT_EQ(*m->next, 12U);
  EXPECT_FALSE(ParseMap("end")->next.has_value());
}

TEST(ParseMap, RefusesTheRest) {
  for (const char* bad : {"", "0+3:origin", "0+3:wat end", "0+0:hole end", "3:hole end",
                          "5+1:hole 2+1:hole end", "0+3:origin next=2", "next=0",
                          "next=", "end end", "end 0+1:hole", "18446744073709551615+2:hole end"}) {
    EXPECT_FALSE(ParseMap(bad).ok()) << bad;
  }
}

TEST(ParseAccess, ReadsAndWrites) {
  auto a = ParseAccess("0+2:r 5+1:rw 9+1:w end");
  ASSERT_TRUE(a.ok());
  EXPECT_TRUE(a->runs[0].read && !a->runs[0].written);
  EXPECT_TRUE(a->runs[1].read && a->runs[1].written);
  EXPECT_TRUE(!a->runs[2].read && a->runs[2].written);
  EXPECT_FALSE(ParseAccess("0+2:x end").ok());
}

RC_GTEST_PROP(Parsers, NoTextCrashesThem, (const std::string& text)) {
  (void)ParseStatus(text);
  (void)ParseStatus("rw steady 1 512 " + text);
  (void)ParseMap(text);
  (void)ParseMap("0+1:hole " + text + " end");
  (void)ParseAccess(text);
}

TEST(RangeMessages, SplitsLongLists) {
  std::vector<BlockRange> ranges = {{1, 1}, {5, 3}, {9, 0}, {20, 1}};
  EXPECT_EQ(RangeMessages("copy", ranges), (std::vector<std::string>{"copy 1 5+3 20"}));
  EXPECT_EQ(RangeMessages("copy", ranges, 2), (std::vector<std::string>{"copy 1 5+3", "copy 20"}));
  EXPECT_TRUE(RangeMessages("copy", {}).empty());
}

}  // namespace
}  // namespace shadow
