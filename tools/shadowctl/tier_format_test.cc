// SPDX-License-Identifier: Apache-2.0
// What shadowctl prints of tiers and heat: at several widths, with extreme figures, with colours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "tools/shadowctl/format_json.h"
#include "tools/shadowctl/format_tier.h"
#include "tools/shadowctl/heat_map.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"

namespace shadow::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

Terminal TerminalOf(bool utf8, bool colours) {
  Terminal t;
  t.is_terminal = true;
  t.utf8 = utf8;
  t.colours = colours;
  return t;
}

std::string WithoutColours(std::string text) {
  for (std::size_t at = 0; (at = text.find('\x1b')) != std::string::npos;) {
    text.erase(at, text.find('m', at) - at + 1);
  }
  return text;
}

int Widest(const std::string& text) {
  std::istringstream in(text);
  int widest = 0;
  for (std::string line; std::getline(in, line);) widest = std::max(widest, Columns(line));
  return widest;
}

/// `warmest` of neighbouring runs of `blocks` blocks.
HeatMap MapOf(std::uint64_t blocks, const std::vector<double>& warmest) {
  HeatMap map;
  map.block_bytes = 262'144;
  for (const double heat : warmest) {
    v1::HeatRun& run = map.runs.emplace_back();
    run.set_first_block(map.volume_blocks);
    run.set_blocks(blocks);
    run.set_warmest(heat);
    run.set_mean(heat / 2);
    map.volume_blocks += blocks;
  }
  return map;
}

TEST(HeatMapTest, CellsTakeTheWarmestOfTheirBlocks) {
  const HeatMap map = MapOf(10, {0, 0.5, 0.9, 0});
  EXPECT_THAT(Cells(map, 4), ElementsAre(0, 0.5, 0.9, 0));
  EXPECT_THAT(Cells(map, 2), ElementsAre(0.5, 0.9));
  EXPECT_THAT(Cells(map, 1), ElementsAre(0.9));
  EXPECT_THAT(Cells(map, 3), ElementsAre(0.5, 0.9, 0.9));
  EXPECT_EQ(Cells(map, 4096).size(), 40u) << "no range is less than a block";
  EXPECT_TRUE(Cells(HeatMap(), 8).empty());
  // Runs that end early, or overlap, or lie beyond the end, as a broken daemon might send them.
  HeatMap broken = MapOf(10, {0.1, 0.2});
  broken.volume_blocks = 40;
  broken.runs[1].set_first_block(5);
  broken.runs.push_back(broken.runs[0]);
  broken.runs.back().set_first_block(kMax - 3);
  EXPECT_EQ(Cells(broken, 4).size(), 4u);
  HeatMap huge = MapOf(std::uint64_t{1} << 44, {0.3});
  EXPECT_EQ(Cells(huge, 4096).back(), 0.3);
}

TEST(HeatMapTest, DrawsWhatItIs) {
  const HeatMap map = MapOf(16, {0, 0.05, 0.2, 0.5, 0.9});
  std::ostringstream plain;
  PrintHeatMap(plain, TerminalOf(false, false), "db0", map, 80, 80);
  EXPECT_EQ(plain.str(),
            "Heat of db0, 20 MiB in 80 ranges of 256 KiB\n"
            "      0 B ................::::::::::::::::----------------++++++++++++++++\n"
            "   16 MiB ################\n"
            "By the warmest block: # from 0.7  + from 0.3  - from 0.1  : less  . none\n"
            "Within 60 windows about 3.30 MiB (16.5%) should be accessed.\n");
  std::ostringstream pretty;
  PrintHeatMap(pretty, TerminalOf(true, true), "db0", map, 80, 80);
  EXPECT_THAT(pretty.str(), HasSubstr("\x1b[31m████████████████\x1b[0m"));
  EXPECT_THAT(WithoutColours(pretty.str()), HasSubstr("      0 B ················░░░░"));
}

