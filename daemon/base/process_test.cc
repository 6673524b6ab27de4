// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>

#include "daemon/base/interrupt.h"

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

std::int64_t MsOf(const std::function<void()>& f) {
  const auto begun = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begun)
      .count();
}

// As LVM does in its critical section: SIGTERM is put off, then obeyed.
TEST(Process, WhoPutsOffItsEndIsWaitedForAndNotKilled) {
  RealProcessRunner runner;
  const std::string file = testing::TempDir() + "put-off-" + std::to_string(getpid());
  auto r = runner.Run({"sh", "-c",
                       "trap 'late=1' TERM; while [ -z \"$late\" ]; do sleep 0.01; done; "
                       "echo whole >'" +
                           file + "'"},
                      100);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Code::kIoError);
  EXPECT_NE(r.error().message.find("was stopped"), std::string::npos) << r.error().message;
  EXPECT_EQ(std::remove(file.c_str()), 0) << "it could finish what it was at";
}

TEST(Process, OneThatDoesNotEndIsGivenUpAndTold) {
  RealProcessRunner runner(100);
  Result<ProcessResult> r = MakeError(Code::kInternal, "");
  const std::int64_t took = MsOf([&] {
    r = runner.Run({"sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"}, 50);
  });
  EXPECT_LT(took, 5'000) << "no wait without a bound";
  ASSERT_FALSE(r.ok());
  const std::string& said = r.error().message;
  const std::size_t at = said.find("process ");
  ASSERT_NE(at, std::string::npos) << said;
  const pid_t pid = std::stoi(said.substr(at + 8));
  ASSERT_EQ(kill(pid, 0), 0) << "it is left alone";
  ASSERT_EQ(kill(-pid, SIGKILL), 0);
  // The next command reaps it.
  for (int i = 0; i < 10'000 && kill(pid, 0) == 0; ++i) (void)runner.Run({"true"}, kLong);
  EXPECT_NE(kill(pid, 0), 0);
}

TEST(Process, WhatIsLeftBehindIsNotWaitedFor) {
  RealProcessRunner runner;
  Result<ProcessResult> r = MakeError(Code::kInternal, "");
  const std::int64_t took = MsOf([&] {
    r = runner.Run({"sh", "-c", "sleep 1000 & echo $!"}, kLong);
  });
  EXPECT_LT(took, 10'000) << "a daemon that a program starts holds its output open";
  ASSERT_TRUE(r.ok());
  (void)kill(std::stoi(r->out), SIGKILL);
}

TEST(Process, AnInterruptEndsTheWait) {
  RealProcessRunner runner;
  Interrupt interrupt;
  interrupt.Set();
  const InterruptScope scope(&interrupt);
  const auto r = runner.Run({"sleep", "1000"}, 1'000'000);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Code::kUnavailable);
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
