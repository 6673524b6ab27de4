// SPDX-License-Identifier: Apache-2.0
// What shadowctl prints: units, tables, the progress line at several widths.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tools/shadowctl/format_table.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/progress.h"
#include "tools/shadowctl/table.h"

namespace shadow::ctl {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

v1::Modification Copying() {
  v1::Modification m;
  m.set_id("m1");
  m.set_volume("db0");
  m.set_phase(v1::PHASE_COPYING);
  m.set_total_bytes(10 * kGiB);
  m.set_done_bytes(4 * kGiB + kGiB / 2);
  m.set_rate_bytes_per_second(312 << 20);
  m.mutable_eta()->set_seconds(18);
  m.mutable_app_latency()->set_p50_us(800);
  m.mutable_app_latency()->set_p99_us(2400);
  m.mutable_app_latency()->set_baseline_p50_us(700);
  m.mutable_app_latency()->set_baseline_p99_us(2000);
  return m;
}

Terminal Plain() {
  Terminal t;
  t.is_terminal = true;
  return t;
}

TEST(HumanizeTest, Durations) {
  EXPECT_EQ(*ParseDuration("0"), 0);
  EXPECT_EQ(*ParseDuration("90"), 90'000);
  EXPECT_EQ(*ParseDuration("10m"), 600'000);
  EXPECT_EQ(*ParseDuration("1h30m"), 5'400'000);
  EXPECT_EQ(*ParseDuration("365d"), std::int64_t{365} * 86'400'000);
  for (const char* bad : {"", "m", "5x", "-1s", "1.5h", "366d", "1h30", "99999999999999999999s",
                          "1 h", "9223372036854775807d"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
  EXPECT_EQ(FormatDuration(400), "0.4 s");
  EXPECT_EQ(FormatDuration(38'900), "38 s");
  EXPECT_EQ(FormatDuration(125'000), "2 min 5 s");
  EXPECT_EQ(FormatDuration(3'725'000), "1 h 2 min");
  EXPECT_EQ(FormatDuration(360'000'000), "4 d 4 h");
  EXPECT_EQ(FormatDuration(-5), "0.0 s");
  EXPECT_EQ(FormatClock(38'000), "0:38");
  EXPECT_EQ(FormatClock(725'000), "12:05");
  EXPECT_EQ(FormatClock(3'723'000), "1:02:03");
  EXPECT_EQ(FormatClock(-1), "0:00");
}

TEST(HumanizeTest, Numbers) {
  EXPECT_EQ(FormatLatency(0), "-");
  EXPECT_EQ(FormatLatency(850), "850 us");
  EXPECT_EQ(FormatLatency(2449), "2.4 ms");
  EXPECT_EQ(FormatLatency(250'000), "250 ms");
  EXPECT_EQ(FormatLatency(1'234'000), "1.23 s");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1'234'567), "1,234,567");
  EXPECT_EQ(FormatPart(3 * kGiB, 8 * kGiB), "3.00/8.00 GiB");
  EXPECT_EQ(FormatPart(1, 500 * kGiB), "0/500 GiB");
  EXPECT_EQ(FormatPart(1, 2), "1/2 B");
  EXPECT_EQ(Percent(0, 0), 100);
  EXPECT_EQ(Percent(999, 1000), 99);
}

TEST(HumanizeTest, Times) {
  google::protobuf::Timestamp t;
  t.set_seconds(1'700'000'000);
  t.set_nanos(250'000'000);
  EXPECT_EQ(FormatTimeUtc(t), "2023-11-14T22:13:20.250Z");
}

TEST(ElideTest, KeepsBothEnds) {
  EXPECT_EQ(ElideMiddle("abcdef", 6), "abcdef");
  EXPECT_EQ(ElideMiddle("abcdefghij", 7), "ab...ij");
  EXPECT_EQ(ElideMiddle("abcdefghij", 2), "ab");
  EXPECT_EQ(ElideMiddle("abcdefghij", 0), "");
}

TEST(ProgressTest, FitsTheTerminal) {
  const v1::Modification m = Copying();
  EXPECT_EQ(ProgressLine(m, Plain(), 40, 0), "db0  copying  [###....]   45%  ETA 0:18");
  EXPECT_EQ(ProgressLine(m, Plain(), 80, 0),
            "db0  copying  [####......]   45%  4.5/10.0 GiB  312 MiB/s  ETA 0:18  p99 2.4 ms");
  EXPECT_EQ(ProgressLine(m, Plain(), 120, 0),
            "db0  copying  [######.........]   45%  4.5/10.0 GiB  312 MiB/s  ETA 0:18  "
            "p50 800 us p99 2.4 ms (before 700 us, 2.0 ms)");
}

TEST(ProgressTest, NeverWraps) {
  std::vector<v1::Modification> states;
  for (int phase = 0; phase <= v1::PHASE_FAILED; ++phase) {
    v1::Modification m = Copying();
    m.set_phase(static_cast<v1::Phase>(phase));
    m.mutable_grace_end_time()->set_seconds(600);
    states.push_back(m);
    m.set_volume(std::string(64, 'v'));
    m.clear_eta();
    states.push_back(m);
    m.set_total_bytes(0);
    states.push_back(m);
    m.set_total_bytes(~std::uint64_t{0});
    m.set_done_bytes(~std::uint64_t{0} - 1);
    m.set_rate_bytes_per_second(~std::uint64_t{0});
    m.mutable_app_latency()->set_p99_us(~std::uint64_t{0});
    states.push_back(m);
  }
  for (const bool utf8 : {false, true}) {
    Terminal t = Plain();
    t.utf8 = utf8;
    for (const v1::Modification& m : states) {
      for (int width = 1; width < 200; ++width) {
        const std::string line = ProgressLine(m, t, width, 0);
        EXPECT_LE(Columns(line), std::max(width - 1, 1)) << line;
        EXPECT_EQ(line.find('\n'), std::string::npos);
      }
    }
  }
}

TEST(ProgressTest, ColoursAddNoColumns) {
  Terminal colours = Plain();
  colours.colours = true;
  std::string line = ProgressLine(Copying(), colours, 100, 0);
  EXPECT_THAT(line, HasSubstr("\x1b["));
  for (std::size_t at; (at = line.find('\x1b')) != std::string::npos;) {
    line.erase(at, line.find('m', at) - at + 1);
  }
  EXPECT_EQ(line, ProgressLine(Copying(), Plain(), 100, 0));
}

TEST(ProgressTest, LatencyTurnsRedWhenItDoubles) {
  Terminal colours = Plain();
  colours.colours = true;
  v1::Modification m = Copying();
  m.mutable_app_latency()->set_p99_us(2000);
  EXPECT_THAT(ProgressLine(m, colours, 100, 0), HasSubstr("\x1b[32mp99 2.0 ms"));
  m.mutable_app_latency()->set_p99_us(2600);
  EXPECT_THAT(ProgressLine(m, colours, 100, 0), HasSubstr("\x1b[33mp99 2.6 ms"));
  m.mutable_app_latency()->set_p99_us(5000);
  EXPECT_THAT(ProgressLine(m, colours, 100, 0), HasSubstr("\x1b[31mp99 5.0 ms"));
}

TEST(ProgressTest, BarFillsByEighths) {
  Terminal t = Plain();
  t.utf8 = true;
  v1::Modification m = Copying();
  m.set_done_bytes(0);
  EXPECT_THAT(ProgressLine(m, t, 80, 0), Not(HasSubstr("█")));
  m.set_done_bytes(m.total_bytes());
  EXPECT_THAT(ProgressLine(m, t, 80, 0), Not(HasSubstr("░")));
}

TEST(ProgressTest, Grace) {
  v1::Modification m = Copying();
  m.set_phase(v1::PHASE_GRACE);
  m.mutable_grace_end_time()->set_seconds(1000);
  EXPECT_EQ(ProgressLine(m, Plain(), 40, 417'000), "db0  grace  9:43 left  p99 2.4 ms");
  EXPECT_THAT(ProgressLine(m, Plain(), 120, 417'000), HasSubstr("`op rollback` goes back"));
}

TEST(ProgressTest, PlansInWords) {
  v1::Plan p;
  p.set_volume("db0");
  p.set_from("hdd");
  p.set_to("nvme");
  p.set_old_size_bytes(10 * kGiB);
  p.set_new_size_bytes(15 * kGiB);
  EXPECT_EQ(PlanSentence(p), "db0 moves from hdd to nvme and grows from 10 GiB to 15 GiB");
  p.set_to("hdd");
  p.set_new_size_bytes(5 * kGiB);
  EXPECT_EQ(PlanSentence(p), "db0 shrinks from 10 GiB to 5 GiB");
  p.set_new_size_bytes(10 * kGiB);
  EXPECT_EQ(PlanSentence(p), "db0 stays as it is");
}

TEST(TableTest, Aligns) {
  Table table({"NAME", ">SIZE", "X"});
  table.Add({"a", "1 B", ""});
  table.Add({"longer", "100 GiB", "y"});
  std::ostringstream out;
  table.Print(out, Plain());
  EXPECT_EQ(out.str(),
            "NAME       SIZE  X\n"
            "a           1 B  -\n"
            "longer  100 GiB  y\n");
}

TEST(TableTest, NothingToShowIsSaid) {
  std::ostringstream out;
  PrintVolumes(out, Plain(), {});
  PrintClasses(out, Plain(), {});
  PrintModifications(out, Plain(), {});
  EXPECT_THAT(out.str(), HasSubstr("There are no volumes."));
  EXPECT_THAT(out.str(), HasSubstr("There are no storage classes."));
  EXPECT_THAT(out.str(), HasSubstr("There are no modifications."));
}

TEST(TableTest, TroubleIsShown) {
  v1::Volume v;
  v.set_name("db0");
  v.set_metadata("/dev/m");
  std::ostringstream out;
  v.mutable_kernel()->set_mode(v1::VOLUME_MODE_READ_ONLY);
  v.mutable_kernel()->set_needs_check(true);
  v.mutable_kernel()->set_copy_errors(3);
  v.mutable_kernel()->set_failovers(2);
  v.mutable_kernel()->set_last_error("write:target:17");
  PrintVolume(out, Plain(), v);
  for (const char* text : {"read-only", "shadow_check on /dev/m", "Copy errors", "write:target:17",
                           "Reads failed over"}) {
    EXPECT_THAT(out.str(), HasSubstr(text));
  }
}

}  // namespace
}  // namespace shadow::ctl
