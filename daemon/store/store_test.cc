// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/store.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "daemon/store/codec.h"

namespace shadow {
namespace {

VolumeRecord AVolume(const std::string& name) {
  VolumeRecord v;
  v.name = name;
  v.uuid = "u-" + name;
  v.state = VolumeState::kActive;
  v.origin = Leg{"/dev/a", "A", "hdd", 1 << 20, true, false};
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
        "{\"name\":\"a\",\"state\":9}", "{\"name\":\"a\",\"origin\":[]}",
        "{\"name\":\"a\",\"block_sectors\":99999999999}"}) {
    EXPECT_FALSE(DecodeVolume(bad).ok()) << bad;
  }
  EXPECT_FALSE(DecodeModification("{\"state\":{\"step\":200}}").ok());
  EXPECT_FALSE(DecodeModification("{\"state\":{\"step\":15}}").ok())
      << "no turning back without ending";
  EXPECT_TRUE(DecodeModification("{}").ok());
}

RC_GTEST_PROP(Codec, NoTextCrashesIt, (const std::string& text)) {
  (void)DecodeVolume(text);
  (void)DecodeModification("{\"id\":\"" + text + "\"}");
}

}  // namespace
}  // namespace shadow
