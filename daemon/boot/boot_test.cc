// SPDX-License-Identifier: Apache-2.0
// The table of legs, what a superblock says of its volume, and putting it together again. Device
// mapper, identities and LVM are small fakes; metadata lies in files and is the kernel's own
// format.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "daemon/boot/activator.h"
#include "daemon/boot/leg_hider.h"
#include "kernel/core/shadow_state.h"
#include "kernel/core/shadow_tier.h"

namespace shadow {
namespace {

constexpr const char* kLv = "KuJfu6-aaaa-bbbb-cccc-dddd-eeee-ffffff";
constexpr std::uint64_t kBlocks = 40;

class TempDir {
 public:
  TempDir() {
    std::string shape = testing::TempDir() + "bootXXXXXX";
    path_ = mkdtemp(shape.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string path(const std::string& name = "") const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

shadow_superblock Superblock(std::uint32_t phase) {
  shadow_superblock sb{};
  sb.generation = 4;
  sb.phase = phase;
  sb.block_sectors = 128;
  sb.epoch = 3;
  sb.nr_sectors = sb.old_sectors = sb.tracked_sectors = kBlocks * 128;
  std::strcpy(sb.uuid, "0f-uuid");
  std::strcpy(sb.name, "db0");
  sb.legs[SHADOW_LEG_ORIGIN] = {true, sb.nr_sectors, ""};
  std::strcpy(sb.legs[SHADOW_LEG_ORIGIN].id, "sn:a");
  if (phase != SHADOW_STEADY) {
    sb.legs[SHADOW_LEG_TARGET] = {true, sb.nr_sectors, ""};
    std::strcpy(sb.legs[SHADOW_LEG_TARGET].id, kLv);
  }
  return sb;
}

// A metadata device in a file. `home` says where a block is; `dirty` names regions in flight.
std::string WriteMetadata(const std::string& path, shadow_superblock sb,
                          const std::function<int(std::uint64_t)>& home,
                          std::uint8_t dirty_regions = 0, std::uint32_t page_epoch = 3,
                          const std::map<std::uint32_t, std::uint32_t>& slots = {}) {
  std::vector<std::uint8_t> bytes(512 * shadow_metadata_sectors(kBlocks) + 65536);
  if (!slots.empty()) sb.slot_end = shadow_slot_end(bytes.size() / 512);
  shadow_sb_encode(&sb, bytes.data());
  for (unsigned copy = 0; copy < 2; ++copy) {
    std::uint8_t* page = bytes.data() + 512 * shadow_page_sector(0, copy);
    std::memset(shadow_page_homes(page), SHADOW_HOLE, SHADOW_BLOCKS_PER_PAGE);
    for (std::uint64_t b = 0; b < kBlocks; ++b)
      shadow_page_homes(page)[b] = static_cast<std::uint8_t>(home(b));
    shadow_page_intent(page)[0] = dirty_regions;
    const shadow_page_header header{10 + copy, shadow_uuid_tag(sb.uuid), 0, page_epoch};
    shadow_page_seal(page, &header);
    if (slots.empty()) continue;
    std::uint8_t* slot_page = bytes.data() + 512 * shadow_slot_page_sector(sb.slot_end, 0, copy);
    for (const auto& [block, word] : slots) shadow_slot_page_set(slot_page, block, word);
    const shadow_page_header slot_header{10 + copy, shadow_uuid_tag(sb.uuid), 0, 0};
    shadow_slot_page_seal(slot_page, &slot_header);
  }
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return path;
}

class FakeDm final : public DeviceMapper {
 public:
  Status CheckControl() override { return Ok(); }
  Result<std::string> TargetVersion() override { return std::string("1.0.0"); }
  Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                const std::string& params) override {
    if (on_table) on_table();
    info = DmInfo{name, uuid, 253, 0, 0, false, true, false};
    table = {sectors, "shadow", params};
    return Ok();
  }
  Status Load(const std::string&, std::uint64_t sectors, const std::string& params) override {
    if (on_table) on_table();
    next = {sectors, "shadow", params};
    return Ok();
  }
  Status ClearInactive(const std::string&) override { return Ok(); }
  Status Suspend(const std::string&) override { return Ok(); }
  Status Resume(const std::string&) override {
    if (!next.params.empty()) table = next;
    info->suspended = false;
    info->live_table = true;
    return Ok();
  }
  Status Remove(const std::string&) override { return Ok(); }
  Result<std::string> Message(const std::string&, const std::string&) override {
    return std::string();
  }
  Result<DmTarget> StatusOf(const std::string&) override { return table; }
  Result<DmTarget> TableOf(const std::string&) override { return table; }
  Result<DmInfo> Info(const std::string& name) override {
    if (!info || info->name != name) return MakeError(Code::kNotFound, "none");
    return *info;
  }
  Result<std::vector<DmInfo>> List(const std::string&) override {
    return info ? std::vector<DmInfo>{*info} : std::vector<DmInfo>{};
  }
  Result<bool> WaitEvent(std::int64_t) override { return false; }

  std::optional<DmInfo> info;
  DmTarget table, next;
  std::function<void()> on_table;  // a table is about to be put in place
};

class FakeIdentities final : public Identities {
 public:
  Result<DeviceIdentity> Identify(const std::string& path) override {
    for (const auto& [id, d] : devices) {
      if (d.path == path) return d;
    }
    return MakeError(Code::kNotFound, "none");
  }
  Result<DeviceIdentity> IdentifyNumber(const std::string& number) override {
    return MakeError(Code::kNotFound, "There is no device " + number + ".");
  }
  Result<DeviceIdentity> Resolve(const std::string& id) override {
    const auto it = devices.find(id);
    if (it == devices.end()) return MakeError(Code::kNotFound, "none");
    return it->second;
  }
  void Add(const std::string& id, const std::string& path, std::uint64_t sectors = kBlocks * 128,
           IdentityKind kind = IdentityKind::kDisk) {
    DeviceIdentity d;
    d.id = id;
    d.path = path;
    d.kind = kind;
    d.size_bytes = sectors * 512;
    devices[id] = d;
  }
  std::map<std::string, DeviceIdentity> devices;
};

class FakeLvm final : public ProcessRunner {
 public:
  Result<ProcessResult> Run(const std::vector<std::string>& argv, std::int64_t) override {
    std::string line;
    for (const std::string& a : argv) line += a + " ";
    calls.push_back(line);
    if (on_run) on_run(line);
    return ProcessResult{};
  }
  std::vector<std::string> calls;
  std::function<void(const std::string&)> on_run;
};

struct World {
  World() : legs({dir.path("run"), dir.path("etc")}) {}
  Activator Make() { return Activator({&dm, &identities, &lvm, &legs, dir.path("run")}); }
  TempDir dir;
  FakeDm dm;
  FakeIdentities identities;
  FakeLvm lvm;
  LegTables legs;
};

int Origin(std::uint64_t) { return SHADOW_ORIGIN; }
int Mirrored(std::uint64_t) { return SHADOW_MIRRORED; }

// --- the table of legs -------------------------------------------------------------------------

TEST(LegTable, IsReadAsItWasWritten) {
  const std::vector<LegEntry> legs = {{"sn:a", "origin", "u1", "db0"},
                                      {kLv, "target", "u1", "db0"}};
  EXPECT_EQ(ParseLegTable(FormatLegTable(legs)), legs);
  EXPECT_TRUE(ParseLegTable("# x y z\n\nsn:a origin u1\nsn:a o u n extra\n\x01 a b c\n").empty());
}

TEST(LegTable, ChangesOneVolumeInEveryPlace) {
  const TempDir dir;
  const LegTables tables({dir.path("run"), dir.path("etc")});
  ASSERT_TRUE(tables.Set("u1", {{"sn:a", "origin", "u1", "db0"}}).ok());
  ASSERT_TRUE(tables.Set("u2", {{"sn:b", "origin", "u2", "db1"}}).ok());
  ASSERT_TRUE(tables.Set("u1", {{"sn:c", "origin", "u1", "db0"}}).ok());
  for (const char* place : {"run", "etc"}) {
    const auto text = TextOf(dir.path(place) + "/legs");
    EXPECT_EQ(ParseLegTable(text), (std::vector<LegEntry>{{"sn:c", "origin", "u1", "db0"},
                                                          {"sn:b", "origin", "u2", "db1"}}));
    struct stat st {};
    ASSERT_EQ(stat((dir.path(place) + "/legs").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0644U) << "udev's helper and people read it";
  }
  EXPECT_EQ(tables.Read()->size(), 2U) << "each once, though in two files";
  ASSERT_TRUE(tables.Set("u1", {}).ok());
  EXPECT_EQ(tables.Read()->size(), 1U);
}

TEST(LegTable, WhatWasALegStaysHiddenAsAnOldCopy) {
  const TempDir dir;
  const LegTables tables({dir.path("run"), dir.path("etc")});
  ASSERT_TRUE(tables.Set("u1", {{"sn:a", "origin", "u1", "db0"}}).ok());
  ASSERT_TRUE(tables.Update("u1", {{"sn:b", "origin", "u1", "db0"}}).ok());
  ASSERT_TRUE(tables.Update("u1", {{"sn:b", "origin", "u1", "db0"}}).ok());
  EXPECT_EQ(*tables.Read(), (std::vector<LegEntry>{{"sn:a", kOldCopy, "u1", "db0"},
                                                   {"sn:b", "origin", "u1", "db0"}}));
  ASSERT_TRUE(
      tables.Update("u1", {{"sn:a", "target", "u1", "db0"}, {"sn:b", "origin", "u1", "db0"}}).ok());
  EXPECT_EQ(tables.Read()->size(), 2U) << "a leg again";
}

TEST(LegTable, ANameThatDoesNotLastIsForgottenAtTheNextBoot) {
  const TempDir dir;
  const LegTables tables({dir.path("run"), dir.path("etc")});
  ASSERT_TRUE(
      tables.Set("u1", {{"name:nullb0", "origin", "u1", "db0"}, {"sn:a", "target", "u1", "db0"}})
          .ok());
  EXPECT_EQ(ParseLegTable(TextOf(dir.path("run") + "/legs")).size(), 2U);
  EXPECT_EQ(ParseLegTable(TextOf(dir.path("etc") + "/legs")),
            (std::vector<LegEntry>{{"sn:a", "target", "u1", "db0"}}));
}

TEST(LegTable, OneThatCannotBeReadIsNotAnEmptyOne) {
  const TempDir dir;
  ASSERT_TRUE(std::filesystem::create_directories(dir.path("run/legs")));  // EISDIR, as good as EIO
  const LegTables tables({dir.path("run")});
  EXPECT_FALSE(tables.Read().ok());
  EXPECT_FALSE(tables.Set("u1", {{"sn:a", "origin", "u1", "db0"}}).ok())
      << "it would be without the lines of other volumes";
}

TEST(LegTable, TheSecondPlaceMayBeReadOnlyTheFirstMayNot) {
  const TempDir dir;
  std::ofstream(dir.path("file")) << "no directory";
  EXPECT_TRUE(LegTables({dir.path("run"), dir.path("file/x")}).Set("u", {}).ok());
  EXPECT_FALSE(LegTables({dir.path("file/x"), dir.path("run")}).Set("u", {}).ok());
}

// --- superblocks -------------------------------------------------------------------------------

TEST(Superblock, TheNewerOneOfTwoCounts) {
  std::vector<std::uint8_t> bytes(8192);
  shadow_superblock sb = Superblock(SHADOW_STEADY);
  shadow_sb_encode(&sb, bytes.data());
  sb.generation = 5;
  sb.phase = SHADOW_STEADY;
  std::strcpy(sb.name, "db1");
  shadow_sb_encode(&sb, bytes.data() + 4096);
  EXPECT_STREQ(NewestSuperblock(bytes.data())->name, "db1");
  bytes[4096 + 50] ^= 1;  // torn
  EXPECT_STREQ(NewestSuperblock(bytes.data())->name, "db0");
  bytes[50] ^= 1;
  EXPECT_FALSE(NewestSuperblock(bytes.data()));
}

TEST(Superblock, GivesTheTableThatTheKernelTakes) {
  shadow_superblock sb = Superblock(SHADOW_MIGRATING);
  sb.policy = SHADOW_READ_BALANCE;
  sb.legs[SHADOW_LEG_TIER2] = {true, 1000, "t2"};
  sb.writeback = 1U << SHADOW_LEG_TIER2;
  const auto params = BuildTable(TableFor(sb, "/dev/m", {"/dev/a", "-", "-", "/dev/t"}));
  ASSERT_TRUE(params.ok()) << params.error().ToString();
  EXPECT_EQ(*params,
            std::string("/dev/m 128 3 origin /dev/a target - tier2 /dev/t 13 leg_id origin sn:a "
                        "leg_id target ") +
                kLv + " leg_id tier2 t2 writeback tier2 read balance");
  EXPECT_EQ(LegsOf(sb).size(), 3U);
  std::strcpy(sb.name, "two words");
  EXPECT_EQ(LegsOf(sb)[0].volume, "?");
}

TEST(Superblock, OfAGrowingVolumeTheOriginKeepsItsLength) {
  shadow_superblock sb = Superblock(SHADOW_MIGRATING);
  sb.old_sectors = 1024;
  EXPECT_EQ(SectorsNeeded(sb, SHADOW_LEG_ORIGIN), 1024U);
  EXPECT_EQ(SectorsNeeded(sb, SHADOW_LEG_TARGET), sb.nr_sectors);
  EXPECT_EQ(SectorsNeeded(Superblock(SHADOW_STEADY), SHADOW_LEG_ORIGIN), kBlocks * 128);
}

TEST(OnlyCopies, CountsWhatNoOtherLegHas) {
  const TempDir dir;
  const auto count = [&](const shadow_superblock& sb, const std::function<int(std::uint64_t)>& home,
                         int leg, std::uint8_t in_flight = 0, std::uint32_t epoch = 3) {
    const auto only = OnlyCopies(WriteMetadata(dir.path("m"), sb, home, in_flight, epoch), leg);
    EXPECT_TRUE(only.ok());
    return only.ok() ? *only : ~std::uint64_t{0};
  };
  const auto mixed = [](std::uint64_t b) {
    return b < 10 ? SHADOW_TARGET : b < 13 ? SHADOW_ORIGIN : b < 20 ? SHADOW_HOLE : SHADOW_MIRRORED;
  };
  shadow_superblock moving = Superblock(SHADOW_MIGRATING);
  EXPECT_EQ(count(moving, mixed, SHADOW_LEG_TARGET), 10U);
  EXPECT_EQ(count(moving, mixed, SHADOW_LEG_ORIGIN), 3U);
  // A write was under way in blocks 16 to 31 when the power went: 12 of them are mirrored.
  EXPECT_EQ(count(moving, mixed, SHADOW_LEG_ORIGIN, 2), 3U + 12U);
  EXPECT_EQ(count(moving, mixed, SHADOW_LEG_TARGET, 2), 10U);
  shadow_superblock grace = Superblock(SHADOW_GRACE);
  EXPECT_EQ(count(grace, Mirrored, SHADOW_LEG_ORIGIN, 2), 0U);
  EXPECT_EQ(count(grace, Mirrored, SHADOW_LEG_TARGET, 2), 16U);
  grace.flags = SHADOW_SB_CLEAN;
  EXPECT_EQ(count(grace, Mirrored, SHADOW_LEG_TARGET, 2), 0U) << "a clean stop had none under way";
  // A page from before the modification says hole, or origin.
  EXPECT_EQ(count(moving, mixed, SHADOW_LEG_ORIGIN, 0, 2), kBlocks - 7);
  EXPECT_EQ(count(Superblock(SHADOW_STEADY), mixed, SHADOW_LEG_ORIGIN), kBlocks - 7);
}

TEST(OnlyCopies, OfATierAreItsDirtyShadows) {
  const TempDir dir;
  shadow_superblock sb = Superblock(SHADOW_STEADY);
  sb.legs[SHADOW_LEG_TIER1] = {true, 4096, "t1"};
  const std::map<std::uint32_t, std::uint32_t> slots = {
      {1, shadow_word(SHADOW_LEG_TIER1, 0, SHADOW_CLEAN)},
      {2, shadow_word(SHADOW_LEG_TIER1, 1, SHADOW_DIRTY)},
      {3, shadow_word(SHADOW_LEG_TIER1, 2, SHADOW_DIRTY)}};
  const auto home = [](std::uint64_t b) { return b == 3 ? SHADOW_HOLE : SHADOW_ORIGIN; };
  const auto only =
      OnlyCopies(WriteMetadata(dir.path("m"), sb, home, 0, 3, slots), SHADOW_LEG_TIER1);
  ASSERT_TRUE(only.ok()) << only.error().ToString();
  EXPECT_EQ(*only, 1U) << "a hole has no shadow, whatever its word says";
}

// --- putting together --------------------------------------------------------------------------

TEST(Activator, MakesTheDeviceFromItsMetadataAlone) {
  World w;
  const auto meta = WriteMetadata(w.dir.path("m"), Superblock(SHADOW_STEADY), Origin);
  w.identities.Add("sn:a", "/dev/vdq");
  std::vector<LegEntry> hidden;
  w.dm.on_table = [&] { hidden = *w.legs.Read(); };
  const auto done = w.Make().Activate(meta, {});
  ASSERT_TRUE(done.ok()) << done.error().ToString();
  EXPECT_EQ(done->state, Activation::State::kUp);
  EXPECT_TRUE(done->made);
  EXPECT_EQ(w.dm.info->name, "db0");
  EXPECT_EQ(w.dm.info->uuid, "SHADOW-0f-uuid");
  EXPECT_EQ(w.dm.table.sectors, kBlocks * 128) << "from the metadata, not from the leg";
  EXPECT_EQ(w.dm.table.params, meta + " 128 1 origin /dev/vdq 3 leg_id origin sn:a");
  ASSERT_EQ(hidden.size(), 1U) << "hidden before the table";
  const auto again = w.Make().Activate(meta, {});
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->made);
}

TEST(Activator, ActivatesALogicalVolumeThatNobodyElseDoes) {
  World w;
  const auto meta = WriteMetadata(w.dir.path("m"), Superblock(SHADOW_MIGRATING), Mirrored);
  w.identities.Add("sn:a", "/dev/vdq");
  w.lvm.on_run = [&](const std::string& line) {
    EXPECT_NE(line.find("--ignoreactivationskip"), std::string::npos);
    if (line.find(kLv) != std::string::npos) w.identities.Add(kLv, "/dev/fast/t");
  };
  const auto done = w.Make().Activate(meta, {});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->state, Activation::State::kUp);
  EXPECT_NE(w.dm.table.params.find("target /dev/fast/t"), std::string::npos);
}

TEST(Activator, WaitsForALegThatIsMissingTooShortOrNotForSure) {
  World w;
  const auto meta = WriteMetadata(w.dir.path("m"), Superblock(SHADOW_STEADY), Origin);
  const auto waits = [&](const char* why) {
    const auto done = w.Make().Activate(meta, {});
    ASSERT_TRUE(done.ok());
    EXPECT_EQ(done->state, Activation::State::kWaiting);
    ASSERT_EQ(done->missing.size(), 1U);
    EXPECT_NE(done->missing[0].find(why), std::string::npos) << done->missing[0];
    EXPECT_FALSE(w.dm.info);
  };
  waits("is not there");
  w.identities.Add("sn:a", "/dev/vdq", kBlocks * 128 - 1);
  waits("are needed");
  w.identities.Add("sn:a", "/dev/vdq", kBlocks * 128, IdentityKind::kName);
  waits("another device");
}

TEST(Activator, StartsWithoutALegOnlyIfNoBlockNeedsIt) {
  World w;
  w.identities.Add("sn:a", "/dev/vdq");  // the target is missing
  shadow_superblock sb = Superblock(SHADOW_MIGRATING);
  auto meta = WriteMetadata(w.dir.path("m"), sb, Mirrored);
  auto done = w.Make().Activate(meta, {});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->state, Activation::State::kWaiting) << "not unless it is allowed";
  meta = WriteMetadata(w.dir.path("m"), sb,
                       [](std::uint64_t b) { return b == 7 ? SHADOW_TARGET : SHADOW_MIRRORED; });
  done = w.Make().Activate(meta, {.without_missing = true});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->state, Activation::State::kWaiting);
  EXPECT_NE(done->missing.back().find("only current copy of 1 blocks"), std::string::npos);
  meta = WriteMetadata(w.dir.path("m"), sb, Mirrored);
  done = w.Make().Activate(meta, {.without_missing = true});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->state, Activation::State::kUp);
  EXPECT_EQ(done->missing.size(), 1U) << "and says so";
  EXPECT_NE(w.dm.table.params.find("target -"), std::string::npos);
}

