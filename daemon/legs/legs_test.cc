// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <deque>
#include <map>

#include "daemon/legs/lvm_legs.h"
#include "daemon/legs/lvm_report.h"

namespace shadow {
namespace {

// As LVM 2.03.16 prints it.
constexpr const char* kLvs = R"({"report": [{"lv": [
  {"lv_path":"/dev/slow/db0", "lv_name":"db0", "vg_name":"slow", "lv_uuid":"KuJfu6-aaaa", "lv_size":"268435456", "lv_tags":"", "lv_attr":"-wi-ao----"},
  {"lv_path":"/dev/fast/shadow.db0.target.01234567", "lv_name":"shadow.db0.target.01234567", "vg_name":"fast", "lv_uuid":"Zz-1", "lv_size":"402653184", "lv_tags":"shadow.modification=01234567-x,shadow.role=target,shadow.volume=u1", "lv_attr":"-wi-a-----"}
]}]})";
constexpr const char* kTargetUuid = "Zz-1";
constexpr const char* kVgs =
    R"({"report": [{"vg": [{"vg_name":"slow", "vg_size":"532676608", "vg_free":"264241152", "vg_extent_size":"4194304"},
                           {"vg_name":"fast", "vg_size":"532676608", "vg_free":"532676608", "vg_extent_size":"4194304"}]}]})";

TEST(LvmReport, Reads) {
  auto lvs = ParseLvs(kLvs);
  ASSERT_TRUE(lvs.ok());
  ASSERT_EQ(lvs->size(), 2U);
  EXPECT_EQ(lvs->at(0).size_bytes, 268435456U);
  EXPECT_TRUE(lvs->at(0).open);
  EXPECT_TRUE(lvs->at(1).active && !lvs->at(1).open);
  EXPECT_EQ(lvs->at(1).Tag("shadow.volume"), "u1");
  EXPECT_EQ(lvs->at(1).Tag("shadow.none"), "");
  auto vgs = ParseVgs(kVgs);
  ASSERT_TRUE(vgs.ok());
  EXPECT_EQ(vgs->at(1).free_bytes, 532676608U);
}

TEST(LvmReport, RefusesTheRest) {
  for (const char* bad :
       {"", "{}", "[]", "{\"report\":5}", "{\"report\":[{\"lv\":5}]}",
        "{\"report\":[{\"lv\":[5]}]}", "{\"report\":[{\"lv\":[{}]}]}",
        "{\"report\":[{\"lv\":[{\"lv_name\":\"a\",\"vg_name\":\"b\",\"lv_size\":\"-5\"}]}]}"}) {
    EXPECT_FALSE(ParseLvs(bad).ok()) << bad;
  }
  EXPECT_TRUE(ParseLvs("{\"report\":[{\"lv\":[]}]}")->empty());
}

RC_GTEST_PROP(LvmReport, NoTextCrashesIt, (const std::string& text)) {
  (void)ParseLvs(text);
  (void)ParseVgs("{\"report\":[{\"vg\":[{\"vg_name\":\"" + text + "\"}]}]}");
}

TEST(LvNameFor, NoReservedWords) {
  LegOrder order;
  order.volume = "my_tmeta";
  order.role = "origin";
  order.volume_uuid = "0123456789";
  EXPECT_EQ(LvNameFor(order), "shadow.my.tmeta.origin.01234567");
}

TEST(MetadataBytes, FollowsTheFormat) {
  EXPECT_EQ(MetadataBytes(1), 65536U + 8192);
  EXPECT_EQ(MetadataBytes(4032), 65536U + 8192);
  EXPECT_EQ(MetadataBytes(4033), 65536U + 2 * 8192);
  EXPECT_EQ(TieredMetadataBytes(1008), 65536U + 8192 + 8192);
  EXPECT_EQ(TieredMetadataBytes(4033), 65536U + 2 * 8192 + 5 * 8192);
  EXPECT_GE(TieredMetadataAllocation(1 << 22), TieredMetadataBytes(4U << 22));
  EXPECT_GE(MetadataAllocation(1), 1U << 20);
  EXPECT_GE(MetadataAllocation(1 << 22), MetadataBytes(4U << 22));
}

