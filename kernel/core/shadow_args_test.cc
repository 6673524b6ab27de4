// SPDX-License-Identifier: GPL-2.0-only
// Table lines and messages: what docs/dm-shadow.rst allows, every sentence of a refusal, limits of
// numbers, and random arguments.
#include "kernel/core/shadow_args.h"

#include <gtest/gtest.h>

#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

/// argv as the kernel gives it: strings that the parser may not keep beyond the call's owner.
class Argv {
 public:
  explicit Argv(std::vector<std::string> words) : words_(std::move(words)) {
    for (auto& w : words_) pointers_.push_back(w.data());
  }
  static Argv Split(const std::string& line) {
    std::istringstream in(line);
    std::vector<std::string> words;
    for (std::string w; in >> w;) words.push_back(w);
    return Argv(std::move(words));
  }
  unsigned argc() const { return static_cast<unsigned>(pointers_.size()); }
  char** argv() { return pointers_.data(); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

/// "" if the line is taken, else the sentence.
std::string Table(const std::string& line, shadow_table* table = nullptr) {
  static Argv args({});
  args = Argv::Split(line);
  shadow_table ignored;
  const char* error = nullptr;
  const int r = shadow_parse_table(args.argc(), args.argv(), table ? table : &ignored, &error);
  EXPECT_EQ(r, error ? -EINVAL : 0) << line;
  return error ? error : "";
}

constexpr u64 kBlocks = 1000;

std::string Message(const std::string& line, shadow_message* message = nullptr,
                    u64 blocks = kBlocks) {
  Argv args = Argv::Split(line);
  shadow_message ignored;
  const char* error = nullptr;
  const int r =
      shadow_parse_message(args.argc(), args.argv(), blocks, message ? message : &ignored, &error);
  EXPECT_EQ(r, error ? -EINVAL : 0) << line;
  return error ? error : "";
}

bool Range(const char* text, u64 blocks, u64 first = 0, u64 count = 0) {
  shadow_range range{};
  if (!shadow_parse_range(text, blocks, &range)) return false;
  EXPECT_EQ(range.first, first) << text;
  EXPECT_EQ(range.count, count) << text;
  return true;
}

// ---------------------------------------------------------------------- table

TEST(TableLine, OneLeg) {
  shadow_table t;
  ASSERT_EQ(Table("/dev/meta 512 1 origin /dev/a", &t), "");
  EXPECT_STREQ(t.metadata, "/dev/meta");
  EXPECT_EQ(t.block_sectors, 512u);
  EXPECT_TRUE(t.legs[SHADOW_LEG_ORIGIN].given);
  EXPECT_FALSE(t.legs[SHADOW_LEG_ORIGIN].missing);
  EXPECT_STREQ(t.legs[SHADOW_LEG_ORIGIN].path, "/dev/a");
  EXPECT_STREQ(t.legs[SHADOW_LEG_ORIGIN].id, "");
  EXPECT_FALSE(t.legs[SHADOW_LEG_TARGET].given);
  EXPECT_STREQ(t.legs[SHADOW_LEG_TARGET].id, "");
  EXPECT_FALSE(t.fresh || t.shrink);
  EXPECT_EQ(t.policy, SHADOW_READ_TARGET);
}

TEST(TableLine, TheDocumentsExamples) {
  shadow_table t;
  EXPECT_EQ(Table("/dev/vg/db0_meta 512 1 origin /dev/vg/db0 3 leg_id origin LV-aaaa", &t), "");
  EXPECT_STREQ(t.legs[SHADOW_LEG_ORIGIN].id, "LV-aaaa");
  EXPECT_EQ(Table("/dev/vg/db0_meta 512 2 origin /dev/vg/db0 target /dev/fast/db0 "
                  "6 leg_id origin LV-aaaa leg_id target LV-bbbb", &t), "");
  EXPECT_STREQ(t.legs[SHADOW_LEG_TARGET].path, "/dev/fast/db0");
  EXPECT_STREQ(t.legs[SHADOW_LEG_TARGET].id, "LV-bbbb");
  EXPECT_EQ(Table("/dev/vg/db0_meta 512 1 origin /dev/fast/db0 3 leg_id origin LV-bbbb"), "");
}

TEST(TableLine, AllFeaturesInAnyOrder) {
  shadow_table t;
  ASSERT_EQ(Table("m 128 2 target b origin a 10 shrink read mirror leg_id target T "
                  "fresh leg_id origin O", &t), "");
  EXPECT_TRUE(t.fresh && t.shrink);
  EXPECT_EQ(t.policy, SHADOW_READ_MIRROR);
  EXPECT_STREQ(t.legs[SHADOW_LEG_ORIGIN].path, "a");
  EXPECT_STREQ(t.legs[SHADOW_LEG_TARGET].id, "T");
  const char* policies[] = {"target", "origin", "balance", "mirror"};
  for (int i = 0; i < SHADOW_NR_POLICIES; i++) {
    ASSERT_EQ(Table(std::string("m 128 1 origin a 2 read ") + policies[i], &t), "");
    EXPECT_EQ(t.policy, i);
  }
  EXPECT_EQ(Table("m 128 1 origin a 0"), "");
}

TEST(TableLine, ALostLegIsADash) {
  shadow_table t;
  ASSERT_EQ(Table("m 128 2 origin a target -", &t), "");
  EXPECT_TRUE(t.legs[SHADOW_LEG_TARGET].missing);
  ASSERT_EQ(Table("m 128 2 origin - target b", &t), "");
  EXPECT_TRUE(t.legs[SHADOW_LEG_ORIGIN].missing);
  EXPECT_EQ(Table("m 128 2 origin - target b 3 leg_id target T"), "");
}

TEST(TableLine, TiersAreNamedAndMayTakeWritesAlone) {
  shadow_table t;
  ASSERT_EQ(Table("m 128 2 origin a tier1 b 3 leg_id tier1 T", &t), "");
  EXPECT_TRUE(t.legs[SHADOW_LEG_TIER1].given);
  EXPECT_STREQ(t.legs[SHADOW_LEG_TIER1].path, "b");
  EXPECT_STREQ(t.legs[SHADOW_LEG_TIER1].id, "T");
  EXPECT_FALSE(t.legs[SHADOW_LEG_TIER2].given);
  EXPECT_EQ(t.writeback, 0);
  ASSERT_EQ(Table("m 128 4 tier2 d tier1 c target b origin a 14 writeback tier2 leg_id origin A "
                  "leg_id target B leg_id tier1 C leg_id tier2 D", &t), "");
  for (int leg = 0; leg < SHADOW_NR_LEGS; leg++) EXPECT_TRUE(t.legs[leg].given) << leg;
  EXPECT_EQ(t.writeback, 1u << SHADOW_LEG_TIER2);
  ASSERT_EQ(Table("m 128 2 origin a tier1 -", &t), "");  // lost, and its name with it
  EXPECT_TRUE(t.legs[SHADOW_LEG_TIER1].missing);
}

TEST(TableLine, BlockSizeIsAPowerOfTwoFrom128To32768) {
  for (u64 bs = 1; bs <= 1u << 17; bs <<= 1) {
    const bool ok = bs >= 128 && bs <= 32768;
    EXPECT_EQ(Table("m " + std::to_string(bs) + " 1 origin a").empty(), ok) << bs;
    if (bs > 2) {
      EXPECT_NE(Table("m " + std::to_string(bs + 1) + " 1 origin a"), "");
      EXPECT_NE(Table("m " + std::to_string(bs - 1) + " 1 origin a"), "");
    }
  }
  for (const char* bad : {"0", "-128", "+128", "0x80", "128k", "", "128.0", "18446744073709551744",
                          "99999999999999999999999", "4294967424"})
    EXPECT_NE(Table(std::string("m ") + (*bad ? bad : "x") + " 1 origin a"), "") << bad;
}

struct Refusal {
  const char* line;
  const char* sentence;
};

class TableRefused : public testing::TestWithParam<Refusal> {};

TEST_P(TableRefused, WithItsSentence) {
  EXPECT_EQ(Table(GetParam().line), GetParam().sentence) << GetParam().line;
}

constexpr char kFew[] = "Too few arguments: <metadata dev> <block sectors> <#legs> ...";
constexpr char kSize[] = "Block size must be a power of two from 128 to 32768 sectors";
constexpr char kLegs[] = "Number of legs must be 1 to 4";
constexpr char kLegShort[] = "Too few arguments: a role or a device of a leg is missing";
constexpr char kCount[] = "Number of feature arguments is not what follows";
constexpr char kLegId[] = "Feature leg_id: needs a role and an id";
constexpr char kId[] = "A leg_id has 1 to 63 of A-Za-z0-9_.:+-";
constexpr char kRead[] = "Feature read: unknown policy";
constexpr char kRole[] = "Unknown role: use origin, target, tier1, tier2";
constexpr char kWriteback[] = "Feature writeback: needs a tier of the table";
constexpr char kNoOrigin[] = "There is no origin: give \"origin <dev>\" or \"origin -\"";
constexpr char kTierId[] = "A tier must be named with leg_id";
constexpr char kSameId[] = "Two legs have the same leg_id";
constexpr char kBothIds[] = "A table with a target must name both legs with leg_id";

INSTANTIATE_TEST_SUITE_P(
    All, TableRefused,
    testing::Values(
        Refusal{"", kFew}, Refusal{"m", kFew}, Refusal{"m 128 1 origin", kFew},
        Refusal{"m 127 1 origin a", kSize}, Refusal{"m x 1 origin a", kSize},
        Refusal{"m 128 0 origin a", kLegs}, Refusal{"m 128 5 origin a", kLegs},
        Refusal{"m 128 one origin a", kLegs}, Refusal{"m 128 -1 origin a", kLegs},
        Refusal{"m 128 2 origin a", kLegShort}, Refusal{"m 128 2 origin a target", kLegShort},
        Refusal{"m 128 18446744073709551615 origin a", kLegs},
        Refusal{"m 128 1 tier1 a", kNoOrigin}, Refusal{"m 128 2 origin a tier2 b", kTierId},
        Refusal{"m 128 2 origin a tier1 b 3 leg_id origin O", kTierId},
        Refusal{"m 128 2 origin a tier1 b 6 leg_id origin S leg_id tier1 S", kSameId},
        Refusal{"m 128 3 origin a tier1 b tier2 c 6 leg_id tier1 S leg_id tier2 S", kSameId},
        Refusal{"m 128 2 origin a tier3 b", kRole}, Refusal{"m 128 1 source a", kRole},
        Refusal{"m 128 1 Origin a", kRole},
        Refusal{"m 128 1 origin a 1 writeback", kWriteback},
        Refusal{"m 128 1 origin a 2 writeback origin", kWriteback},
        Refusal{"m 128 1 origin a 2 writeback tier1", kWriteback},
        Refusal{"m 128 2 origin a tier1 b 5 leg_id tier1 T writeback tier2", kWriteback},
        Refusal{"m 128 2 origin a origin b", "A role is given twice: each leg needs its own"},
        Refusal{"m 128 3 origin a target b target c",
                "A role is given twice: each leg needs its own"},
        Refusal{"m 128 1 target a", kNoOrigin},
        Refusal{"m 128 1 origin -", "No leg is left: at least one device must be there"},
        Refusal{"m 128 2 origin - target -", "No leg is left: at least one device must be there"},
        Refusal{"m 128 1 origin a x", kCount}, Refusal{"m 128 1 origin a 1", kCount},
        Refusal{"m 128 1 origin a 0 fresh", kCount},
        Refusal{"m 128 1 origin a 4294967297 fresh", kCount},
        Refusal{"m 128 1 origin a 1 read", kRead}, Refusal{"m 128 1 origin a 2 read best", kRead},
        Refusal{"m 128 1 origin a 1 leg_id", kLegId},
        Refusal{"m 128 1 origin a 2 leg_id origin", kLegId},
        Refusal{"m 128 1 origin a 3 leg_id target T", kLegId},
        Refusal{"m 128 1 origin a 3 leg_id tier1 T", kLegId},
        Refusal{"m 128 1 origin a 3 leg_id origin a/b", kId},
        Refusal{"m 128 1 origin a 1 writethrough",
                "Unknown feature: use leg_id, fresh, shrink, read, writeback"},
        Refusal{"m 128 2 origin a target b", kBothIds},
        Refusal{"m 128 2 origin a target b 3 leg_id origin O", kBothIds},
        Refusal{"m 128 2 origin a target b 3 leg_id target T", kBothIds},
        Refusal{"m 128 2 origin a target b 6 leg_id origin S leg_id target S",
                "Origin and target have the same leg_id"}));

TEST(TableLine, ALegIdHas1To63OfItsCharacters) {
  const std::string head = "m 128 1 origin a 3 leg_id origin ";
  EXPECT_EQ(Table(head + std::string(63, 'x')), "");
  EXPECT_EQ(Table(head + std::string(64, 'x')), kId);
  for (int c = 33; c < 127; c++) {
    const bool ok = isalnum(c) || strchr("_.:+-", c);
    EXPECT_EQ(Table(head + static_cast<char>(c)).empty(), ok) << static_cast<char>(c);
  }
  Argv empty({"m", "128", "1", "origin", "a", "3", "leg_id", "origin", ""});
  shadow_table t;
  const char* error = nullptr;
  EXPECT_EQ(shadow_parse_table(empty.argc(), empty.argv(), &t, &error), -EINVAL);
  EXPECT_STREQ(error, kId);
}

// ------------------------------------------------------------------- messages

TEST(MessageLine, AllOfTheDocument) {
  const struct {
    const char* line;
    u8 type;
    u64 value;
    unsigned ranges;
    u8 tier = 0;
    bool flag = false;
  } good[] = {
      {"copy 0", SHADOW_MSG_COPY, 0, 1},
      {"copy 5+10 0 999", SHADOW_MSG_COPY, 0, 3},
      {"remirror 0+1000", SHADOW_MSG_REMIRROR, 0, 1},
      {"fill 7", SHADOW_MSG_FILL, 0, 1},
      {"clear", SHADOW_MSG_CLEAR, 0, 0},
      {"retire 1 2 3", SHADOW_MSG_RETIRE, 0, 3},
      {"limit rate 0", SHADOW_MSG_LIMIT_RATE, 0, 0},
      {"limit rate 1099511627776", SHADOW_MSG_LIMIT_RATE, 1ull << 40, 0},
      {"limit inflight 4096", SHADOW_MSG_LIMIT_INFLIGHT, 4096, 0},
      {"pause", SHADOW_MSG_PAUSE, 0, 0},
      {"resume", SHADOW_MSG_RESUME, 0, 0},
      {"read target", SHADOW_MSG_READ, SHADOW_READ_TARGET, 0},
      {"read origin", SHADOW_MSG_READ, SHADOW_READ_ORIGIN, 0},
      {"read balance", SHADOW_MSG_READ, SHADOW_READ_BALANCE, 0},
      {"read mirror", SHADOW_MSG_READ, SHADOW_READ_MIRROR, 0},
      {"cutover", SHADOW_MSG_CUTOVER, 0, 0},
      {"rollback", SHADOW_MSG_ROLLBACK, 0, 0},
      {"commit", SHADOW_MSG_COMMIT, 0, 0},
      {"abort", SHADOW_MSG_ABORT, 0, 0},
      {"map", SHADOW_MSG_MAP, 0, 0},
      {"map 3+4", SHADOW_MSG_MAP, 0, 1},
      {"access", SHADOW_MSG_ACCESS, 0, 0},
      {"access 999", SHADOW_MSG_ACCESS, 0, 1},
      {"sync", SHADOW_MSG_SYNC, 0, 0},
      {"promote tier1 5 7+2", SHADOW_MSG_PROMOTE, 0, 2, SHADOW_LEG_TIER1},
      {"promote tier2 0+1000", SHADOW_MSG_PROMOTE, 0, 1, SHADOW_LEG_TIER2},
      {"demote 1 2+3", SHADOW_MSG_DEMOTE, 0, 2},
      {"writeback 0+9", SHADOW_MSG_WRITEBACK, 0, 1},
      {"clear tiers", SHADOW_MSG_CLEAR_TIERS, 0, 0},
      {"mode tier1 writeback", SHADOW_MSG_MODE, 0, 0, SHADOW_LEG_TIER1, true},
      {"mode tier2 writethrough", SHADOW_MSG_MODE, 0, 0, SHADOW_LEG_TIER2, false},
      {"forget tier1", SHADOW_MSG_FORGET, 0, 0, SHADOW_LEG_TIER1, false},
      {"forget tier2 lost", SHADOW_MSG_FORGET, 0, 0, SHADOW_LEG_TIER2, true},
      {"fetch tier2", SHADOW_MSG_FETCH, 0, 0, SHADOW_LEG_TIER2, false},
      {"fetch off", SHADOW_MSG_FETCH, 0, 0, 0, false},
      {"limit tier_rate 5", SHADOW_MSG_LIMIT_TIER_RATE, 5, 0},
      {"limit tier_inflight 6", SHADOW_MSG_LIMIT_TIER_INFLIGHT, 6, 0},
      {"tiers", SHADOW_MSG_TIERS, 0, 0},
      {"tiers 3+4", SHADOW_MSG_TIERS, 0, 1},
  };
  std::vector<bool> seen(SHADOW_NR_MESSAGES);
  for (const auto& g : good) {
    shadow_message m;
    ASSERT_EQ(Message(g.line, &m), "") << g.line;
    EXPECT_EQ(m.type, g.type) << g.line;
    EXPECT_EQ(m.value, g.value) << g.line;
    EXPECT_EQ(m.nr_ranges, g.ranges) << g.line;
    EXPECT_EQ(m.tier, g.tier) << g.line;
    EXPECT_EQ(m.flag, g.flag) << g.line;
    if (g.ranges) {
      EXPECT_EQ(m.first_range, g.type == SHADOW_MSG_PROMOTE ? 2u : 1u) << g.line;
    }
    seen[g.type] = true;
  }
  for (int i = 0; i < SHADOW_NR_MESSAGES; i++) EXPECT_TRUE(seen[i]) << i;
}

class MessageRefused : public testing::TestWithParam<Refusal> {};

TEST_P(MessageRefused, WithItsSentence) {
  EXPECT_EQ(Message(GetParam().line), GetParam().sentence) << GetParam().line;
}

constexpr char kLimit[] =
    "use: limit [tier_]rate <KiB/s> or limit [tier_]inflight <KiB>";
constexpr char kPromote[] = "use: promote tier1|tier2 <first block>[+<count>] ...";
constexpr char kMode[] = "use: mode tier1|tier2 writethrough|writeback";
constexpr char kFetch[] = "use: fetch tier1|tier2|off";
constexpr char kForget[] = "use: forget tier1|tier2 [lost]";
constexpr char kRange[] = "range must be <first>[+<count>] inside the volume";
constexpr char kNoRange[] = "ranges are missing: <first block>[+<count>] ...";
constexpr char kNoArgs[] = "this message takes no arguments";
constexpr char kOneRange[] = "this message takes one range at most";
constexpr char kPolicy[] = "use: read target|origin|balance|mirror";
constexpr char kUnknown[] = "unknown message: see the dm-shadow document for the list";

INSTANTIATE_TEST_SUITE_P(
    All, MessageRefused,
    testing::Values(
        Refusal{"", "empty message"}, Refusal{"promote 1", kPromote}, Refusal{"promote", kPromote},
        Refusal{"promote target 1", kPromote}, Refusal{"promote tier1", kNoRange},
        Refusal{"promote tier1 1000", kRange}, Refusal{"demote", kNoRange},
        Refusal{"demote 1 tier1", kRange}, Refusal{"writeback", kNoRange},
        Refusal{"tiers 1 2", kOneRange}, Refusal{"clear tiers 1", kNoArgs},
        Refusal{"mode", kMode}, Refusal{"mode tier1", kMode},
        Refusal{"mode origin writeback", kMode}, Refusal{"mode tier1 writeback 1", kMode},
        Refusal{"mode tier1 fast", kMode}, Refusal{"forget", kForget},
        Refusal{"forget target", kForget}, Refusal{"forget tier1 clean", kForget},
        Refusal{"fetch", kFetch}, Refusal{"fetch origin", kFetch},
        Refusal{"fetch tier1 off", kFetch},
        Refusal{"forget tier1 lost 1", kForget}, Refusal{"limit tier_rate", kLimit},
        Refusal{"Promote tier1 1", kUnknown}, Refusal{"COPY 1", kUnknown},
        Refusal{"@map", kUnknown}, Refusal{"copy", kNoRange}, Refusal{"retire", kNoRange},
        Refusal{"remirror", kNoRange}, Refusal{"fill", kNoRange}, Refusal{"copy 1000", kRange},
        Refusal{"copy 0+1001", kRange}, Refusal{"copy 5+0", kRange}, Refusal{"copy 1 2 x", kRange},
        Refusal{"copy -1", kRange}, Refusal{"copy 1-5", kRange}, Refusal{"copy 1+", kRange},
        Refusal{"copy +1", kRange}, Refusal{"copy 1+1+1", kRange}, Refusal{"map 1000", kRange},
        Refusal{"map 1 2", kOneRange}, Refusal{"access 1 2", kOneRange},
        Refusal{"clear all", kNoArgs}, Refusal{"pause 1", kNoArgs}, Refusal{"resume 1", kNoArgs},
        Refusal{"cutover now", kNoArgs}, Refusal{"rollback 1", kNoArgs},
        Refusal{"commit 1", kNoArgs}, Refusal{"abort 1", kNoArgs}, Refusal{"sync 1", kNoArgs},
        Refusal{"read", kPolicy}, Refusal{"read fast", kPolicy}, Refusal{"read origin 1", kPolicy},
        Refusal{"limit", kLimit}, Refusal{"limit rate", kLimit}, Refusal{"limit 1", kLimit},
        Refusal{"limit rate -1", kLimit}, Refusal{"limit rate 1 2", kLimit},
        Refusal{"limit speed 1", kLimit}, Refusal{"limit rate 1099511627777", kLimit},
        Refusal{"limit inflight 18446744073709551616", kLimit}));

TEST(RangeWord, EndsAtTheEdgesOfItsNumbers) {
  EXPECT_TRUE(Range("0", 1, 0, 1));
  EXPECT_TRUE(Range("00012", 13, 12, 1));
  EXPECT_TRUE(Range("0+5", 5, 0, 5));
  EXPECT_TRUE(Range("4+1", 5, 4, 1));
  EXPECT_FALSE(Range("0+6", 5));
  EXPECT_FALSE(Range("4+2", 5));
  EXPECT_FALSE(Range("5", 5));
  EXPECT_FALSE(Range("0", 0));
  const u64 most = ~0ull;
  EXPECT_TRUE(Range("18446744073709551614", most, most - 1, 1));
  EXPECT_TRUE(Range("0+18446744073709551615", most, 0, most));
  EXPECT_FALSE(Range("18446744073709551615", most));
  EXPECT_FALSE(Range("18446744073709551616", most));
  EXPECT_FALSE(Range("1+18446744073709551615", most));  // the sum would wrap
  EXPECT_FALSE(Range("18446744073709551614+18446744073709551615", most));
  for (const char* bad : {"", "+", "+1", "1+", "1++1", "1+1 ", " 1", "1 ", "0x1", "1e3", "-0", "1+-1"})
    EXPECT_FALSE(Range(bad, 100)) << bad;
}

// --------------------------------------------------------------------- random

TEST(RandomArguments, NeverCrashAndAlwaysGiveASentence) {
  std::mt19937 random(20240501);
  const std::vector<std::string> words = {
      "origin", "target", "tier1", "-", "leg_id", "read", "fresh", "shrink", "mirror", "balance",
      "128", "512", "32768", "1", "2", "3", "4", "6", "0", "copy", "map", "limit", "rate",
      "inflight", "5+5", "999+1", "18446744073709551615", "+", "", "LV-a", "/dev/x", "access"};
  auto any = [&](size_t n) { return random() % n; };
  size_t tables = 0, messages = 0;
  for (int i = 0; i < 40000; i++) {
    std::vector<std::string> args;
    if (i % 4 == 0) args = {"m", "512", "1", "origin", "a"};
    for (size_t n = any(10); n; n--) {
      if (any(4)) {
        args.push_back(words[any(words.size())]);
      } else {
        std::string s(any(80), '\0');
        for (auto& c : s) c = static_cast<char>(1 + any(255));
        args.push_back(s);
      }
    }
    Argv v(args);
    shadow_table t;
    const char* error = nullptr;
    const int r = shadow_parse_table(v.argc(), v.argv(), &t, &error);
    ASSERT_EQ(r == 0, error == nullptr);
    if (error) {
      ASSERT_GT(strlen(error), 10u);
    }
    tables += r == 0;
    shadow_message m;
    error = nullptr;
    const u64 blocks = any(3) ? 1000 : random();
    const int q = shadow_parse_message(v.argc(), v.argv(), blocks, &m, &error);
    ASSERT_EQ(q == 0, error == nullptr);
    messages += q == 0;
    for (unsigned k = 0; q == 0 && k < m.nr_ranges; k++) {
      shadow_range range;
      ASSERT_TRUE(shadow_parse_range(v.argv()[m.first_range + k], blocks, &range));
      ASSERT_LE(range.count, blocks - range.first);
    }
  }
  EXPECT_GT(tables, 10u);  // some were good, or this tested nothing
  EXPECT_GT(messages, 10u);
}

}  // namespace
