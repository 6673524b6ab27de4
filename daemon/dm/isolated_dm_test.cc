// SPDX-License-Identifier: Apache-2.0
// Helpers are real processes here; what they call is a device mapper that can hang.
#include "daemon/dm/isolated_dm.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "daemon/base/interrupt.h"
#include "daemon/dm/isolated_io.h"

namespace shadow {
namespace {

// "slow" sleeps until it is killed. "stuck" cannot be killed: a child holds the helper's socket
// open until the test writes to the pipe, as a thread in the kernel would.
class HangingDeviceMapper final : public DeviceMapper {
 public:
  explicit HangingDeviceMapper(std::array<int, 2> gate) : gate_(gate) {}
  Status CheckControl() override { return Ok(); }
  Result<std::string> TargetVersion() override { return std::string("1"); }
  Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                const std::string& params) override {
    return MakeError(Code::kIoError, name + uuid + std::to_string(sectors) + params, "hint");
  }
  Status Load(const std::string&, std::uint64_t, const std::string&) override { return Ok(); }
  Status ClearInactive(const std::string&) override { return Ok(); }
  Status Suspend(const std::string&) override { return Ok(); }
  Status Resume(const std::string&) override { return Ok(); }
  Status Remove(const std::string&) override { return Ok(); }
  Result<std::string> Message(const std::string& name, const std::string& text) override {
    if (name == "dead") _exit(1);
    if (text == "hang" && name == "slow") pause();
    if (text == "hang" && name == "stuck") {
      if (fork() == 0) {
        char byte = 0;
        (void)!read(gate_[0], &byte, 1);
        _exit(0);
      }
      pause();
    }
    return name + " got " + text;
  }
  Result<DmTarget> StatusOf(const std::string&) override { return DmTarget{}; }
  Result<DmTarget> TableOf(const std::string&) override { return DmTarget{}; }
  Result<DmInfo> Info(const std::string&) override { return DmInfo{}; }
  Result<std::vector<DmInfo>> List(const std::string&) override { return std::vector<DmInfo>(); }
  Result<bool> WaitEvent(std::int64_t) override { return false; }

 private:
  std::array<int, 2> gate_;
};

// A disk named "dead" never answers a read.
class DeadDisks final : public DeviceGuard {
 public:
  Result<std::string> UsedBy(const std::string&) override { return std::string(); }
  Result<std::vector<Signature>> Signatures(const std::string& path) override {
    if (path == "/dev/dead") pause();
    if (path == "/dev/none") return MakeError(Code::kNotFound, "There is no /dev/none.", "look");
    return std::vector<Signature>{{"ext4", "a\xff\"b", "u"}, {"gpt", "", ""}};
  }
  Result<std::vector<DeviceBytes>> SignatureBytes(const std::string& path) override {
    if (path == "/dev/dead") pause();
    return std::vector<DeviceBytes>{{1080, "\x53\xef"}, {3, std::string("\0|", 2)}};
  }
  Status WriteBytes(const std::string& path, const std::vector<DeviceBytes>& bytes) override {
    if (path == "/dev/dead") pause();
    return bytes == *SignatureBytes(path) ? Ok() : Status(MakeError(Code::kIoError, "Others."));
  }
  Result<bool> LooksBlank(const std::string& path) override {
    if (path == "/dev/dead") pause();
    return path == "/dev/blank";
  }
  Result<std::vector<StackedDevice>> Stack(const std::string&) override {
    return std::vector<StackedDevice>();
  }
  Result<std::unique_ptr<DeviceHold>> Hold(const std::string&) override {
    return std::unique_ptr<DeviceHold>();
  }
};
class DeadSpeeds final : public BlockDevices {
 public:
  Result<BlockInfo> Describe(const std::string&) override { return BlockInfo{}; }
  Status ZeroStart(const std::string& path, std::uint64_t bytes, Claim /*claim*/) override {
    if (path == "/dev/dead") pause();
    return bytes == 4096 ? Ok() : Status(MakeError(Code::kIoError, "Not so many."));
  }
  Status Discard(const std::string& path) override {
    if (path == "/dev/dead") pause();
    return MakeError(Code::kUnimplemented, path + " cannot discard.");
  }
  Result<DeviceSpeed> Probe(const std::string& path, bool may_write) override {
    if (path == "/dev/dead") pause();
    return DeviceSpeed{1, may_write ? 2U : 0U, 3};
  }
  Status Backup(const std::string& path, std::uint64_t bytes, const std::string& file) override {
    if (path == "/dev/dead") pause();
    return bytes == 8192 && file == "/f" ? Ok() : Status(MakeError(Code::kIoError, "Others."));
  }
};

class IsolatedDm : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(pipe(gate_.data()), 0);
    const std::array<int, 2> gate = gate_;
    nursery_ = DmNursery::Start([gate] {
                 return HelperTools{std::make_unique<HangingDeviceMapper>(gate),
                                    std::make_unique<DeadDisks>(), std::make_unique<DeadSpeeds>()};
               }).value();
    isolation_ = std::make_unique<Isolation>(
        *nursery_, IsolationOptions{.deadline_ms = 200, .parting_ms = 100});
    dm_ = MakeIsolatedDeviceMapper(looks_, *isolation_);
  }
  void TearDown() override {
    dm_.reset();
    for (const int fd : gate_) close(fd);
  }
  void OpenGate() { ASSERT_EQ(write(gate_[1], "x", 1), 1); }

  std::array<int, 2> gate_{};
  HangingDeviceMapper looks_{gate_};
  std::unique_ptr<DmNursery> nursery_;
  std::unique_ptr<Isolation> isolation_;
  std::unique_ptr<DeviceMapper> dm_;
};