class ScriptedRunner final : public ProcessRunner {
 public:
  Result<ProcessResult> Run(const std::vector<std::string>& argv, std::int64_t) override {
    std::string line;
    for (const std::string& a : argv) line += (line.empty() ? "" : " ") + a;
    calls.push_back(line);
    const auto it = answers.find(argv[0]);
    return it == answers.end() ? ProcessResult{} : it->second;
  }
  std::vector<std::string> calls;
  std::map<std::string, ProcessResult> answers;
};

class FewDevices final : public BlockDevices {
 public:
  Result<BlockInfo> Describe(const std::string& path) override {
    const auto it = devices.find(path);
    if (it == devices.end()) return MakeError(Code::kNotFound, "There is no device " + path + ".");
    return it->second;
  }
  Status ZeroStart(const std::string&, std::uint64_t, Claim) override { return Ok(); }
  Status Discard(const std::string&) override { return Ok(); }
  Result<DeviceSpeed> Probe(const std::string&, bool) override { return DeviceSpeed{}; }
  Status Backup(const std::string&, std::uint64_t, const std::string&) override { return Ok(); }
  void Add(const std::string& path, std::uint64_t size, std::uint32_t minor,
           const char* used_by = "") {
    BlockInfo i;
    i.path = path;
    i.size_bytes = size;
    i.major = 8;
    i.minor = minor;
    i.used_by = used_by;
    devices[path] = i;
  }
  std::map<std::string, BlockInfo> devices;
};

// /dev/mapper/slow-db0 is the LV slow/db0; what is in FewDevices is a disk with its path as serial.
class FewIdentities final : public Identities {
 public:
  explicit FewIdentities(FewDevices& devices) : devices_(devices) {}
  Result<DeviceIdentity> Identify(const std::string& path) override {
    SHADOW_ASSIGN(const BlockInfo info, devices_.Describe(path));
    DeviceIdentity identity;
    identity.size_bytes = info.size_bytes;
    identity.path = path;
    const bool lv = path.find("db0") != std::string::npos;
    identity.kind = lv ? IdentityKind::kLogicalVolume : IdentityKind::kDisk;
    identity.id = lv ? "KuJfu6-aaaa" : "sn:" + path.substr(5);
    return identity;
  }
  Result<DeviceIdentity> IdentifyNumber(const std::string& number) override {
    return MakeError(Code::kNotFound, "There is no device " + number + ".");
  }
  Result<DeviceIdentity> Resolve(const std::string& id) override {
    return MakeError(Code::kNotFound, "No device " + id + ".");
  }

 private:
  FewDevices& devices_;
};

class LvmLegsTest : public testing::Test {
 protected:
  void SetUp() override {
    runner.answers["lvs"] = {0, kLvs, ""};
    runner.answers["vgs"] = {0, kVgs, ""};
    devices.Add("/dev/slow/db0", 268435456, 1);
    devices.Add("/dev/fast/shadow.db0.target.01234567", 402653184, 2);
    devices.Add("/dev/sda", 1000, 3);
    devices.Add("/dev/sdb", 500, 4);
    devices.Add("/dev/sdc", 100000, 5, "mounted on /");
    devices.Add("/dev/mapper/slow-db0", 268435456, 1);
    LvmOptions o;
    o.classes = {{"hdd", "slow", {}},
                 {"nvme", "fast", {}},
                 {"disks", "", {"/dev/sda", "/dev/sdb", "/dev/sdc"}}};
    o.commands.udev = false;
    legs = MakeLvmLegs(runner, devices, identities, o);
  }
  static Leg Lv(const std::string& uuid) { return {"/dev/x", uuid, "", 0, true}; }
  LegOrder Order() { return {"nvme", 1 << 20, "db0", "u1", "01234567-x", "target"}; }
  ScriptedRunner runner;
  FewDevices devices;
  FewIdentities identities{devices};
  std::unique_ptr<LegProvider> legs;
};