TEST(HeatMapTest, NeverWraps) {
  const HeatMap map = MapOf(1000, {0.1, 0.9, 0.4, 0});
  for (int width = 80; width < 260; ++width) {
    for (const bool utf8 : {false, true}) {
      std::ostringstream out;
      PrintHeatMap(out, TerminalOf(utf8, false), "db0", map, 8 * RangesInARow(width), width);
      EXPECT_LT(Widest(out.str()), width + 1);
      const std::string text = out.str();
      EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 11) << width;
    }
  }
  EXPECT_EQ(RangesInARow(80), 64u);
  EXPECT_EQ(RangesInARow(120), 96u);
  EXPECT_EQ(RangesInARow(40), 16u);
  EXPECT_EQ(RangesInARow(1), 16u);
}

TEST(TopTest, LinesStayBelowEachOther) {
  v1::VolumeTop top;
  top.set_volume(std::string(64, 'v'));
  EXPECT_EQ(Columns(TopHeader(false)), 79);
  EXPECT_EQ(Columns(TopHeader(true)), kTopColumnsInAll - 6);  // of the last, "OP"
  EXPECT_EQ(Columns(TopRow(TerminalOf(false, false), top, false)), Columns(TopHeader(false)));
  top.mutable_interval()->set_seconds(1);
  top.set_reads_per_second(1'234'567);
  top.set_writes_per_second(999'999);
  top.set_bytes_per_second(std::uint64_t{9} << 30);
  top.set_p50_us(99'900);
  top.set_p99_us(9'990'000);
  top.set_tier1_hit_ratio(1);
  top.set_tier2_hit_ratio(0);
  top.set_moved_bytes_per_second(std::uint64_t{1023} << 20);
  EXPECT_LE(Columns(TopRow(TerminalOf(false, false), top, false)), Columns(TopHeader(false)));
}

TEST(TierTest, TroubleStandsBeforeWhatGoesOn) {
  EXPECT_EQ(TierStateCell(v1::TIER_STATE_ACTIVE, v1::TIER_HEALTH_OK).text, "active");
  const Cell failed = TierStateCell(v1::TIER_STATE_ACTIVE, v1::TIER_HEALTH_FAILED);
  EXPECT_EQ(failed.text, "failed");
  EXPECT_EQ(failed.colour, Colour::kRed);
  EXPECT_EQ(TierStateCell(v1::TIER_STATE_REMOVING, v1::TIER_HEALTH_MISSING).text,
            "missing, removing");
  EXPECT_EQ(TierStateCell(v1::TIER_STATE_ADDING, v1::TIER_HEALTH_UNSPECIFIED).text, "adding");
  EXPECT_EQ(TierStateCell(v1::TIER_STATE_ACTIVE, v1::TIER_HEALTH_UNSPECIFIED).text, "inactive");
}

TEST(TierTest, ValuesOfANewerDaemonAreUnknown) {
  EXPECT_EQ(LevelName(static_cast<v1::TierLevel>(9)), "unknown");
  EXPECT_EQ(TierStateName(static_cast<v1::TierState>(9)), "unknown");
  EXPECT_EQ(PolicyName(static_cast<v1::PlacementPolicy>(9)), "unknown");
  EXPECT_EQ(PolicyName(v1::PLACEMENT_POLICY_UNSPECIFIED), "");
  EXPECT_EQ(DecisionName(v1::PLACEMENT_DECISION_UNSPECIFIED), "unknown");
  EXPECT_EQ(SourceName(v1::ACCESS_SOURCE_ACCESS_BITS), "access_bits");
  EXPECT_EQ(ShadowName(v1::SHADOW_STATE_DIRTY), "dirty");
}

TEST(TierTest, APolicyThatIsNotFollowedIsSaid) {
  v1::Placement p;
  p.mutable_policy()->set_policy(v1::PLACEMENT_POLICY_PAM);
  p.mutable_policy()->mutable_window()->set_nanos(500'000'000);
  p.add_notes("The model is not there.");
  std::ostringstream before, now;
  PrintPolicy(before, TerminalOf(false, false), p);
  EXPECT_THAT(before.str(), HasSubstr("pam (before its first window)"));
  EXPECT_THAT(before.str(), HasSubstr("0.5 s"));
  p.set_ruling(v1::PLACEMENT_POLICY_EWMA);
  PrintPolicy(now, TerminalOf(false, false), p);
  EXPECT_THAT(now.str(), HasSubstr("pam (ewma rules now)"));
  EXPECT_THAT(now.str(), HasSubstr("Note: The model is not there."));
}

TEST(TierTest, LongSentencesGoOnBelowThemselves) {
  EXPECT_THAT(WrapWords("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(WrapWords("one two three", 0), ElementsAre("one two three"));
  EXPECT_THAT(WrapWords("incomprehensible as it is", 6),
              ElementsAre("incomprehensible", "as it", "is"));
  EXPECT_THAT(WrapWords("", 6), ElementsAre(""));
  v1::Placement p;
  std::string sentence;
  for (int i = 0; i < 40; ++i) sentence += "word ";
  p.add_notes(sentence + "end.");
  Terminal narrow = TerminalOf(false, false);
  narrow.fixed_width = 60;
  std::ostringstream out, plain;
  PrintPolicy(out, narrow, p);
  EXPECT_LE(Widest(out.str()), 60);
  v1::BlockExplanation e;
  e.set_why(sentence);
  PrintExplanation(out, narrow, "db0", e);
  EXPECT_LE(Widest(out.str()), 60);
  PrintPolicy(plain, Terminal(), p);
  EXPECT_THAT(plain.str(), HasSubstr("Note: " + sentence + "end.\n"));
}

TEST(TierTest, ExtremeFiguresPrint) {
  v1::VolumeTiers tiers;
  tiers.set_volume("db0");
  v1::Tier& tier = *tiers.add_tiers();
  tier.set_size_bytes(kMax);
  tier.set_used_bytes(kMax);
  tier.set_reads(kMax);
  v1::Placement& p = *tiers.mutable_placement();
  p.set_moved_bytes(kMax);
  p.set_served_bytes(1);
  p.set_round_us(kMax);
  std::ostringstream out;
  PrintVolumeTiers(out, TerminalOf(false, false), tiers);
  EXPECT_THAT(out.str(), HasSubstr("(100%)"));
  v1::BlockExplanation e;
  e.set_heat(std::nan(""));
  e.set_cost_ms(std::numeric_limits<double>::infinity());
  e.set_best(v1::PLACE_TIER1);
  e.set_place(v1::PLACE_TIER2);
  PrintExplanation(out, TerminalOf(false, false), "db0", e);
  EXPECT_THAT(out.str(), HasSubstr("by way of home"));
  EXPECT_TRUE(ToJson(e)["heat"].dump() == "null");
}

TEST(TierTest, ARemovalTellsHowFarItIs) {
  v1::Tier tier;
  tier.set_level(v1::TIER_LEVEL_TIER2);
  tier.set_used_bytes(std::uint64_t{3} << 30);
  tier.set_health(v1::TIER_HEALTH_OK);
  EXPECT_EQ(RemovalLine("db0", tier, std::uint64_t{4} << 30),
            "db0  tier2  going home  25%  1.00/4.00 GiB");
  tier.set_dirty_bytes(std::uint64_t{1} << 20);
  tier.set_health(v1::TIER_HEALTH_MISSING);
  EXPECT_EQ(RemovalLine("db0", tier, 0),
            "db0  tier2  going home  100%  0/0 B, 1 MiB dirty, the device is missing");
}

TEST(HumanizeTest, RatiosAndNumbers) {
  EXPECT_EQ(FormatRatio(0.7132), "71.3%");
  EXPECT_EQ(FormatRatio(1), "100.0%");
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(0.0001), "0.000");
  EXPECT_EQ(FormatNumber(0.825), "0.825");
  EXPECT_EQ(FormatNumber(4.4712), "4.47");
  EXPECT_EQ(FormatNumber(37.6), "37.6");
  EXPECT_EQ(FormatNumber(1204.4), "1,204");
  EXPECT_EQ(FormatNumber(std::nan("")), "0");
  EXPECT_EQ(*ParseDuration("500ms"), 500);
  EXPECT_EQ(*ParseDuration("1s500ms"), 1500);
  EXPECT_EQ(*ParseDuration("10m"), 600'000);
  EXPECT_FALSE(ParseDuration("ms").ok());
}

}  // namespace
}  // namespace shadow::ctl
