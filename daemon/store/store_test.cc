// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/store.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "daemon/store/codec.h"
#include "daemon/store/schema.h"
#include "daemon/store/sqlite.h"

namespace shadow {
namespace {

VolumeRecord AVolume(const std::string& name) {
  VolumeRecord v;
  v.name = name;
  v.uuid = "u-" + name;
  v.state = VolumeState::kActive;
  v.origin = Leg{"/dev/a", "A-" + name, "hdd", 1 << 20, true, false};
  v.metadata.device = "/dev/m";
  v.sectors = 2048;
  v.imported = true;
  v.created_ms = 5;
  return v;
}

ModificationRecord AModification(const std::string& id) {
  ModificationRecord m;
  m.id = id;
  m.volume = "db0";
  m.request.volume = "db0";
  m.request.request_id = "r-" + id;
  m.request.retire = Retire::kCold;
  m.plan.steps = {"one", "two"};
  m.plan.warnings = {"careful"};
  m.state = {Kind::kMove, Step::kCopy, Ending::kNone, true, 2};
  m.target.device = "/dev/b";
  m.grace_ends_ms = 77;
  m.grace = {"boot", 78, 79};
  return m;
}

class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "shadow-store-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string File() const { return path_ / "state.db"; }

 private:
  std::filesystem::path path_;
};

TEST(Store, RemembersAcrossOpens) {
  const TempDir dir;
  {
    auto store = OpenStore({dir.File()});
    ASSERT_TRUE(store.ok()) << store.error().ToString();
    ASSERT_TRUE((*store)->PutVolume(AVolume("db0"), nullptr).ok());
    const ModificationRecord m = AModification("m1");
    const RequestRecord request{"r1", "modify", "body", "m1"};
    ModificationUpdate update;
    update.record = &m;
    update.history = HistoryEntry{9, Phase::kCopying, "went on"};
    update.request = &request;
    ASSERT_TRUE((*store)->PutModification(update).ok());
  }
  auto store = OpenStore({dir.File()});
  ASSERT_TRUE(store.ok());
  auto volumes = (*store)->Volumes();
  ASSERT_TRUE(volumes.ok());
  ASSERT_EQ(volumes->size(), 1U);
  EXPECT_EQ(volumes->at(0).origin.device, "/dev/a");
  EXPECT_TRUE(volumes->at(0).origin.logical_volume);
  auto mods = (*store)->Modifications("db0");
  ASSERT_TRUE(mods.ok());
  ASSERT_EQ(mods->size(), 1U);
  EXPECT_EQ(mods->at(0).state, AModification("m1").state);
  EXPECT_EQ(mods->at(0).request.request_id, "r-m1");
  EXPECT_EQ(mods->at(0).request.retire, Retire::kCold);
  EXPECT_EQ(mods->at(0).plan.steps.size(), 2U);
  EXPECT_EQ((*store)->History("m1")->at(0).note, "went on");
  EXPECT_EQ((*(*store)->FindRequest("r1"))->object, "m1");
  EXPECT_FALSE(((*store)->FindRequest("r2"))->has_value());
}

TEST(Store, ModificationsComeNewestFirst) {
  auto store = OpenStore({":memory:"}).value();
  for (const char* id : {"b", "a", "c"}) {
    const ModificationRecord m = AModification(id);
    ModificationUpdate update;
    update.record = &m;
    ASSERT_TRUE(store->PutModification(update).ok());
    ASSERT_TRUE(store->PutModification(update).ok()) << "an update is no second record";
  }
  auto mods = *store->Modifications("");
  ASSERT_EQ(mods.size(), 3U);
  EXPECT_EQ(mods[0].id, "c");
  EXPECT_EQ(mods[2].id, "b");
  EXPECT_TRUE(store->Modifications("other")->empty());
}

TEST(Store, ListsAreLimitedInTheStore) {
  auto store = OpenStore({":memory:"}).value();
  for (const char* id : {"a", "b", "c"}) {
    const ModificationRecord m = AModification(id);
    ModificationUpdate update;
    update.record = &m;
    ASSERT_TRUE(store->PutModification(update).ok());
  }
  const auto newest = *store->NewestModifications("db0", 2);
  ASSERT_EQ(newest.size(), 2U);
  EXPECT_EQ(newest[0].id, "c");
  EXPECT_EQ((*store->FindModification("b"))->id, "b");
  EXPECT_FALSE(store->FindModification("x")->has_value());
}

TEST(Store, WhatIsOverGoesAfterItsTime) {
  auto store = OpenStore({":memory:"}).value();
  const auto put = [&](const std::string& id, Step step, std::int64_t finished_ms) {
    ModificationRecord m = AModification(id);
    m.state = {Kind::kMove, step, Ending::kNone, false, 0};
    m.finished_ms = finished_ms;
    const RequestRecord request{"r-" + id, "modify", "body", id};
    ModificationUpdate update;
    update.record = &m;
    update.history = HistoryEntry{1, Phase::kCopying, "note"};
    update.request = &request;
    ASSERT_TRUE(store->PutModification(update).ok());
  };
  put("old", Step::kEnd, 100);
  put("new", Step::kEnd, 300);
  put("running", Step::kCopy, 0);
  const RequestRecord create{"r-create", "create", "body", "db0"};
  ASSERT_TRUE(store->PutVolume(AVolume("db0"), &create).ok());
  ASSERT_TRUE(store->Prune(200).ok());
  EXPECT_FALSE(store->FindModification("old")->has_value());
  EXPECT_TRUE(store->History("old")->empty());
  EXPECT_FALSE(store->FindRequest("r-old")->has_value());
  for (const char* id : {"new", "running"}) {
    EXPECT_TRUE(store->FindModification(id)->has_value()) << id;
    EXPECT_EQ(store->History(id)->size(), 1U) << id;
    EXPECT_TRUE(store->FindRequest(std::string("r-") + id)->has_value()) << id;
  }
  EXPECT_TRUE(store->FindRequest("r-create")->has_value());
}

TEST(Store, EventsGrowByOne) {
  auto store = OpenStore({":memory:"}).value();
  Event e;
  e.message = "hello";
  EXPECT_EQ(*store->AddEvent(e), 1U);
  EXPECT_EQ(*store->AddEvent(e), 2U);
  EXPECT_EQ(store->EventsAfter(1, 10)->at(0).seq, 2U);
  EXPECT_EQ(store->EventsAfter(0, 1)->size(), 1U);
  EXPECT_TRUE(store->EventsAfter(~0ULL, 10)->empty());
}

TEST(Store, ADeviceHasOneOwnerFromRecordToRecord) {
  auto store = OpenStore({":memory:"}).value();
  VolumeRecord db0 = AVolume("db0");
  ASSERT_TRUE(store->PutVolume(db0, nullptr).ok());
  EXPECT_EQ((*store->OwnerOf("A-db0"))->volume, "db0");
  VolumeRecord db1 = AVolume("db1");
  db1.metadata.id = "A-db0";  // in another role
  const RequestRecord request{"r1", "import", "", "db1"};
  const Status refused = store->PutVolume(db1, &request);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kAborted);
  EXPECT_NE(refused.error().message.find("origin of the volume db0"), std::string::npos);
  EXPECT_EQ(store->Volumes()->size(), 1U) << "nothing of it was written";
  EXPECT_FALSE(store->FindRequest("r1")->has_value());
  // A modification takes its target, and has origin and target until its end.
  ModificationRecord m = AModification("m");
  m.origin = db0.origin;
  m.target.id = "T";
  ModificationUpdate update;
  update.record = &m;
  ASSERT_TRUE(store->PutModification(update).ok());
  EXPECT_EQ((*store->OwnerOf("T"))->role, "target");
  db0.origin = m.target;
  m.state.step = Step::kReleaseOrigin;
  update.volume = &db0;
  ASSERT_TRUE(store->PutModification(update).ok());
  EXPECT_EQ((*store->OwnerOf("T"))->role, "origin");
  EXPECT_EQ((*store->OwnerOf("A-db0"))->volume, "db0") << "not released yet";
  m.state.step = Step::kEnd;
  ASSERT_TRUE(store->PutModification(update).ok());
  EXPECT_FALSE(store->OwnerOf("A-db0")->has_value());
  // Tiers go with the volume.
  TiersRecord tiers;
  tiers.volume = "db0";
  tiers.tiers[1].phase = TierPhase::kAdding;
  tiers.tiers[1].leg.id = "X";
  ASSERT_TRUE(store->PutTiers(tiers, nullptr).ok());
  EXPECT_EQ((*store->OwnerOf("X"))->role, "tier2");
  ASSERT_TRUE(store->RemoveVolume("db0").ok());
  EXPECT_TRUE(store->Owners()->empty());
}