TEST_F(LvmLegsTest, TheSameOrderIsTheSameVolume) {
  auto leg = legs->Make(Order());
  ASSERT_TRUE(leg.ok()) << leg.error().ToString();
  EXPECT_EQ(leg->device, "/dev/fast/shadow.db0.target.01234567");
  EXPECT_EQ(leg->storage_class, "nvme");
  EXPECT_TRUE(leg->made_here);
  for (const std::string& call : runner.calls) EXPECT_EQ(call.find("lvcreate"), std::string::npos);
}

TEST_F(LvmLegsTest, MakesWithTagsAndWithoutUdev) {
  LegOrder order = Order();
  order.modification = "89abcdef-y";
  (void)legs->Make(order);
  std::string made;
  for (const std::string& call : runner.calls) {
    if (call.rfind("lvcreate", 0) == 0) made = call;
  }
  EXPECT_NE(made.find("--size 1048576b"), std::string::npos) << made;
  EXPECT_NE(made.find("--addtag shadow.volume=u1"), std::string::npos);
  EXPECT_NE(made.find("--addtag shadow.modification=89abcdef-y"), std::string::npos);
  EXPECT_NE(made.find("udev_sync=0"), std::string::npos);
  EXPECT_EQ(made.substr(made.rfind(' ') + 1), "fast");
}

TEST_F(LvmLegsTest, SaysWhyLvmRefused) {
  runner.answers["lvcreate"] = {5, "",
                                "  WARNING: x\n  Volume group \"fast\" has insufficient free space "
                                "(1 extents): 2 required.\n"};
  LegOrder order = Order();
  order.modification = "other";
  auto leg = legs->Make(order);
  ASSERT_FALSE(leg.ok());
  EXPECT_EQ(leg.error().code, Code::kOutOfSpace);
  EXPECT_NE(leg.error().message.find("insufficient"), std::string::npos);
  EXPECT_EQ(legs->Make({"tape", 1, "v", "u", "m", "target"}).error().code, Code::kNotFound);
  EXPECT_EQ(legs->Make({"disks", 1, "v", "u", "m", "target"}).error().code, Code::kUnimplemented);
}

TEST_F(LvmLegsTest, DescribesByIdentity) {
  auto lv = legs->Describe("/dev/mapper/slow-db0");
  ASSERT_TRUE(lv.ok());
  EXPECT_EQ(lv->device, "/dev/slow/db0");
  EXPECT_EQ(lv->id, "KuJfu6-aaaa");
  EXPECT_EQ(lv->storage_class, "hdd");
  EXPECT_FALSE(lv->made_here);
  auto plain = legs->Describe("/dev/sda");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->storage_class, "disks");
  EXPECT_EQ(plain->id, "sn:sda");
  EXPECT_FALSE(plain->logical_volume);
  EXPECT_FALSE(legs->Describe("/dev/none").ok());
}

TEST_F(LvmLegsTest, NeverRemovesWhatIsOpenAndForgivesWhatIsGone) {
  EXPECT_EQ(legs->Remove(Lv("KuJfu6-aaaa")).error().code, Code::kFailedPrecondition);
  EXPECT_FALSE(*legs->Remove(Lv("gone")));
  EXPECT_EQ(legs->Remove({"/dev/sda", "id"}).error().code, Code::kFailedPrecondition);
  EXPECT_TRUE(*legs->Remove(Lv(kTargetUuid)));
  EXPECT_NE(runner.calls.back().find("lvremove"), std::string::npos);
  EXPECT_NE(runner.calls.back().find(std::string("lv_uuid=") + kTargetUuid), std::string::npos);
}

// lvremove --yes would take them with it.
TEST_F(LvmLegsTest, LeavesWhatHasSnapshots) {
  runner.answers["lvs"].out = R"({"report": [{"lv": [
    {"lv_path":"/dev/fast/t", "lv_name":"t", "vg_name":"fast", "lv_uuid":"Zz-1", "lv_size":"4096", "lv_tags":"", "lv_attr":"owi-a-s---", "origin":""},
    {"lv_path":"/dev/fast/before_move", "lv_name":"before_move", "vg_name":"fast", "lv_uuid":"Zz-2", "lv_size":"4096", "lv_tags":"", "lv_attr":"swi-a-s---", "origin":"t"}
  ]}]})";
  const auto removed = legs->Remove(Lv(kTargetUuid));
  ASSERT_FALSE(removed.ok());
  EXPECT_EQ(removed.error().code, Code::kFailedPrecondition);
  EXPECT_NE(removed.error().message.find("before_move"), std::string::npos);
  for (const std::string& call : runner.calls) {
    EXPECT_EQ(call.find("lvremove"), std::string::npos) << call;
  }
  EXPECT_TRUE(*legs->Remove(Lv("Zz-2"))) << "a snapshot itself";
}

