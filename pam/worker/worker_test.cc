// SPDX-License-Identifier: Apache-2.0
// The worker behind a real socketpair in its own process: rounds, garbage, a kill and a restore.
#include "pam/worker/worker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "pam/v1/worker.pb.h"

namespace shadow::pam {
namespace {

using ::pam::v1::Reply;
using ::pam::v1::Request;

class Process {
 public:
  explicit Process(const std::string& dir) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], 3);
      if (ends[1] == 3) fcntl(3, F_SETFD, 0);
      execl(PAM_WORKER, PAM_WORKER, "3", dir.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    fd_ = ends[0];
  }
  ~Process() {
    if (fd_ >= 0) close(fd_);
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Send(const std::string& bytes) {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void SendFrame(const std::string& body) {
    const auto n = static_cast<std::uint32_t>(body.size());
    Send(std::string(reinterpret_cast<const char*>(&n), 4) + body);
  }
  Reply Receive() {
    std::uint32_t n = 0;
    EXPECT_EQ(recv(fd_, &n, 4, MSG_WAITALL), 4);
    std::string body(n, '\0');
    EXPECT_EQ(recv(fd_, body.data(), n, MSG_WAITALL), static_cast<ssize_t>(n));
    Reply r;
    EXPECT_TRUE(r.ParseFromString(body));
    return r;
  }
  Reply Ask(Request r) {
    if (r.id() == 0) r.set_id(98);  // a reply of nothing at all would have no bytes
    SendFrame(r.SerializeAsString());
    return Receive();
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  /// A line of /proc/PID/status.
  std::string StatusOf(const std::string& key) const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
    }
    return {};
  }
  int ExitCode() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Close() {
    close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
  pid_t pid_ = -1;
};

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pam_worker_test.XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override {
    // The worker made it its user's own; root without every capability may not remove that.
    EXPECT_EQ(chown(dir_.c_str(), geteuid(), getegid()), 0);
    std::filesystem::remove_all(dir_);
  }
  /// What was done until now was done shut in (sandbox_test.cc has what that means).
  static void ExpectShutIn(const Process& p) {
    EXPECT_EQ(p.StatusOf("Seccomp"), "2");
    EXPECT_EQ(p.StatusOf("NoNewPrivs"), "1");
    EXPECT_EQ(p.StatusOf("CapEff"), "0000000000000000");
    EXPECT_NE(p.StatusOf("Uid").substr(0, 2), "0\t");
  }
  static Request Open() {
    Request r;
    r.set_id(1);
    auto* o = r.mutable_open();
    o->set_volume("db0");
    o->set_blocks(10'000);
    o->set_window_us(60'000'000);
    return r;
  }
  static Request Close(std::mt19937* rng, std::uint64_t id) {
    Request r;
    r.set_id(id);
    auto* w = r.mutable_window();
    w->set_volume("db0");
    std::uint32_t previous = 0;
    for (std::uint32_t b = 1; b < 100; ++b) {
      if ((*rng)() % 4 != 0) continue;
      w->add_block_delta(b - previous);
      w->add_count(2);
      w->add_writes(1);
      previous = b;
    }
    w->set_ops(50);
    w->set_bytes(1 << 20);
    return r;
  }
  static Request Ask(Request::KindCase kind) {
    Request r;
    r.set_id(99);
    if (kind == Request::kStatus) r.mutable_status()->set_volume("db0");
    if (kind == Request::kSave) r.mutable_save()->set_volume("db0");
    if (kind == Request::kTrain) r.mutable_train()->set_volume("db0");
    if (kind == Request::kHeat) {
      r.mutable_heat()->set_volume("db0");
      r.mutable_heat()->set_horizon_us(300'000'000);
      r.mutable_heat()->set_most(10);
    }
    return r;
  }
  std::string dir_;
};

TEST_F(WorkerTest, RoundsTrainingHeatAndARestoreAfterAKill) {
  std::mt19937 rng(1);
  std::vector<std::uint32_t> hot;
  {
    Process p(dir_);
    EXPECT_EQ(p.Ask(Open()).error(), "");
    EXPECT_EQ(p.Ask(Open()).error(), "");  // twice: nothing changes
    for (std::uint64_t w = 0; w < 20; ++w) {
      const Reply r = p.Ask(Close(&rng, w + 10));
      ASSERT_EQ(r.error(), "");
      EXPECT_EQ(r.id(), w + 10);
      EXPECT_EQ(r.window().window(), w);
      if (w == 14) {
        EXPECT_EQ(p.Ask(Ask(Request::kTrain)).error(), "");
      }
    }
    ExpectShutIn(p);
    const Reply heat = p.Ask(Ask(Request::kHeat));
    ASSERT_EQ(heat.heat().block_size(), 10);
    for (int i = 0; i < 10; ++i) {
      EXPECT_GT(heat.heat().probability(i), 0);
      EXPECT_LE(heat.heat().probability(i), 1);
      if (i > 0) {
        EXPECT_GE(heat.heat().accesses(i - 1), heat.heat().accesses(i));
      }
      hot.push_back(heat.heat().block(i));
    }
    p.Kill();  // the last snapshot is of window 20 (each fifth)
  }
  Process p(dir_);
  EXPECT_EQ(p.Ask(Open()).error(), "");
  const Reply status = p.Ask(Ask(Request::kStatus));
  EXPECT_TRUE(status.status().restored());
  EXPECT_TRUE(status.status().trained());
  EXPECT_EQ(status.status().ruler_size(), 4);
  const Reply heat = p.Ask(Ask(Request::kHeat));
  EXPECT_EQ(std::vector<std::uint32_t>(heat.heat().block().begin(), heat.heat().block().end()),
            hot);
  EXPECT_EQ(p.Ask(Close(&rng, 7)).window().window(), 20u);
  p.Close();
  EXPECT_EQ(p.ExitCode(), 0);
}

TEST_F(WorkerTest, AVolumeWithoutASnapshotStartsWithItsModelFile) {
  std::mt19937 rng(5);
  AccessModel model([] {
    ModelOptions o;
    o.engine.window_us = 60'000'000;
    o.blocks = 1000;
    return o;
  }());
  for (int w = 0; w < 20; ++w) {
    Window window;
    for (std::uint32_t b = 0; b < 40; ++b) {
      if (b < 10 || rng() % 8 == 0) window.accesses.push_back({b, 1 + b % 3, b % 2});
    }
    window.ops = window.accesses.size();
    ASSERT_TRUE(model.CloseWindow(window).ok());
  }
  ASSERT_TRUE(model.Train().ok());
  {
    std::ofstream file(dir_ + "/db0.model", std::ios::binary);
    file << model.SaveModel();
  }
  Process p(dir_);
  EXPECT_EQ(p.Ask(Open()).error(), "");
  const Reply status = p.Ask(Ask(Request::kStatus));
  EXPECT_TRUE(status.status().trained());
  EXPECT_FALSE(status.status().restored());
  EXPECT_EQ(status.status().known_blocks(), 0u);
}

TEST_F(WorkerTest, AnOpenVolumeIsResizedAndAClosedOneComesBack) {
  std::mt19937 rng(2);
  Process p(dir_);
  EXPECT_EQ(p.Ask(Open()).error(), "");
  for (std::uint64_t w = 0; w < 3; ++w) EXPECT_EQ(p.Ask(Close(&rng, w)).error(), "");
  Request smaller = Open();
  smaller.mutable_open()->set_blocks(10);
  EXPECT_EQ(p.Ask(smaller).error(), "");
  const Reply heat = p.Ask(Ask(Request::kHeat));
  EXPECT_GT(heat.heat().block_size(), 0);
  for (const std::uint32_t block : heat.heat().block()) EXPECT_LT(block, 10u);
  EXPECT_EQ(p.Ask(Open()).error(), "");  // and grown again
  EXPECT_EQ(p.Ask(Close(&rng, 9)).window().window(), 3u);
  Request close;
  close.mutable_close()->set_volume("db0");
  EXPECT_EQ(p.Ask(close).error(), "");
  EXPECT_NE(p.Ask(Ask(Request::kStatus)).error(), "");  // its memory is free
  EXPECT_EQ(p.Ask(Open()).error(), "");
  EXPECT_EQ(p.Ask(Close(&rng, 10)).window().window(), 4u);
}

TEST_F(WorkerTest, ANewVolumeInheritsNothingByItsName) {
  std::mt19937 rng(2);
  Process p(dir_);
  Request first = Open();
  first.mutable_open()->set_identity("first");
  EXPECT_EQ(p.Ask(first).error(), "");
  for (std::uint64_t w = 0; w < 3; ++w) EXPECT_EQ(p.Ask(Close(&rng, w)).error(), "");
  EXPECT_EQ(p.Ask(Ask(Request::kSave)).error(), "");
  Request second = Open();
  second.mutable_open()->set_identity("second");
  EXPECT_EQ(p.Ask(second).error(), "");  // nobody said that the first is gone
  EXPECT_EQ(p.Ask(Ask(Request::kStatus)).status().known_blocks(), 0u);
  EXPECT_EQ(p.Ask(Close(&rng, 9)).window().window(), 0u);
  Request drop;
  drop.mutable_drop()->set_volume("db0");
  EXPECT_EQ(p.Ask(drop).error(), "");
  EXPECT_EQ(p.Ask(drop).error(), "");  // again
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/db0.pam"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/db0.log"));
  // Many volumes that come and go do not fill the worker.
  for (int i = 0; i < 70; ++i) {
    Request open = Open();
    open.mutable_open()->set_volume("v" + std::to_string(i));
    ASSERT_EQ(p.Ask(open).error(), "") << i;
    drop.mutable_drop()->set_volume("v" + std::to_string(i));
    ASSERT_EQ(p.Ask(drop).error(), "");
  }
}