TEST(Store, AFullDiskIsSaidAndChangesNothing) {
  const TempDir dir;
  auto store = OpenStore({dir.File(), 30}).value();
  Status last = Ok();
  int written = 0;
  for (int i = 0; i < 100 && last.ok(); ++i) {
    VolumeRecord v = AVolume("v" + std::to_string(i));
    v.uuid = std::string(3000, 'x');
    last = store->PutVolume(v, nullptr);
    if (last.ok()) ++written;
  }
  ASSERT_FALSE(last.ok());
  EXPECT_EQ(last.error().code, Code::kOutOfSpace);
  EXPECT_NE(last.error().message.find("state directory"), std::string::npos);
  EXPECT_EQ(store->Volumes()->size(), static_cast<std::size_t>(written));
  EXPECT_FALSE(store->CheckWritable().ok() && written == 0);
}

TEST(Store, DamagedAndForeignFilesAreRefused) {
  const TempDir dir;
  std::ofstream(dir.File()) << std::string(5000, 'j');
  auto store = OpenStore({dir.File()});
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::kDataLoss);
  auto missing = OpenStore({"/does/not/exist/state.db"});
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Code::kPermissionDenied);
}

TEST(Store, RemovingAVolumeFreesItsRequestIds) {
  auto store = OpenStore({":memory:"}).value();
  const RequestRecord request{"r1", "create", "body", "db0"};
  ASSERT_TRUE(store->PutVolume(AVolume("db0"), &request).ok());
  ASSERT_TRUE(store->RemoveVolume("db0").ok());
  EXPECT_TRUE(store->Volumes()->empty());
  EXPECT_FALSE(store->FindRequest("r1")->has_value());
}