TEST_F(LvmLegsTest, ReleasesByTakingTagsAndNameAway) {
  ASSERT_TRUE(legs->Release(Lv(kTargetUuid), "db0").ok());
  std::string all;
  for (const std::string& call : runner.calls) all += call + "\n";
  EXPECT_NE(all.find("--deltag shadow.volume=u1"), std::string::npos) << all;
  EXPECT_NE(all.find("--deltag shadow.modification="), std::string::npos) << all;
  EXPECT_NE(all.find("fast shadow.db0.target.01234567 db0"), std::string::npos) << all;
  EXPECT_LT(all.find("--deltag"), all.find("lvrename"));
  runner.calls.clear();
  ASSERT_TRUE(legs->Release(Lv("KuJfu6-aaaa"), "db0").ok());
  for (const std::string& call : runner.calls) EXPECT_EQ(call.find("lvrename"), std::string::npos);
}

TEST_F(LvmLegsTest, FindsWhatWasOrderedAndNothingElse) {
  LegOrder order = Order();
  ASSERT_TRUE(legs->FindMade(order)->has_value());
  EXPECT_EQ((*legs->FindMade(order))->id, kTargetUuid);
  order.volume_uuid = "u2";
  EXPECT_FALSE(legs->FindMade(order)->has_value());
  order = Order();
  order.role = "origin";
  EXPECT_FALSE(legs->FindMade(order)->has_value());
}

TEST_F(LvmLegsTest, ExtendAndReduceAreIdempotent) {
  EXPECT_TRUE(legs->Extend(Lv("KuJfu6-aaaa"), 1000).ok());
  EXPECT_TRUE(legs->Reduce(Lv("KuJfu6-aaaa"), 268435455).ok());
  for (const std::string& call : runner.calls) {
    EXPECT_EQ(call.find("lvextend"), std::string::npos);
    EXPECT_EQ(call.find("lvreduce"), std::string::npos);
  }
  EXPECT_TRUE(legs->Extend(Lv("KuJfu6-aaaa"), 268435457).ok());
  EXPECT_NE(runner.calls.back().find("lvextend"), std::string::npos);
  EXPECT_TRUE(legs->Reduce(Lv("KuJfu6-aaaa"), 4194305).ok());
  EXPECT_NE(runner.calls.back().find("8388608b"), std::string::npos) << "whole extents";
  EXPECT_EQ(legs->Extend({"/dev/sda", "id"}, 5000).error().code, Code::kFailedPrecondition);
}

TEST_F(LvmLegsTest, ListsOnlyTaggedVolumes) {
  auto made = legs->ListMade();
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(made->size(), 1U);
  EXPECT_EQ(made->at(0).volume_uuid, "u1");
  EXPECT_EQ(made->at(0).role, "target");
}

TEST_F(LvmLegsTest, ASampleDeviceStandsForAClass) {
  runner.answers["vgs"] = {0, "  /dev/nvme0n1 \n  /dev/nvme1n1\n", ""};
  EXPECT_EQ(*legs->SampleDevice("nvme"), "/dev/nvme0n1");
  EXPECT_EQ(*legs->SampleDevice("disks"), "/dev/sda");
  runner.answers["vgs"] = {5, "", "  Volume group \"fast\" not found"};
  EXPECT_EQ(legs->SampleDevice("nvme").error().code, Code::kNotFound);
}

