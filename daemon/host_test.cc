// SPDX-License-Identifier: Apache-2.0
#include "daemon/host.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "daemon/sim/sim_world.h"

namespace shadow {
namespace {

class Loader final : public ProcessRunner {
 public:
  explicit Loader(sim::SimWorld* world, bool works) : world_(world), works_(works) {}
  Result<ProcessResult> Run(const std::vector<std::string>& argv, std::int64_t) override {
    calls += argv[0] + " " + argv.back() + "; ";
    if (works_) world_->module_loaded = true;
    return ProcessResult{works_ ? 0 : 1, "",
                         works_ ? "" : "modprobe: FATAL: Module dm_shadow not found"};
  }
  std::string calls;

 private:
  sim::SimWorld* world_;
  bool works_;
};

TEST(FindGroup, KnowsTheMachinesGroups) {
  EXPECT_FALSE(FindGroup("")->has_value());
  EXPECT_EQ(FindGroup("root").value(), gid_t{0});
  EXPECT_EQ(FindGroup("no-such-group-here").error().code, Code::kNotFound);
}

TEST(EnsureModule, LoadsOnlyWhatIsMissing) {
  sim::SimWorld world;
  Loader loader(&world, true);
  EXPECT_TRUE(EnsureModule(world.dm(), loader, "").ok());
  EXPECT_EQ(loader.calls, "");
  world.module_loaded = false;
  EXPECT_TRUE(EnsureModule(world.dm(), loader, "").ok());
  EXPECT_EQ(loader.calls, "modprobe dm_shadow; ");
  world.module_loaded = false;
  loader.calls.clear();
  EXPECT_TRUE(EnsureModule(world.dm(), loader, "/x/dm-shadow.ko").ok());
  EXPECT_NE(loader.calls.find("/x/dm-shadow.ko"), std::string::npos);
}

TEST(EnsureModule, AMissingModuleIsSaid) {
  sim::SimWorld world;
  world.module_loaded = false;
  Loader loader(&world, false);
  const Status s = EnsureModule(world.dm(), loader, "");
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().code, Code::kUnavailable);
  EXPECT_NE(s.error().message.find("not found"), std::string::npos);
  EXPECT_FALSE(s.error().hint.empty());
}

TEST(LockStateDirectory, OneDaemonADirectory) {
  std::string pattern = std::filesystem::temp_directory_path() / "shadow-lock-XXXXXX";
  const std::string dir = mkdtemp(pattern.data());
  ASSERT_TRUE(LockStateDirectory(dir + "/a/b").ok());
  const Status second = LockStateDirectory(dir + "/a/b");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kFailedPrecondition);
  EXPECT_FALSE(LockStateDirectory("/proc/none/here").ok());
  std::filesystem::remove_all(dir);
}

TEST(LockStateDirectory, ChangesNoDirectoryThatItDidNotMake) {
  namespace fs = std::filesystem;
  std::string pattern = fs::temp_directory_path() / "shadow-lock-XXXXXX";
  const std::string dir = mkdtemp(pattern.data());
  fs::permissions(dir, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec);
  ASSERT_TRUE(LockStateDirectory(dir).ok());
  EXPECT_EQ(fs::status(dir).permissions(),
            fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec);
  EXPECT_TRUE(fs::is_empty(dir));
  ASSERT_TRUE(LockStateDirectory(dir + "/made").ok());
  EXPECT_EQ(fs::status(dir + "/made").permissions(), fs::perms::owner_all);
  const auto before = fs::status("/tmp").permissions();
  const Status shared = LockStateDirectory("/tmp");
  ASSERT_FALSE(shared.ok()) << "anybody could have put a state file there";
  EXPECT_EQ(shared.error().code, Code::kPermissionDenied);
  EXPECT_EQ(fs::status("/tmp").permissions(), before);
  fs::remove_all(dir);
}

}  // namespace
}  // namespace shadow