// Runs SQL on a state file behind the store's back.
void Sql(const std::string& file, const std::string& sql) {
  const auto db = sqlite::Open(file);
  ASSERT_TRUE(db.ok());
  const Status done = sqlite::Execute(db->get(), sql.c_str());
  ASSERT_TRUE(done.ok()) << done.error().ToString();
}

std::string Read(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(Upgrade, AStateOfVersion2MeansTheSameAfterwards) {
  const TempDir dir;
  Sql(dir.File(), Read(STORE_TESTDATA "/state-v2.sql"));
  for (int opened = 0; opened < 2; ++opened) {
    auto store = OpenStore({dir.File()});
    ASSERT_TRUE(store.ok()) << store.error().ToString();
    EXPECT_TRUE((*store)->Damaged()->empty());
    const auto volumes = *(*store)->Volumes();
    ASSERT_EQ(volumes.size(), 3U);
    for (const VolumeRecord& v : volumes) EXPECT_EQ(v.state, VolumeState::kActive) << v.name;
    EXPECT_EQ(volumes[0].sectors, 10240U) << "grown";
    EXPECT_EQ(volumes[2].origin.id, "ID8") << "moved";

    const auto modifications = *(*store)->Modifications("");
    ASSERT_EQ(modifications.size(), 2U);
    const ModificationRecord& under_way = modifications[0];
    EXPECT_EQ(under_way.volume, "db0");
    EXPECT_EQ(under_way.state, (MachineState{Kind::kMove, Step::kCopy, Ending::kNone, false, 0}));
    EXPECT_EQ(under_way.request.impact, Impact::kLow);
    EXPECT_EQ(under_way.request.retire, Retire::kCold);
    EXPECT_EQ(under_way.target.storage_class, "nvme");
    const ModificationRecord& over = modifications[1];
    EXPECT_EQ(over.state.step, Step::kEnd);
    EXPECT_EQ(over.request.impact, Impact::kFull);
    const auto history = *(*store)->History(over.id);
    ASSERT_EQ(history.size(), 8U);
    EXPECT_EQ(history.front().phase, Phase::kPlanned);
    EXPECT_EQ(history.back().phase, Phase::kCompleted);

    const TiersRecord tiers = *(*store)->Tiers("db1");
    EXPECT_EQ(tiers.tiers[0].phase, TierPhase::kActive);
    EXPECT_TRUE(tiers.tiers[0].write_back);
    EXPECT_EQ(tiers.tiers[1].phase, TierPhase::kNone);
    EXPECT_EQ(tiers.policy.impact, 1);
    // A client that retries over the upgrade gets the same modification and the same tier.
    EXPECT_EQ((*(*store)->FindRequest("under-way"))->body, RequestBody(under_way.request));
    const AddTierRequest add{"db1", TierLevel::kTier1, "nvme", 1048576, true, "tier-db1"};
    EXPECT_EQ((*(*store)->FindRequest("tier-db1"))->body, RequestBody(add));
    EXPECT_EQ((*store)->EventsAfter(0, 100)->size(), 13U);
    EXPECT_EQ((*(*store)->FindSpeed("class:nvme"))->read_latency_us, 100U);
  }
}

TEST(Upgrade, NothingThatAnEarlierVersionLeftBehindIsRemoved) {
  const TempDir dir;
  Sql(dir.File(), Read(STORE_TESTDATA "/state-v2.sql"));
  Sql(dir.File(),
      // A delete that had failed; an LV that was exported and imported again; one that has moved.
      "UPDATE volumes SET record = replace(replace(record, '\"state\":1', '\"state\":2'), "
      "'\"remove_origin\":false', '\"remove_origin\":true') WHERE name = 'db1';"
      "UPDATE volumes SET record = replace(record, '\"imported\":false', '\"imported\":true') "
      "WHERE name = 'db0';"
      "UPDATE requests SET kind = 'import' WHERE id = 'create-db2'");
  auto store = OpenStore({dir.File()}).value();
  const auto volumes = *store->Volumes();
  ASSERT_EQ(volumes.size(), 3U);
  EXPECT_FALSE(volumes[0].origin.made_here);
  EXPECT_FALSE(store->Modifications("db0")->at(0).origin.made_here);
  EXPECT_EQ(volumes[1].state, VolumeState::kActive);
  EXPECT_FALSE(volumes[1].remove_origin);
  EXPECT_TRUE(volumes[2].imported);
  EXPECT_TRUE(volumes[2].origin.made_here) << "its copy was made here, and goes with its next move";
}

TEST(Upgrade, DevicesGetTheirOwners) {
  const TempDir dir;
  Sql(dir.File(), Read(STORE_TESTDATA "/state-v2.sql"));
  auto store = OpenStore({dir.File()}).value();
  const auto owners = *store->Owners();
  EXPECT_EQ(owners.at("ID1").volume, "db0");
  EXPECT_EQ(owners.at("ID9").role, "target");
  EXPECT_EQ(owners.at("ID7").role, "tier1");
  EXPECT_EQ(owners.at("ID8").volume, "db2");
  EXPECT_EQ(owners.count("ID5"), 0U) << "the origin of a modification that is over";
  EXPECT_EQ(owners.size(), 8U);
}

TEST(Upgrade, DamagedRowsStayAsTheyAreAndCostOneVolume) {
  const TempDir dir;
  Sql(dir.File(), Read(STORE_TESTDATA "/state-v2.sql"));
  Sql(dir.File(),
      "UPDATE volumes SET record = '{\"name\":' WHERE name = 'db1';"
      "UPDATE modifications SET record = replace(record, '\"kind\":0', '\"kind\":77') "
      "WHERE volume = 'db2'");
  auto store = OpenStore({dir.File()}).value();
  const auto volumes = *store->Volumes();
  ASSERT_EQ(volumes.size(), 2U);
  EXPECT_EQ(volumes[0].name, "db0");
  EXPECT_EQ(volumes[1].name, "db2");
  ASSERT_EQ(store->Modifications("")->size(), 1U);
  const auto damaged = *store->Damaged();
  ASSERT_EQ(damaged.size(), 2U);
  EXPECT_EQ(damaged[0].what, "volume");
  EXPECT_EQ(damaged[0].key, "db1");
  EXPECT_EQ(damaged[1].what, "modification");
  EXPECT_EQ(damaged[1].volume, "db2");
}

TEST(Upgrade, ALaterFileIsRefusedAndLeftAlone) {
  const TempDir dir;
  Sql(dir.File(), "PRAGMA user_version = " + std::to_string(SchemaVersion() + 1));
  const auto store = OpenStore({dir.File()});
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::kDataLoss);
}