TEST_F(LvmLegsTest, ClassesHaveSizes) {
  auto classes = legs->ListClasses();
  ASSERT_TRUE(classes.ok());
  EXPECT_EQ(classes->at(0).free_bytes, 264241152U);
  EXPECT_EQ(classes->at(2).size_bytes, 101500U);
  EXPECT_EQ(classes->at(2).free_bytes, 1500U);
}

// A machine with many volumes comes up with one look and one change.
TEST_F(LvmLegsTest, ManyAreActivatedAtOnce) {
  std::string rows;
  std::vector<Leg> many;
  for (int i = 0; i < 40; ++i) {
    const std::string n = std::to_string(i);
    rows += (i == 0 ? "" : ",") + std::string(R"({"lv_path":"/dev/slow/v)") + n +
            R"(","lv_name":"v)" + n + R"(","vg_name":"slow","lv_uuid":"u)" + n +
            R"(","lv_size":"4096","lv_tags":"","lv_attr":")" +
            (i == 7 ? "-wi-a----k" : "-wi-------") + "\"}";
    many.push_back({"/dev/slow/v" + n, "u" + n, "hdd", 4096, true});
  }
  many.push_back({"/dev/sda", "sn:sda", "", 1, false});
  runner.answers["lvs"] = {0, R"({"report":[{"lv":[)" + rows + "]}]}", ""};
  const auto skipped = legs->ActivateAll(many);
  ASSERT_TRUE(skipped.ok()) << skipped.error().ToString();
  EXPECT_EQ(*skipped, std::vector<std::string>{"u7"});
  ASSERT_EQ(runner.calls.size(), 2U);
  EXPECT_EQ(runner.calls[0].rfind("lvs ", 0), 0U);
  EXPECT_EQ(runner.calls[0].substr(runner.calls[0].rfind(' ')), " slow");
  EXPECT_EQ(runner.calls[1].rfind("lvchange ", 0), 0U);
  EXPECT_NE(runner.calls[1].find(" slow/v39"), std::string::npos);
  EXPECT_EQ(runner.calls[1].find(" slow/v7 "), std::string::npos) << "it is active";
}

TEST_F(LvmLegsTest, NothingIsAskedForWithoutLogicalVolumes) {
  EXPECT_TRUE(legs->ActivateAll({{"/dev/sda", "sn:sda", "", 1, false}})->empty());
  EXPECT_TRUE(runner.calls.empty());
}

// Every group but one can be read: LVM reports those, and ends with status 5.
TEST_F(LvmLegsTest, ABrokenGroupCostsItself) {
  runner.answers["lvs"] = {5, kLvs, "  Volume group \"junk\" metadata is damaged.\n"};
  EXPECT_TRUE(legs->Extend(Lv("KuJfu6-aaaa"), 268435457).ok());
  EXPECT_TRUE(legs->Describe("/dev/mapper/slow-db0").ok());
  EXPECT_TRUE(legs->FindMade(Order())->has_value());
  // What is not found may be in the group that cannot be read: nobody says that it is gone.
  EXPECT_EQ(legs->Remove(Lv("elsewhere")).error().code, Code::kUnavailable);
  LegOrder other = Order();
  other.volume_uuid = "u2";
  EXPECT_EQ(legs->FindMade(other).error().code, Code::kUnavailable);
}

TEST_F(LvmLegsTest, LooksIntoTheGroupsOfTheLegFirst) {
  EXPECT_TRUE(legs->Extend({"/dev/slow/db0", "KuJfu6-aaaa", "hdd", 0, true}, 1).ok());
  ASSERT_EQ(runner.calls.size(), 1U);
  EXPECT_EQ(runner.calls[0].substr(runner.calls[0].rfind(' ')), " slow");
  // Its group has another name now: it is found all the same.
  runner.calls.clear();
  EXPECT_TRUE(legs->Remove({"/dev/before/x", "elsewhere", "", 0, true}).ok());
  ASSERT_EQ(runner.calls.size(), 2U);
  EXPECT_EQ(runner.calls[0].substr(runner.calls[0].rfind(' ')), " before");
  EXPECT_EQ(runner.calls[1].substr(runner.calls[1].rfind(' ')), " " + std::string(kLvsColumns));
}

}  // namespace
}  // namespace shadow