TEST(Activator, TakesNothingForMetadataThatIsNone) {
  World w;
  std::ofstream(w.dir.path("zeroes")) << std::string(100000, '\0');
  EXPECT_EQ(w.Make().Activate(w.dir.path("zeroes"), {}).error().code, Code::kNotFound);
  EXPECT_EQ(w.Make().Activate(w.dir.path("gone"), {}).error().code, Code::kNotFound);
  shadow_superblock sb = Superblock(SHADOW_STEADY);
  sb.name[0] = '\0';
  w.identities.Add("sn:a", "/dev/vdq");
  const auto meta = WriteMetadata(w.dir.path("m"), sb, Origin);
  EXPECT_EQ(w.Make().Activate(meta, {}).error().code, Code::kFailedPrecondition);
  EXPECT_TRUE(w.Make().Activate(meta, {.name = "db7"}).ok());
  EXPECT_EQ(w.dm.info->name, "db7");
}

TEST(Activator, KnowsTheUuidOfALogicalVolume) {
  EXPECT_TRUE(IsLvUuid(kLv));
  EXPECT_FALSE(IsLvUuid("sn:a"));
  EXPECT_FALSE(IsLvUuid("KuJfu6-aaaa-bbbb-cccc-dddd-eeee-fffff;"));
}