// A new file and an upgraded one have the same tables.
TEST(Upgrade, EndsWhereANewFileBegins) {
  const auto tables = [](const std::string& file) {
    const auto db = sqlite::Open(file);
    std::vector<std::string> all;
    sqlite::Statement s(db->get(),
                        "SELECT m.name || ': ' || group_concat(c.name || ' ' || c.type) FROM "
                        "sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' "
                        "GROUP BY m.name ORDER BY m.name");
    while (*s.Step()) all.push_back(s.Text(0));
    return all;
  };
  const TempDir fresh;
  const TempDir old;
  Sql(old.File(), Read(STORE_TESTDATA "/state-v2.sql"));
  ASSERT_TRUE(OpenStore({fresh.File()}).ok());
  ASSERT_TRUE(OpenStore({old.File()}).ok());
  EXPECT_EQ(tables(fresh.File()), tables(old.File()));
  EXPECT_GE(tables(fresh.File()).size(), 7U);
}

// Every record a program can write must be read by it again, whatever enumerator it has.
TEST(Codec, EveryEnumeratorComesBack) {
  for (int step = 0; step < kSteps; ++step) {
    for (int kind = 0; kind < kKinds; ++kind) {
      for (int ending = 0; ending < kEndings; ++ending) {
        ModificationRecord m = AModification("m");
        m.state.step = static_cast<Step>(step);
        m.state.kind = static_cast<Kind>(kind);
        m.state.ending = static_cast<Ending>(ending);
        if (!IsValid(m.state)) continue;
        const auto back = DecodeModification(Encode(m));
        ASSERT_TRUE(back.ok()) << Encode(m);
        EXPECT_EQ(back->state, m.state);
      }
    }
  }
  for (int phase = 0; phase < kTierPhases; ++phase) {
    TiersRecord t;
    t.volume = "db0";
    t.tiers[0].phase = static_cast<TierPhase>(phase);
    EXPECT_EQ(DecodeTiers(Encode(t))->tiers[0].phase, t.tiers[0].phase);
  }
  for (int phase = 0; phase <= static_cast<int>(Phase::kFailed); ++phase) {
    EXPECT_EQ(PhaseOfName(PhaseName(static_cast<Phase>(phase))), static_cast<Phase>(phase));
  }
  EXPECT_FALSE(PhaseOfName("UNKNOWN"));
}

