// SPDX-License-Identifier: Apache-2.0
// Schedule, folding, percentiles, status lines and reports; the ring itself on a file. Against
// devices: tests/guest/trace_sources.sh.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tools/replay/counters.h"
#include "tools/replay/latency.h"
#include "tools/replay/plan.h"
#include "tools/replay/player.h"
#include "tools/replay/report.h"

namespace shadow::replay {
namespace {

constexpr std::uint64_t kMib = 1u << 20;

pam::Trace TraceOf(std::vector<pam::Request> requests) {
  pam::Trace trace;
  trace.devices = {"0"};
  trace.requests = std::move(requests);
  return trace;
}
PlanOptions Device(std::uint64_t bytes) {
  PlanOptions o;
  o.device_bytes = bytes;
  return o;
}

TEST(Plan, KeepsTheTimesOfTheTraceAndDividesThemBySpeed) {
  const auto trace = TraceOf({{.time_us = 5'000'000, .offset = 0, .length = 4096},
                              {.time_us = 5'000'500, .offset = 8192, .length = 512, .write = true},
                              {.time_us = 7'000'000, .offset = 0, .length = 512}});
  auto o = Device(64 * kMib);
  auto plan = MakePlan(trace, o);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->ios.size(), 3u);
  EXPECT_EQ(plan->ios[0].due_ns, 0);
  EXPECT_EQ(plan->ios[1].due_ns, 500'000);
  EXPECT_TRUE(plan->ios[1].write);
  EXPECT_EQ(plan->span_ns, 2'000'000'000);
  o.speed = 4;
  plan = MakePlan(trace, o);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->ios[1].due_ns, 125'000);
  EXPECT_EQ(plan->span_ns, 500'000'000);
}

TEST(Plan, TakesAPieceOfTheTrace) {
  std::vector<pam::Request> requests;
  for (int i = 0; i < 10; ++i) {
    requests.push_back({.time_us = i * 1'000'000, .length = 512, .write = i % 2 == 1});
  }
  auto o = Device(64 * kMib);
  o.start_s = 2;
  o.duration_s = 3;
  auto plan = MakePlan(TraceOf(requests), o);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->ios.size(), 3u);  // at 2, 3 and 4 s
  EXPECT_EQ(plan->ios[0].due_ns, 0);
  EXPECT_FALSE(plan->ios[0].write);
  o.skip_writes = true;
  plan = MakePlan(TraceOf(requests), o);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->ios.size(), 2u);
  EXPECT_EQ(plan->skipped, 1u);
  o.start_s = 20;
  EXPECT_EQ(MakePlan(TraceOf(requests), o).error().code, Code::kInvalidArgument);
}

TEST(Plan, AlignsAndCuts) {
  auto o = Device(64 * kMib);
  o.align = 4096;
  const auto plan = MakePlan(TraceOf({{.offset = 4000, .length = 200},
                                      {.offset = 512, .length = 512},
                                      {.offset = kMib, .length = 9 * kMib}}),
                             o);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->ios.size(), 5u);
  EXPECT_EQ(plan->requests, 3u);
  EXPECT_EQ(plan->ios[0].offset, 0u);
  EXPECT_EQ(plan->ios[0].length, 8192u);
  EXPECT_EQ(plan->ios[1].length, 4096u);
  EXPECT_EQ(plan->ios[4].offset, 9 * kMib);
  EXPECT_EQ(plan->ios[4].length, kMib);
}

TEST(Plan, FoldsOnlyWhenItIsTold) {
  const auto trace =
      TraceOf({{.offset = 10 * kMib, .length = 4096}, {.offset = 0, .length = 4096}});
  auto o = Device(8 * kMib);
  const auto refused = MakePlan(trace, o);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().hint.find("--offset-fold"), std::string::npos);
  o.fold = true;
  const auto plan = MakePlan(trace, o);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->ios[0].offset, 2 * kMib);
  EXPECT_EQ(plan->folded, 1u);
}

TEST(Plan, LaysDevicesSideBySide) {
  auto trace = TraceOf({{.offset = 3 * kMib, .length = 512, .device = 0},
                        {.offset = 0, .length = 512, .device = 1}});
  trace.devices = {"sda", "sdb"};
  const auto plan = MakePlan(trace, Device(64 * kMib));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->ios[1].offset, 4 * kMib);
}