TEST_F(WorkerTest, ItAnswersWhileItLearns) {
  std::mt19937 rng(4);
  Process p(dir_);
  EXPECT_EQ(p.Ask(Open()).error(), "");
  for (std::uint64_t w = 0; w < 15; ++w) EXPECT_EQ(p.Ask(Close(&rng, w)).error(), "");
  // Nobody asked for it: a quarter of an hour is over.
  bool beside = false;
  bool trained = false;
  const time_t end = time(nullptr) + 100;
  while (!trained && time(nullptr) < end) {
    const Reply status = p.Ask(Ask(Request::kStatus));
    trained = status.status().trained();
    beside |= status.status().learning() && !trained;
  }
  EXPECT_TRUE(beside);
  EXPECT_TRUE(trained);
  EXPECT_EQ(p.Ask(Close(&rng, 20)).window().window(), 15u);
}

// As little as shows that it learns and saves there: for a machine where LibTorch is slow
// (tests/guest/systemd_unit.sh).
TEST_F(WorkerTest, ShutInItTrainsAndSaves) {
  std::mt19937 rng(1);
  Process p(dir_);
  EXPECT_EQ(p.Ask(Open()).error(), "");
  // No fewer can be trained on.
  for (std::uint64_t w = 0; w < 4; ++w) EXPECT_EQ(p.Ask(Close(&rng, w)).error(), "");
  EXPECT_EQ(p.Ask(Ask(Request::kTrain)).error(), "");
  EXPECT_EQ(p.Ask(Ask(Request::kSave)).error(), "");
  EXPECT_TRUE(p.Ask(Ask(Request::kStatus)).status().trained());
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/db0.pam"));
  ExpectShutIn(p);
}