TEST_F(IsolatedDm, AnswersAndErrorsComeBackWhole) {
  Isolation waits(*nursery_);
  const auto patient = MakeIsolatedDeviceMapper(looks_, waits);
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(*patient->Message("db0", large), "db0 got " + large);
  const Status refused = dm_->Create("db0", "-u", 7, "p");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kIoError);
  EXPECT_EQ(refused.error().message, "db0-u7p");
  EXPECT_EQ(refused.error().hint, "hint");
  EXPECT_TRUE(dm_->Resume("db0").ok());
}

TEST_F(IsolatedDm, AHelperThatDiesCostsOneCall) {
  const auto lost = dm_->Message("dead", "x");
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, Code::kUnavailable);
  EXPECT_TRUE(dm_->Message("db0", "x").ok());
}

TEST_F(IsolatedDm, AWaitThatCanBeEndedIsEnded) {
  const auto late = dm_->Message("slow", "hang");
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, Code::kUnavailable);
  EXPECT_NE(late.error().message.find("does not answer"), std::string::npos);
  EXPECT_EQ(dm_->Unanswered("slow"), "");
  EXPECT_TRUE(dm_->Message("slow", "again").ok());
}

TEST_F(IsolatedDm, OneThatHangsCostsOneDevice) {
  std::thread sick([&] { EXPECT_FALSE(dm_->Message("stuck", "hang").ok()); });
  // At the same time.
  EXPECT_TRUE(dm_->Message("db1", "x").ok());
  sick.join();
  EXPECT_TRUE(dm_->Message("db1", "x").ok());
  EXPECT_NE(dm_->Unanswered("stuck"), "");
  EXPECT_EQ(dm_->Unanswered("db1"), "");
  // Nothing more is done to it as long as the first change may still be at work.
  const auto begun = std::chrono::steady_clock::now();
  const auto refused = dm_->Message("stuck", "y");
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(100)) << "at once";
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_NE(refused.error().message.find("still in the kernel"), std::string::npos)
      << refused.error().message;
  OpenGate();
  Result<std::string> answer = refused;
  for (int i = 0; i < 10'000 && !answer.ok(); ++i) answer = dm_->Message("stuck", "y");
  EXPECT_TRUE(answer.ok()) << "the device answers again";
}