// Names on disk are for ever: a change here is a new schema version.
TEST(Codec, NoRecordHoldsANumberForAName) {
  VolumeRecord v = AVolume("db0");
  EXPECT_NE(Encode(v).find("\"state\":\"active\""), std::string::npos) << Encode(v);
  const std::string m = Encode(AModification("m1"));
  for (const char* field : {"\"kind\":\"move\"", "\"step\":\"copy\"", "\"ending\":\"none\"",
                            "\"retire\":\"cold\"", "\"impact\":\"balanced\""}) {
    EXPECT_NE(m.find(field), std::string::npos) << field << " in " << m;
  }
}

// Runs `body` in a child with its own mounts: a small tmpfs on `directory`, and a /run that other
// tests do not see, because copies of a state are kept there. It passes when the child says so.
void WithOwnDisk(const std::string& directory, const std::function<bool()>& body) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const pid_t child = fork();
  if (child == 0) {
    const bool mounted = unshare(CLONE_NEWNS) == 0 &&
                         mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         mount("none", "/run", "tmpfs", 0, nullptr) == 0 &&
                         mount("none", directory.c_str(), "tmpfs", 0, "size=512k") == 0;
    _exit(!mounted ? 77 : body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "mounting is not allowed";
  EXPECT_EQ(status, 0);
}

#define CHECK_IN_CHILD(condition)                                    \
  if (!(condition)) {                                                \
    std::fprintf(stderr, "line %d: not %s\n", __LINE__, #condition); \
    return false;                                                    \
  }

// Leaves a store with db0 in its log, as a power cut does: nothing was moved to the file itself.
bool WriteAndDie(const std::string& file) {
  const pid_t child = fork();
  if (child == 0) {
    auto store = OpenStore({file});
    _exit(store.ok() && (*store)->PutVolume(AVolume("db0"), nullptr).ok() &&
                  (*store)->AddEvent(Event{}).ok()
              ? 0
              : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0;
}

TEST(Degraded, AReadOnlyDiskIsReadAndLeftWhenItCanBeWritten) {
  const TempDir dir;
  const std::string disk = std::filesystem::path(dir.File()).parent_path();
  WithOwnDisk(disk, [&] {
    CHECK_IN_CHILD(WriteAndDie(dir.File()));
    CHECK_IN_CHILD(std::filesystem::file_size(dir.File() + "-wal") > 0);
    CHECK_IN_CHILD(mount("none", disk.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
    auto opened = OpenStore({.path = dir.File(), .retry_ms = 0});
    if (!opened.ok()) std::fprintf(stderr, "%s\n", opened.error().ToString().c_str());
    CHECK_IN_CHILD(opened.ok());
    Store& store = **opened;
    CHECK_IN_CHILD(store.Volumes()->size() == 1);
    const Status refused = store.PutVolume(AVolume("db1"), nullptr);
    CHECK_IN_CHILD(!refused.ok() && refused.error().code == Code::kPermissionDenied);
    CHECK_IN_CHILD(refused.error().message.find("can only read") != std::string::npos);
    CHECK_IN_CHILD(!store.CheckWritable().ok());
    Event e;
    e.message = "kept meanwhile";
    CHECK_IN_CHILD(*store.AddEvent(e) == 2);
    CHECK_IN_CHILD(store.EventsAfter(1, 9)->size() == 1);
    CHECK_IN_CHILD(mount("none", disk.c_str(), nullptr, MS_REMOUNT, nullptr) == 0);
    CHECK_IN_CHILD(store.PutVolume(AVolume("db1"), nullptr).ok());
    opened = OpenStore({":memory:"});  // closes the file
    const auto again = OpenStore({dir.File()});
    CHECK_IN_CHILD(again.ok() && (*again)->Volumes()->size() == 2);
    CHECK_IN_CHILD((*again)->EventsAfter(1, 9)->at(0).message == "kept meanwhile");
    for (const auto& left : std::filesystem::directory_iterator("/run")) {
      CHECK_IN_CHILD(left.path().string().find("shadowd-state-") == std::string::npos);
    }
    return true;
  });
}

TEST(Degraded, AFullDiskIsRead) {
  const TempDir dir;
  const std::string disk = std::filesystem::path(dir.File()).parent_path();
  WithOwnDisk(disk, [&] {
    CHECK_IN_CHILD(WriteAndDie(dir.File()));
    std::ofstream(disk + "/filler") << std::string(1 << 20, 'x');
    auto opened = OpenStore({.path = dir.File(), .retry_ms = 0});
    if (!opened.ok()) std::fprintf(stderr, "%s\n", opened.error().ToString().c_str());
    CHECK_IN_CHILD(opened.ok());
    Store& store = **opened;
    CHECK_IN_CHILD(store.Volumes()->size() == 1);
    const Status refused = store.PutVolume(AVolume("db1"), nullptr);
    CHECK_IN_CHILD(!refused.ok());
    if (refused.error().code != Code::kOutOfSpace) {
      std::fprintf(stderr, "%s\n", refused.error().ToString().c_str());
    }
    CHECK_IN_CHILD(refused.error().code == Code::kOutOfSpace);
    CHECK_IN_CHILD(std::filesystem::remove(disk + "/filler"));
    CHECK_IN_CHILD(store.PutVolume(AVolume("db1"), nullptr).ok());
    CHECK_IN_CHILD(store.CheckWritable().ok());
    return true;
  });
}

TEST(Store, OthersCannotReadTheFile) {
  const TempDir dir;
  auto store = OpenStore({dir.File()}).value();
  namespace fs = std::filesystem;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    EXPECT_EQ(fs::status(dir.File() + suffix).permissions(),
              fs::perms::owner_read | fs::perms::owner_write)
        << suffix;
  }
}

TEST(Codec, RequestIdIsNoPartOfTheBody) {
  ModifyRequest a;
  ModifyRequest b;
  b.request_id = "x";
  EXPECT_EQ(RequestBody(a), RequestBody(b));
  b.to = "nvme";
  EXPECT_NE(RequestBody(a), RequestBody(b));
}

TEST(Codec, ImpossibleRecordsAreDataLoss) {
  for (const std::string bad :
       {"", "[]", "7", "{\"name\":5}", "{\"name\":\"a\",\"block_sectors\":-1}",
        "{\"name\":\"a\",\"state\":1}", "{\"name\":\"a\",\"state\":\"gone\"}",
        "{\"name\":\"a\",\"origin\":[]}", "{\"name\":\"a\",\"block_sectors\":99999999999}"}) {
    EXPECT_FALSE(DecodeVolume(bad).ok()) << bad;
  }
  EXPECT_FALSE(DecodeModification("{\"state\":{\"step\":\"dance\"}}").ok());
  EXPECT_FALSE(DecodeModification("{\"state\":{\"step\":\"stop-copy\"}}").ok())
      << "no turning back without ending";
  EXPECT_TRUE(DecodeModification("{}").ok());
}

RC_GTEST_PROP(Codec, NoTextCrashesIt, (const std::string& text)) {
  (void)DecodeVolume(text);
  (void)DecodeModification("{\"id\":\"" + text + "\"}");
}

}  // namespace
}  // namespace shadow