// --- hiding ------------------------------------------------------------------------------------

TEST(LegHider, HidesEveryLegBeforeTheKernelSeesTheTable) {
  World w;
  LegHider hider(w.legs, w.lvm, {.udev = false});
  const auto dm = HideLegs(w.dm, hider);
  const auto ids = [&] {
    std::string text;
    const auto read = w.legs.Read();
    for (const LegEntry& e : *read) text += e.id + "=" + e.role + " ";
    return text;
  };
  std::string seen;
  w.dm.on_table = [&] { seen = ids(); };
  ASSERT_TRUE(
      dm->Create("db0", "SHADOW-u", 5120, "/dev/m 128 1 origin /dev/a 3 leg_id origin sn:a").ok());
  EXPECT_EQ(seen, "sn:a=origin ");
  EXPECT_TRUE(w.lvm.calls.empty()) << "no logical volume";
  const std::string both = std::string(
                               "/dev/m 128 2 origin /dev/a target /dev/b 6 leg_id origin sn:a "
                               "leg_id target ") +
                           kLv;
  ASSERT_TRUE(dm->Load("db0", 5120, both).ok());
  EXPECT_EQ(seen, std::string("sn:a=origin ") + kLv + "=target ");
  ASSERT_EQ(w.lvm.calls.size(), 1U);
  EXPECT_NE(w.lvm.calls[0].find("--setactivationskip y"), std::string::npos);
  ASSERT_TRUE(dm->Resume("db0").ok());
  ASSERT_TRUE(
      dm->Load("db0", 5120, std::string("/dev/m 128 1 origin /dev/b 3 leg_id origin ") + kLv).ok());
  EXPECT_EQ(seen, std::string("sn:a=origin ") + kLv + "=target ")
      << "the live table still has both";
  ASSERT_TRUE(dm->Resume("db0").ok());
  EXPECT_EQ(ids(), std::string("sn:a=old ") + kLv + "=origin ") << "the old copy stays hidden";
  EXPECT_EQ(w.lvm.calls.size(), 1U) << "once for each leg";
  ASSERT_TRUE(hider.Forget("u").ok());
  EXPECT_EQ(ids(), "");
  ASSERT_EQ(w.lvm.calls.size(), 2U);
  EXPECT_NE(w.lvm.calls[1].find("--setactivationskip n"), std::string::npos) << "LVM's again";
}

TEST(LegHider, AsksLvmForNothingThatIsSo) {
  World w;
  LegHider hider(w.legs, w.lvm, {.udev = false});
  const auto dm = HideLegs(w.dm, hider);
  hider.KnowSkipped({kLv});
  const std::string table = std::string("/dev/m 128 1 origin /dev/b 3 leg_id origin ") + kLv;
  ASSERT_TRUE(dm->Create("db0", "SHADOW-u", 5120, table).ok());
  EXPECT_TRUE(w.lvm.calls.empty());
  ASSERT_TRUE(hider.Forget("u").ok());
  ASSERT_EQ(w.lvm.calls.size(), 1U);
  ASSERT_TRUE(dm->Create("db0", "SHADOW-u", 5120, table).ok());
  ASSERT_EQ(w.lvm.calls.size(), 2U) << "it was taken away meanwhile";
  EXPECT_NE(w.lvm.calls[1].find("--setactivationskip y"), std::string::npos);
}

}  // namespace
}  // namespace shadow
