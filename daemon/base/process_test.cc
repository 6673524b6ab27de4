// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/process.h"

#include <gtest/gtest.h>

namespace shadow {
namespace {

constexpr std::int64_t kLong = 20'000;

TEST(Process, CapturesBothStreamsAndTheExitCode) {
  RealProcessRunner runner;
  auto r = runner.Run({"sh", "-c", "echo out; echo err >&2; exit 3"}, kLong);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->exit_code, 3);
  EXPECT_EQ(r->out, "out\n");
  EXPECT_EQ(r->err, "err\n");
}

TEST(Process, NoShellLooksAtTheArguments) {
  RealProcessRunner runner;
  auto r = runner.Run({"printf", "%s", "$(id); `id`"}, kLong);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "$(id); `id`");
}

TEST(Process, LargeOutputDoesNotBlock) {
  RealProcessRunner runner;
  auto r = runner.Run({"head", "-c", "3000000", "/dev/zero"}, kLong);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out.size(), 3'000'000U);
}

TEST(Process, WhatDoesNotExistIsUnavailable) {
  RealProcessRunner runner;
  auto r = runner.Run({"/does/not/exist"}, kLong);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Code::kUnavailable);
  EXPECT_NE(r.error().message.find("/does/not/exist"), std::string::npos);
}

TEST(Process, ADeadlineEndsIt) {
  RealProcessRunner runner;
  auto r = runner.Run({"sleep", "1000"}, 50);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Code::kIoError);
}

TEST(Process, ASignalIsAnExitCode) {
  RealProcessRunner runner;
  auto r = runner.Run({"sh", "-c", "kill -9 $$"}, kLong);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->exit_code, 128 + 9);
}

TEST(FirstComplaint, SkipsNoise) {
  EXPECT_EQ(FirstComplaint({5, "", "  WARNING: old lock\n\n  Volume group \"x\" not found\nmore"}),
            "Volume group \"x\" not found");
  EXPECT_EQ(FirstComplaint({1, "", "resize2fs 1.47.0 (5-Feb-2023)\nPlease run e2fsck first.\n"}),
            "Please run e2fsck first.");
  EXPECT_EQ(FirstComplaint({5, "", ""}), "exit code 5");
  EXPECT_EQ(FirstComplaint({1, "only stdout\n", " \n"}), "only stdout");
}

}  // namespace
}  // namespace shadow
