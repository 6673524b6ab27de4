// SPDX-License-Identifier: Apache-2.0
#include "daemon/legs/lvm_commands.h"

#include <gtest/gtest.h>

#include <deque>

namespace shadow {
namespace {

// Answers each command with the next answer that was prepared for it, and keeps the last.
class Script final : public ProcessRunner {
 public:
  Result<ProcessResult> Run(const std::vector<std::string>& argv, std::int64_t) override {
    std::string line;
    for (const std::string& a : argv) line += (line.empty() ? "" : " ") + a;
    calls.push_back(line);
    std::deque<Result<ProcessResult>>& next = answers[argv[0]];
    if (next.empty()) return ProcessResult{};
    Result<ProcessResult> answer = next.front();
    if (next.size() > 1) next.pop_front();
    return answer;
  }
  [[nodiscard]] int Count(const std::string& part) const {
    int n = 0;
    for (const std::string& c : calls) n += c.find(part) != std::string::npos ? 1 : 0;
    return n;
  }
  std::vector<std::string> calls;
  std::map<std::string, std::deque<Result<ProcessResult>>> answers;
};

std::string OneVolume(const char* attributes) {
  return std::string(R"({"report":[{"lv":[{"lv_path":"/dev/fast/db0","lv_name":"db0",)") +
         R"("vg_name":"fast","lv_uuid":"u","lv_size":"1","lv_tags":"","lv_attr":")" + attributes +
         "\"}]}]}";
}

TEST(LvmCommands, TheUsersReportSettingsChangeNothing) {
  Script script;
  LvmCommands lvm(script, {});
  (void)lvm.Volumes({"fast"});
  ASSERT_EQ(script.calls.size(), 1U);
  for (const char* setting : {"prefixes=0", "list_item_separator=\",\"", "columns_as_rows=0"}) {
    EXPECT_NE(script.calls[0].find(setting), std::string::npos) << script.calls[0];
  }
  EXPECT_EQ(script.calls[0].substr(script.calls[0].size() - 5), " fast");
}

TEST(LvmCommands, OurVolumesAreLeftOutAndTheUsersFilterStays) {
  Script script;
  script.answers["lvmconfig"] = {ProcessResult{0, "filter=[\"a|/dev/sd|\",\"r|.*|\"]\n", ""}};
  LvmCommands lvm(script, {true, [] { return std::vector<std::string>{"/dev/mapper/a.b"}; }});
  (void)lvm.Volumes({"fast"});
  (void)lvm.Volumes({"fast"});
  EXPECT_EQ(script.Count("filter=[\"r|^/dev/mapper/a[.]b$|\",\"a|/dev/sd|\",\"r|.*|\"]"), 2);
  EXPECT_EQ(script.Count("lvmconfig"), 1) << "asked once";
}

TEST(LvmCommands, NoFilterWithoutVolumes) {
  Script script;
  LvmCommands lvm(script, {true, [] { return std::vector<std::string>(); }});
  (void)lvm.Groups({"fast"});
  EXPECT_EQ(script.Count("filter"), 0);
}

TEST(LvmCommands, WhatAKilledCommandLeftSuspendedIsResumed) {
  Script script;
  script.answers["lvextend"] = {ProcessResult{128 + 9, "", ""}, ProcessResult{}};
  script.answers["lvs"] = {ProcessResult{0, OneVolume("-wi-s-----"), ""},
                           ProcessResult{0, OneVolume("-wi-a-----"), ""}};
  LvmCommands lvm(script, {});
  EXPECT_FALSE(lvm.Run({"lvextend", "--size", "1b", "fast/db0"}, "extend fast/db0").ok());
  EXPECT_EQ(script.Count("--refresh"), 0);
  EXPECT_TRUE(lvm.Volumes({"fast"}).ok());
  EXPECT_EQ(script.Count("--refresh fast/db0"), 1);
  EXPECT_TRUE(lvm.Volumes({"fast"}).ok());
  EXPECT_EQ(script.Count("--refresh"), 1) << "once";
}

TEST(LvmCommands, AnEndWithAnErrorLeavesNothingSuspended) {
  Script script;
  script.answers["lvextend"] = {ProcessResult{5, "", "full"}};
  script.answers["lvs"] = {ProcessResult{0, OneVolume("-wi-a-----"), ""}};
  LvmCommands lvm(script, {});
  EXPECT_FALSE(lvm.Run({"lvextend", "fast/db0"}, "extend fast/db0").ok());
  EXPECT_TRUE(lvm.Volumes({"fast"}).ok());
  EXPECT_EQ(script.calls.size(), 2U);
}

TEST(LvmCommands, AGroupThatIsMissingCostsItself) {
  Script script;
  const std::string one =
      R"({"report":[{"vg":[{"vg_name":"fast","vg_size":"4","vg_free":"1","vg_extent_size":"1"}]}]})";
  script.answers["vgs"] = {
      ProcessResult{5, one, "  Volume group \"slow\" not found\n"},
      ProcessResult{5, R"({"report":[{"vg":[]}]})", "  Volume group \"x\" not found\n"},
      ProcessResult{5, R"({"report":[{"vg":[]}]})", "  /run/lock/lvm: Permission denied\n"}};
  LvmCommands lvm(script, {});
  EXPECT_EQ(lvm.Groups({"fast", "slow"})->size(), 1U);
  EXPECT_TRUE(lvm.Groups({"x"})->empty());
  EXPECT_FALSE(lvm.Groups({"x"}).ok());
}

}  // namespace
}  // namespace shadow