TEST_F(IsolatedDm, AnInterruptedCallerIsNotKeptWaiting) {
  Isolation waits(*nursery_, {.deadline_ms = 600'000, .parting_ms = 50});
  const auto patient = MakeIsolatedDeviceMapper(looks_, waits);
  Interrupt interrupt;
  std::thread work([&] {
    const InterruptScope scope(&interrupt);
    EXPECT_FALSE(patient->Message("slow", "hang").ok());
  });
  interrupt.Set();
  work.join();
}

TEST_F(IsolatedDm, LooksComeBackWhole) {
  DeadDisks looks;
  DeadSpeeds speeds;
  const auto guard = MakeIsolatedDeviceGuard(looks, *isolation_);
  const auto blocks = MakeIsolatedBlockDevices(speeds, *isolation_);
  const auto found = guard->Signatures("/dev/x");
  ASSERT_TRUE(found.ok()) << found.error().ToString();
  EXPECT_EQ(TypesOf(*found), "ext4,gpt");
  EXPECT_EQ(found->at(0).uuid, "u");
  EXPECT_EQ(guard->Signatures("/dev/none").error().code, Code::kNotFound);
  EXPECT_TRUE(*guard->LooksBlank("/dev/blank"));
  EXPECT_FALSE(*guard->LooksBlank("/dev/x"));
  EXPECT_EQ(*guard->SignatureBytes("/dev/x"), *looks.SignatureBytes("/dev/x"));
  EXPECT_TRUE(guard->WriteBytes("/dev/x", *looks.SignatureBytes("/dev/x")).ok());
  EXPECT_TRUE(blocks->ZeroStart("/dev/x", 4096, Claim::kTake).ok());
  EXPECT_EQ(blocks->Discard("/dev/x").error().code, Code::kUnimplemented);
  EXPECT_TRUE(blocks->Backup("/dev/x", 8192, "/f").ok());
  EXPECT_EQ(blocks->Probe("/dev/x", true)->write_bandwidth, 2U);
  EXPECT_EQ(blocks->Probe("/dev/x", false)->write_bandwidth, 0U);
}

// Its request ends, others go on, and when it answers again it can be looked at.
TEST_F(IsolatedDm, AReadThatNeverReturnsEndsItsRequestOnly) {
  DeadDisks looks;
  DeadSpeeds speeds;
  const auto guard = MakeIsolatedDeviceGuard(looks, *isolation_);
  const auto blocks = MakeIsolatedBlockDevices(speeds, *isolation_);
  EXPECT_EQ(guard->Signatures("/dev/dead").error().code, Code::kUnavailable);
  EXPECT_EQ(guard->LooksBlank("/dev/dead").error().code, Code::kUnavailable);
  EXPECT_EQ(blocks->Probe("/dev/dead", false).error().code, Code::kUnavailable);
  EXPECT_EQ(guard->SignatureBytes("/dev/dead").error().code, Code::kUnavailable);
  EXPECT_EQ(guard->WriteBytes("/dev/dead", {{0, "x"}}).error().code, Code::kUnavailable);
  EXPECT_EQ(blocks->ZeroStart("/dev/dead", 4096, Claim::kTake).error().code, Code::kUnavailable);
  EXPECT_EQ(blocks->Discard("/dev/dead").error().code, Code::kUnavailable);
  EXPECT_EQ(blocks->Backup("/dev/dead", 4096, "/nowhere").error().code, Code::kUnavailable);
  EXPECT_NE(guard->Signatures("/dev/dead").error().message.find("/dev/dead does not answer"),
            std::string::npos);
  EXPECT_TRUE(guard->Signatures("/dev/x").ok());
}

TEST(DeviceBytes, AreReadBackAsTheyWereWritten) {
  const DeviceBytes bytes{1080, std::string("\x53\xef\0z", 4)};
  EXPECT_EQ(FormatBytes(bytes), "1080:53ef007a");
  EXPECT_EQ(ParseBytes(FormatBytes(bytes)), bytes);
  for (const char* text : {"", ":", "x:00", "12", "12:0", "12:0g", "12:0G", "-1:00"}) {
    EXPECT_FALSE(ParseBytes(text)) << text;
  }
}

}  // namespace
}  // namespace shadow