TEST_F(WorkerTest, GarbageIsAnsweredOrEndsTheProcessCleanly) {
  Process p(dir_);
  std::mt19937 rng(3);
  for (int i = 0; i < 300; ++i) {
    std::string junk(1 + rng() % 60, '\0');
    for (char& c : junk) c = static_cast<char>(rng());
    p.SendFrame(junk);
    EXPECT_NE(p.Receive().error(), "");
  }
  // Well-formed nonsense.
  Request r = Open();
  r.mutable_open()->set_volume("../../etc/passwd");
  EXPECT_NE(p.Ask(r).error(), "");
  r = Open();
  r.mutable_open()->set_window_us(-5);
  EXPECT_NE(p.Ask(r).error(), "");
  EXPECT_EQ(p.Ask(Open()).error(), "");
  r = Request();
  r.mutable_window()->set_volume("db0");
  r.mutable_window()->add_block_delta(1);
  EXPECT_NE(p.Ask(r).error(), "");  // columns of different length
  r.mutable_window()->add_count(1);
  r.mutable_window()->add_writes(5);
  EXPECT_NE(p.Ask(r).error(), "");  // more writes than accesses
  EXPECT_EQ(p.Ask(Ask(Request::kStatus)).status().known_blocks(), 0u);
  p.Send(std::string("\xff\xff\xff\xff", 4));  // a frame of 4 GiB
  EXPECT_EQ(p.ExitCode(), 1);
}

TEST_F(WorkerTest, ADamagedSnapshotCostsWhatWasLearnedNotTheVolume) {
  const std::string path = dir_ + "/db0.pam";
  FILE* f = fopen(path.c_str(), "wb");
  fputs("SHPS this is no snapshot", f);
  fclose(f);
  Process p(dir_);
  EXPECT_EQ(p.Ask(Open()).error(), "");
  EXPECT_FALSE(p.Ask(Ask(Request::kStatus)).status().restored());
}

}  // namespace
}  // namespace shadow::pam