TEST(Plan, StaysOnTheDeviceWhateverTheTraceSays) {
  EXPECT_TRUE(rc::check("aligned, within the device, ascending, every byte of it", [] {
    auto o = Device(*rc::gen::inRange<std::uint64_t>(4 * kMib, 64 * kMib));
    o.align = 1u << *rc::gen::inRange(9, 13);
    o.fold = true;
    std::vector<pam::Request> requests;
    const auto n = *rc::gen::inRange(1, 50);
    std::int64_t time = 0;
    for (int i = 0; i < n; ++i) {
      time += *rc::gen::inRange(0, 1000);
      requests.push_back({.time_us = time,
                          .offset = *rc::gen::inRange<std::uint64_t>(0, 1ull << 45),
                          .length = *rc::gen::inRange<std::uint32_t>(1, 1u << 30)});
    }
    const auto plan = MakePlan(TraceOf(requests), o);
    RC_ASSERT(plan.ok());
    std::uint64_t bytes = 0, wanted = 0;
    std::int64_t due = 0;
    for (const PlannedIo& io : plan->ios) {
      RC_ASSERT(io.offset % o.align == 0 && io.length % o.align == 0 && io.length > 0);
      RC_ASSERT(io.offset + io.length <= o.device_bytes);
      RC_ASSERT((io.length <= kLargestIo && io.due_ns >= due));
      due = io.due_ns;
      bytes += io.length;
    }
    for (const auto& r : requests) {
      wanted +=
          (r.offset + r.length + o.align - 1) / o.align * o.align - r.offset / o.align * o.align;
    }
    RC_ASSERT(bytes == wanted);
  }));
}

TEST(Plan, RefusesOddOptions) {
  const auto trace = TraceOf({{.length = 512}});
  for (const double speed : {0.0, -1.0, std::nan("")}) {
    auto o = Device(64 * kMib);
    o.speed = speed;
    EXPECT_EQ(MakePlan(trace, o).error().code, Code::kInvalidArgument);
  }
  EXPECT_FALSE(MakePlan(trace, Device(512)).ok());
}

TEST(Latency, PercentilesAreNearestRank) {
  std::vector<std::uint64_t> values(200);
  std::iota(values.rbegin(), values.rend(), 1);
  const Summary s = Summarise(&values);
  EXPECT_EQ(s.count, 200u);
  EXPECT_EQ(s.mean_ns, 100.5);
  EXPECT_EQ(s.p50_ns, 100u);
  EXPECT_EQ(s.p95_ns, 190u);
  EXPECT_EQ(s.p99_ns, 198u);
  EXPECT_EQ(s.max_ns, 200u);
  EXPECT_EQ(Percentile(values, 0), 1u);
  EXPECT_EQ(Percentile(values, 1), 200u);
  EXPECT_EQ(Percentile({7}, 0.99), 7u);
  std::vector<std::uint64_t> none;
  EXPECT_EQ(Summarise(&none).max_ns, 0u);
}

TEST(Counters, ShadowTiersFromTheStatusLine) {
  const auto at = [](const std::string& tail) {
    return *ParseTarget("shadow", "rw steady 1000 128 origin=900 last_error=- " + tail);
  };
  const auto before =
      at("tier1=ok:writeback:50:20:3 tier1_reads=10 tier1_writes=5 promoted=1 "
         "demoted=0 written_back=0");
  const auto after =
      at("tier1=ok:writeback:50:20:3 tier1_reads=40 tier1_writes=7 promoted=4 "
         "demoted=2 written_back=1");
  Plan plan;
  plan.ios = {{.offset = 0, .length = 65536},
              {.offset = 61440, .length = 8192},  // in two blocks
              {.offset = 0, .length = 4096, .write = true}};
  const Difference d = Compare(before, after, plan);
  EXPECT_EQ(d.pieces_read, 3u);
  EXPECT_EQ(d.pieces_written, 1u);
  ASSERT_EQ(d.tiers.size(), 1u);
  EXPECT_EQ(d.tiers[0].reads, 30u);
  EXPECT_EQ(d.tiers[0].writes, 2u);
  EXPECT_EQ(d.promoted, 3u);
  EXPECT_EQ(d.demoted, 2u);
  EXPECT_EQ(d.written_back, 1u);
  EXPECT_EQ(d.block_bytes, 65536u);
}

TEST(Counters, DmCacheFromTheStatusLine) {
  const auto before = ParseTarget("cache",
                                  "8 70/2048 128 16/256 1 2 3 4 5 6 0 1 writethrough 2 "
                                  "migration_threshold 2048 smq 0 rw -");
  const auto after = ParseTarget("cache",
                                 "8 70/2048 128 16/256 11 12 23 24 35 36 0 1 writethrough 2 "
                                 "migration_threshold 2048 smq 0 rw -");
  ASSERT_TRUE(before.ok() && after.ok());
  const Difference d = Compare(*before, *after, {});
  EXPECT_EQ(d.pieces_read, 20u);
  EXPECT_EQ(d.pieces_written, 40u);
  EXPECT_EQ(d.tiers.at(0).reads, 10u);
  EXPECT_EQ(d.tiers.at(0).writes, 20u);
  EXPECT_EQ(d.promoted, 30u);
  EXPECT_EQ(d.demoted, 30u);
  EXPECT_FALSE(d.written_back.has_value());
}

