// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/sizes.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

constexpr std::uint64_t kG = std::uint64_t{1} << 30;

TEST(ParseSize, NumbersAndUnits) {
  EXPECT_EQ(*ParseSize("4096B"), 4096U);
  EXPECT_EQ(*ParseSize("64K"), 65536U);
  EXPECT_EQ(*ParseSize("20GiB"), 20 * kG);
  EXPECT_EQ(*ParseSize(" 20 g "), 20 * kG);
  EXPECT_EQ(*ParseSize("1.5T"), 1536 * kG);
  EXPECT_EQ(*ParseSize("0"), 0U);
  EXPECT_EQ(*ParseSize("512B"), 512U);
  EXPECT_EQ(*ParseSize("20G"), 20 * kG);
  EXPECT_EQ(*ParseSize("20GB"), 20'000'000'000U) << "as dd, truncate and fallocate have it";
  EXPECT_EQ(*ParseSize("1.5kB"), 1500U);
}

TEST(ParseSize, ABareNumberIsAskedAbout) {
  for (const char* bare : {"20", " 4096 ", "1.5", "00001"}) {
    auto r = ParseSize(bare);
    ASSERT_FALSE(r.ok()) << bare;
    EXPECT_NE(r.error().message.find("no unit"), std::string::npos) << r.error().message;
  }
  EXPECT_NE(ParseSize("20").error().hint.find("20G"), std::string::npos);
  for (const char* bare : {"20", "+20", "-20"}) EXPECT_FALSE(ResolveSize(bare, 2 * kG).ok());
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* bad : {"", " ", "G", "-1", "+1", "1GBB", "1BB", "1BiB", "1e9", "0x10", "1.2.3",
                          "1 G G", "nan", "99999999999P", "1Gi", "8E", "9223372036854775808000"}) {
    auto r = ParseSize(bad);
    ASSERT_FALSE(r.ok()) << bad;
    EXPECT_EQ(r.error().code, Code::kInvalidArgument);
    EXPECT_FALSE(r.error().hint.empty());
  }
}

TEST(ParseRate, WithAndWithoutPerSecond) {
  EXPECT_EQ(*ParseRate("100M/s"), 100U << 20);
  EXPECT_EQ(*ParseRate("100M"), 100U << 20);
  EXPECT_FALSE(ParseRate("/s").ok());
}

TEST(ResolveSize, AbsoluteRelativePercent) {
  EXPECT_EQ(*ResolveSize("", 2 * kG), 2 * kG);
  EXPECT_EQ(*ResolveSize("20G", 2 * kG), 20 * kG);
  EXPECT_EQ(*ResolveSize("+50%", 2 * kG), 3 * kG);
  EXPECT_EQ(*ResolveSize("-50%", 2 * kG), kG);
  EXPECT_EQ(*ResolveSize("150%", 2 * kG), 3 * kG);
  EXPECT_EQ(*ResolveSize("+10G", 2 * kG), 12 * kG);
  EXPECT_EQ(*ResolveSize("-1G", 2 * kG), kG);
}

TEST(ResolveSize, Refuses) {
  for (const char* bad :
       {"-2G", "-3G", "-100%", "+", "-", "+-1G", "50%%", "%", "++1G", "+8191.9999999P"}) {
    EXPECT_FALSE(ResolveSize(bad, 2 * kG).ok()) << bad;
  }
}

TEST(FormatSize, ForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1 KiB");
  EXPECT_EQ(FormatSize(kG * 3 / 2), "1.50 GiB");
  EXPECT_EQ(FormatSize(~std::uint64_t{0}), "16 EiB");
}

RC_GTEST_PROP(Sizes, NoTextCrashesTheParsers, (const std::string& text)) {
  auto size = ParseSize(text);
  if (size.ok()) RC_ASSERT(*size <= (std::uint64_t{1} << 63));
  auto resolved = ResolveSize(text, kG);
  if (!resolved.ok()) RC_ASSERT(!resolved.error().message.empty());
}

RC_GTEST_PROP(Sizes, RoundUpIsTheNextMultiple, (std::uint32_t value, std::uint16_t unit)) {
  RC_PRE(unit > 0);
  const std::uint64_t up = RoundUp(value, unit);
  RC_ASSERT(up % unit == 0);
  RC_ASSERT(up >= value);
  RC_ASSERT(up - value < unit);
}

}  // namespace
}  // namespace shadow