TEST(Counters, OddStatusLinesAreRefused) {
  for (const char* line : {"", "rw steady 1000", "rw steady 1000 0", "rw steady 1000 128 x",
                           "rw steady 1000 99999999999999999999"}) {
    EXPECT_EQ(ParseTarget("shadow", line).error().code, Code::kDataLoss) << line;
  }
  for (const char* line : {"", "Fail", "8 70/2048 128 16/256 1 2 3 4 5",
                           "8 7/2 0 1/2 1 2 3 4 5 6 7", "8 7/2 128 1/2 1 2 3 four 5 6 7"}) {
    EXPECT_EQ(ParseTarget("cache", line).error().code, Code::kDataLoss) << line;
  }
  EXPECT_EQ(ParseTarget("linear", "")->type, "");
}

// A file where the file system has direct I/O; else there is nothing to play on.
class PlayOnAFile : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::path(testing::TempDir()) /
            ("shadow_replay_test." + std::to_string(getpid()));
    std::ofstream(path_) << "x";
    std::filesystem::resize_file(path_, 8 * kMib);
    auto target = Target::Open(path_.string(), true);
    if (!target.ok()) GTEST_SKIP() << target.error().ToString();
    target_ = std::move(*target);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  Plan Make(int n, std::int64_t apart_us) {
    std::vector<pam::Request> requests;
    for (int i = 0; i < n; ++i) {
      requests.push_back({.time_us = i * apart_us,
                          .offset = static_cast<std::uint64_t>(i) * 8192 % (8 * kMib),
                          .length = 4096,
                          .write = i % 2 == 0});
    }
    auto o = Device(target_->bytes());
    o.align = target_->logical_block();
    return *MakePlan(TraceOf(requests), o);
  }
  std::filesystem::path path_;
  std::unique_ptr<Target> target_;
  std::atomic<bool> stop_ = false;
};

TEST_F(PlayOnAFile, SendsEverythingAndNothingBeforeItIsDue) {
  const Plan plan = Make(100, 1000);
  auto outcome = Play(plan, *target_, 4, stop_);
  if (!outcome.ok() && outcome.error().code == Code::kUnavailable) {
    GTEST_SKIP() << outcome.error().ToString();
  }
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->reads.latency_ns.size(), 50u);
  EXPECT_EQ(outcome->writes.latency_ns.size(), 50u);
  EXPECT_EQ(outcome->reads.errors + outcome->writes.errors, 0u);
  EXPECT_EQ(outcome->late_ns.size(), 100u);
  EXPECT_GE(outcome->elapsed_ns, plan.span_ns);
  for (const std::uint64_t late : outcome->late_ns) EXPECT_LT(late, 1ull << 62);  // never early
  const Difference none;
  const ReportInput input{
      .trace = "t", .device = "d", .depth = 4, .plan = &plan, .counters = &none};
  const std::string table = TableReport(input, &*outcome);
  EXPECT_NE(table.find("read, from due"), std::string::npos);
  const auto j = nlohmann::json::parse(JsonReport(input, &*outcome));
  EXPECT_EQ(j["read"]["count"], 50);
  EXPECT_EQ(j["write"]["bytes"], 50 * 4096);
  EXPECT_EQ(j["target"], nullptr);
  EXPECT_GE(j["read"]["response"]["max_us"].get<double>(), j["read"]["max_us"].get<double>());
}

TEST_F(PlayOnAFile, KeepsToItsDepthAndSaysItWasLate) {
  auto outcome = Play(Make(64, 0), *target_, 2, stop_);
  if (!outcome.ok()) GTEST_SKIP() << outcome.error().ToString();
  EXPECT_LE(outcome->most_in_flight, 2u);
  EXPECT_GT(*std::max_element(outcome->late_ns.begin(), outcome->late_ns.end()), 0u);
}

TEST_F(PlayOnAFile, EndsWhenItIsTold) {
  stop_ = true;
  auto outcome = Play(Make(64, 1'000'000), *target_, 2, stop_);
  if (!outcome.ok()) GTEST_SKIP() << outcome.error().ToString();
  EXPECT_TRUE(outcome->interrupted);
  EXPECT_TRUE(outcome->late_ns.empty());
}

TEST_F(PlayOnAFile, CountsErrorsAndGoesOn) {
  Plan plan = Make(4, 0);
  plan.ios[1].offset = 16 * kMib;  // a read beyond the end
  auto outcome = Play(plan, *target_, 4, stop_);
  if (!outcome.ok()) GTEST_SKIP() << outcome.error().ToString();
  EXPECT_EQ(outcome->reads.errors, 1u);
  EXPECT_EQ(outcome->reads.latency_ns.size(), 1u);
  EXPECT_EQ(outcome->writes.latency_ns.size(), 2u);
}

TEST(TargetOpen, RefusesWhatIsNoDevice) {
  EXPECT_EQ(Target::Open("/nonexistent", false).error().code, Code::kNotFound);
  EXPECT_EQ(Target::Open("/dev/null", false).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace shadow::replay
