// SPDX-License-Identifier: Apache-2.0
// The calls of PlacementService against a scripted engine: what goes in, what comes out, in how
// many pieces, and what is refused.
#include <gmock/gmock.h>

#include <thread>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/testing.h"

namespace shadow::rpc {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class PlacementTest : public ServerTest {
 protected:
  using Stub = v1::PlacementService::Stub;
  PlacementTest()
      : admin_stub_(v1::PlacementService::NewStub(admin_)),
        reader_stub_(v1::PlacementService::NewStub(readonly_)) {}

  template <typename Request, typename Response>
  grpc::Status Do(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
    grpc::ClientContext context;
    return (admin_stub_.get()->*method)(&context, request, response);
  }

  v1::Tier Add(const std::string& volume, v1::TierLevel level, bool write_back = false) {
    v1::AddTierRequest request;
    request.set_volume(volume);
    request.set_level(level);
    request.set_to("nvme");
    request.set_size_bytes(std::uint64_t{4} << 30);
    if (write_back) request.set_write_mode(v1::TIER_WRITE_MODE_WRITE_BACK);
    v1::AddTierResponse response;
    const grpc::Status status = Do(&Stub::AddTier, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.tier();
  }

  v1::VolumeTiers TiersOf(const std::string& volume) {
    v1::ListTiersRequest request;
    request.set_volume(volume);
    v1::ListTiersResponse response;
    const grpc::Status status = Do(&Stub::ListTiers, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.volumes_size(), 1);
    return response.volumes_size() == 1 ? response.volumes(0) : v1::VolumeTiers();
  }

  v1::TierPolicy SetPolicy(const v1::TierPolicy& policy, grpc::StatusCode expected) {
    v1::SetTierPolicyRequest request;
    request.set_volume("db0");
    *request.mutable_policy() = policy;
    v1::SetTierPolicyResponse response;
    const grpc::Status status = Do(&Stub::SetTierPolicy, request, &response);
    EXPECT_EQ(status.error_code(), expected) << status.error_message();
    return response.placement().policy();
  }

  /// The messages of a map, each no longer than promised.
  template <typename Response, typename Reader>
  std::vector<Response> Read(Reader& reader, grpc::StatusCode expected = grpc::StatusCode::OK) {
    std::vector<Response> out;
    Response message;
    while (reader->Read(&message)) {
      EXPECT_LE(message.runs_size(), 1024);
      out.push_back(message);
    }
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), expected) << status.error_message();
    return out;
  }

  std::unique_ptr<Stub> admin_stub_, reader_stub_;
};

TEST_F(PlacementTest, TierLifeCycle) {
  const v1::Tier tier = Add("db0", v1::TIER_LEVEL_TIER2, true);
  EXPECT_EQ(tier.level(), v1::TIER_LEVEL_TIER2);
  EXPECT_EQ(tier.state(), v1::TIER_STATE_ACTIVE);
  EXPECT_EQ(tier.health(), v1::TIER_HEALTH_OK);
  EXPECT_EQ(tier.write_mode(), v1::TIER_WRITE_MODE_WRITE_BACK);
  EXPECT_EQ(tier.size_bytes(), std::uint64_t{4} << 30);
  EXPECT_EQ(tier.device(), "/dev/nvme/shadow.db0.tier2");
  Add("db0", v1::TIER_LEVEL_TIER1);
  EXPECT_THAT(engine_.Calls(), Contains("AddTier db0 tier1 nvme"));

  const v1::VolumeTiers tiers = TiersOf("db0");
  ASSERT_EQ(tiers.tiers_size(), 2);
  EXPECT_EQ(tiers.tiers(0).level(), v1::TIER_LEVEL_TIER1);
  EXPECT_EQ(tiers.tiers(0).write_mode(), v1::TIER_WRITE_MODE_WRITE_THROUGH);
  const v1::Placement& p = tiers.placement();
  EXPECT_EQ(p.ruling(), v1::PLACEMENT_POLICY_PAM);
  EXPECT_EQ(p.source(), v1::ACCESS_SOURCE_BLKTRACE);
  EXPECT_EQ(p.notes_size(), 0);
  EXPECT_EQ(p.round_us(), 184'000u);
  EXPECT_EQ(p.promoted_blocks(), 96'021u);
  EXPECT_EQ(p.policy().policy(), v1::PLACEMENT_POLICY_PAM);
  EXPECT_EQ(p.policy().tier1_heat(), 0.7);
  EXPECT_EQ(p.policy().tier2_heat(), 0.3);
  EXPECT_EQ(p.policy().budget_bytes_per_minute(), std::uint64_t{1} << 30);
  EXPECT_EQ(p.policy().window().seconds(), 60);
  EXPECT_EQ(p.policy().impact(), v1::IMPACT_BALANCED);

  // The volume says it too.
  v1::GetVolumeRequest get;
  get.set_name("db0");
  v1::GetVolumeResponse volume;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::VolumeService::NewStub(admin_)->GetVolume(&context, get, &volume).ok());
  ASSERT_EQ(volume.volume().kernel().tiers_size(), 2);
  const v1::KernelTier& kernel = volume.volume().kernel().tiers(1);
  EXPECT_EQ(kernel.level(), v1::TIER_LEVEL_TIER2);
  EXPECT_EQ(kernel.slots(), 16'384u);
  EXPECT_EQ(kernel.used_blocks(), 12'288u);
  EXPECT_EQ(kernel.dirty_blocks(), 1'024u);
  EXPECT_EQ(kernel.write_mode(), v1::TIER_WRITE_MODE_WRITE_BACK);

  v1::SetTierModeRequest mode;
  mode.set_volume("db0");
  mode.set_level(v1::TIER_LEVEL_TIER2);
  mode.set_write_mode(v1::TIER_WRITE_MODE_WRITE_THROUGH);
  v1::SetTierModeResponse set;
  ASSERT_TRUE(Do(&Stub::SetTierMode, mode, &set).ok());
  EXPECT_EQ(set.tier().write_mode(), v1::TIER_WRITE_MODE_WRITE_THROUGH);
  EXPECT_THAT(engine_.Calls(), Contains("SetTierMode db0 tier2 writethrough"));
  mode.clear_write_mode();
  EXPECT_EQ(Do(&Stub::SetTierMode, mode, &set).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  v1::RemoveTierRequest remove;
  remove.set_volume("db0");
  remove.set_level(v1::TIER_LEVEL_TIER1);
  v1::RemoveTierResponse removed;
  ASSERT_TRUE(Do(&Stub::RemoveTier, remove, &removed).ok());
  EXPECT_EQ(removed.tier().state(), v1::TIER_STATE_REMOVING);
  remove.set_level(v1::TIER_LEVEL_TIER2);
  remove.set_forget(true);
  EXPECT_EQ(Do(&Stub::RemoveTier, remove, &removed).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  remove.set_lost(true);
  ASSERT_TRUE(Do(&Stub::RemoveTier, remove, &removed).ok());
  EXPECT_EQ(removed.tier().state(), v1::TIER_STATE_REMOVED);
  EXPECT_EQ(removed.tier().level(), v1::TIER_LEVEL_TIER2);
  EXPECT_THAT(engine_.Calls(), Contains("RemoveTier db0 tier2 forget lost"));
  int looks = 0;
  while (TiersOf("db0").tiers_size() > 0) ASSERT_LT(++looks, 10);
  EXPECT_EQ(Do(&Stub::RemoveTier, remove, &removed).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(PlacementTest, EngineKeepsTheIdOfATier) {
  v1::AddTierRequest request;
  request.set_request_id("t-1");
  request.set_volume("db0");
  request.set_level(v1::TIER_LEVEL_TIER1);
  request.set_to("/dev/fast");
  v1::AddTierResponse response;
  ASSERT_TRUE(Do(&Stub::AddTier, request, &response).ok());
  ASSERT_TRUE(Do(&Stub::AddTier, request, &response).ok());
  const auto calls = engine_.Calls();
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "AddTier db0 tier1 /dev/fast"), 2)
      << "an answer from the cache would be lost with the daemon";
  request.set_size_bytes(1 << 20);
  const grpc::Status status = Do(&Stub::AddTier, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_FALSE(FromGrpcStatus(status).hint.empty());
}

TEST_F(PlacementTest, ListsTheTiersOfAllVolumes) {
  Add("logs", v1::TIER_LEVEL_TIER1);
  v1::ListTiersResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(reader_stub_->ListTiers(&context, {}, &response).ok());
  ASSERT_EQ(response.volumes_size(), 3);
  EXPECT_EQ(response.volumes(0).volume(), "broken");
  EXPECT_EQ(response.volumes(0).tiers_size(), 0);
  EXPECT_EQ(response.volumes(2).volume(), "logs");
  EXPECT_EQ(response.volumes(2).tiers_size(), 1);

  // One that goes away meanwhile is no error; anything else is.
  engine_.FailWith("ListTiers", MakeError(Code::kNotFound, "Gone.", "Look again."));
  grpc::ClientContext again;
  ASSERT_TRUE(reader_stub_->ListTiers(&again, {}, &response).ok());
  EXPECT_EQ(response.volumes_size(), 0);
  engine_.FailWith("ListTiers", MakeError(Code::kIoError, "The store failed.", "Look at it."));
  grpc::ClientContext third;
  EXPECT_EQ(reader_stub_->ListTiers(&third, {}, &response).error_code(),
            grpc::StatusCode::INTERNAL);
}

TEST_F(PlacementTest, APolicyChangesOnlyInWhatIsSet) {
  Add("db0", v1::TIER_LEVEL_TIER1);
  v1::TierPolicy wanted;
  wanted.set_policy(v1::PLACEMENT_POLICY_EWMA);
  v1::TierPolicy now = SetPolicy(wanted, grpc::StatusCode::OK);
  EXPECT_EQ(now.policy(), v1::PLACEMENT_POLICY_EWMA);
  EXPECT_EQ(now.tier1_heat(), 0.7);
  wanted.Clear();
  wanted.set_tier1_heat(0.85049);
  wanted.set_tier2_heat(0);
  wanted.set_budget_bytes_per_minute(123'456'789);
  wanted.mutable_window()->set_nanos(500'000'000);
  wanted.set_impact(v1::IMPACT_LOW);
  now = SetPolicy(wanted, grpc::StatusCode::OK);
  EXPECT_EQ(now.policy(), v1::PLACEMENT_POLICY_EWMA);
  EXPECT_EQ(now.tier1_heat(), 0.85);
  EXPECT_EQ(now.tier2_heat(), 0);
  EXPECT_EQ(now.budget_bytes_per_minute(), 123'456'789u);
  EXPECT_EQ(now.window().nanos(), 500'000'000);
  EXPECT_EQ(now.impact(), v1::IMPACT_LOW);
  for (const auto policy :
       {v1::PLACEMENT_POLICY_LRU, v1::PLACEMENT_POLICY_OFF, v1::PLACEMENT_POLICY_PAM}) {
    wanted.Clear();
    wanted.set_policy(policy);
    EXPECT_EQ(SetPolicy(wanted, grpc::StatusCode::OK).policy(), policy);
  }

  // Fits by itself, but not with what is set already.
  wanted.Clear();
  wanted.set_tier2_heat(0.9);
  SetPolicy(wanted, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(TiersOf("db0").placement().policy().tier2_heat(), 0);
}

TEST_F(PlacementTest, AWrongPolicyIsRefusedBeforeAnythingIsLookedAt) {
  v1::TierPolicy wanted;
  wanted.set_tier1_heat(1.5);
  SetPolicy(wanted, grpc::StatusCode::INVALID_ARGUMENT);
  wanted.set_tier1_heat(0.2);
  wanted.set_tier2_heat(0.3);
  SetPolicy(wanted, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(engine_.Calls(), ElementsAre());
  SetPolicy({}, grpc::StatusCode::FAILED_PRECONDITION);  // no tiers
}

TEST_F(PlacementTest, PoliciesSetAtOnceDoNotUndoEachOther) {
  Add("db0", v1::TIER_LEVEL_TIER1);
  for (int round = 1; round <= 20; ++round) {
    const auto budget = static_cast<std::uint64_t>(round) << 20;
    std::thread other([&] {
      v1::TierPolicy wanted;
      wanted.set_budget_bytes_per_minute(budget);
      SetPolicy(wanted, grpc::StatusCode::OK);
    });
    v1::TierPolicy wanted;
    wanted.mutable_window()->set_seconds(round);
    SetPolicy(wanted, grpc::StatusCode::OK);
    other.join();
    const v1::TierPolicy now = TiersOf("db0").placement().policy();
    EXPECT_EQ(now.window().seconds(), round);
    EXPECT_EQ(now.budget_bytes_per_minute(), budget);
  }
}

TEST_F(PlacementTest, HeatMapIsRunLengthCoded) {
  Add("db0", v1::TIER_LEVEL_TIER1);
  v1::GetHeatMapRequest request;
  request.set_volume("db0");
  grpc::ClientContext context;
  auto reader = reader_stub_->GetHeatMap(&context, request);
  const auto messages = Read<v1::GetHeatMapResponse>(reader);
  EXPECT_THAT(engine_.Calls(), Contains("GetHeatMap db0 256"));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].volume_blocks(), 40'960u);
  EXPECT_EQ(messages[0].block_bytes(), 262'144u);
  EXPECT_LT(messages[0].runs_size(), 256);
  std::uint64_t next = 0;
  for (const v1::HeatRun& run : messages[0].runs()) {
    EXPECT_EQ(run.first_block(), next);
    EXPECT_GE(run.warmest(), run.mean());
    next += run.blocks();
  }
  EXPECT_EQ(next, 40'960u) << "it has gaps";

  request.set_ranges(4097);
  grpc::ClientContext second;
  auto refused = reader_stub_->GetHeatMap(&second, request);
  EXPECT_TRUE(Read<v1::GetHeatMapResponse>(refused, grpc::StatusCode::INVALID_ARGUMENT).empty());
  request.set_ranges(0);
  request.set_volume("logs");
  grpc::ClientContext third;
  auto no_tiers = reader_stub_->GetHeatMap(&third, request);
  EXPECT_TRUE(
      Read<v1::GetHeatMapResponse>(no_tiers, grpc::StatusCode::FAILED_PRECONDITION).empty());
}

TEST_F(PlacementTest, LongMapsComeInPieces) {
  Add("db0", v1::TIER_LEVEL_TIER1);
  std::vector<TierRun> runs;
  std::vector<HeatCell> cells;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    runs.push_back({{i * 10, 1}, TierLevel::kTier1, ShadowState::kClean});
    cells.push_back({{i * 10, 10}, static_cast<float>(i % 2), 0});
  }
  engine_.SetMaps(runs, cells);
  v1::GetTierMapRequest tiers;
  tiers.set_volume("db0");
  grpc::ClientContext first;
  auto reader = reader_stub_->GetTierMap(&first, tiers);
  const auto pieces = Read<v1::GetTierMapResponse>(reader);
  ASSERT_EQ(pieces.size(), 4u);
  EXPECT_EQ(pieces[3].runs_size(), 4000 - 3 * 1024);
  EXPECT_EQ(pieces[1].runs(0).first_block(), 10'240u);
  v1::GetHeatMapRequest heat;
  heat.set_volume("db0");
  heat.set_ranges(4000);
  grpc::ClientContext second;
  auto heats = reader_stub_->GetHeatMap(&second, heat);
  EXPECT_EQ(Read<v1::GetHeatMapResponse>(heats).size(), 4u);

  // Nothing on the tiers: still one message, which says how large the volume is.
  engine_.SetMaps({}, {});
  grpc::ClientContext third;
  auto empty = reader_stub_->GetTierMap(&third, tiers);
  const auto nothing = Read<v1::GetTierMapResponse>(empty);
  ASSERT_EQ(nothing.size(), 1u);
  EXPECT_EQ(nothing[0].runs_size(), 0);
  EXPECT_EQ(nothing[0].volume_blocks(), 40'960u);
}

TEST_F(PlacementTest, ReadersOfMapsTakeRoomAndGiveItBack) {
  Add("db0", v1::TIER_LEVEL_TIER1);
  v1::GetTierMapRequest request;
  request.set_volume("db0");
  for (int i = 0; i < 3 * StreamTicket::kMaxStreams; ++i) {
    grpc::ClientContext context;
    auto reader = admin_stub_->GetTierMap(&context, request);
    EXPECT_EQ(Read<v1::GetTierMapResponse>(reader).size(), 1u);
  }
}

TEST_F(PlacementTest, RunsAreJoined) {
  const std::vector<v1::TierRun> runs =
      ToProto(std::vector<TierRun>{{{0, 4}, TierLevel::kTier1, ShadowState::kClean},
                                   {{4, 2}, TierLevel::kTier1, ShadowState::kClean},
                                   {{6, 1}, TierLevel::kTier2, ShadowState::kClean},
                                   {{8, 1}, TierLevel::kTier2, ShadowState::kClean},
                                   {{9, 1}, TierLevel::kTier2, ShadowState::kDirty}});
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[0].blocks(), 6u);
  EXPECT_EQ(runs[3].state(), v1::SHADOW_STATE_DIRTY);
  const std::vector<v1::HeatRun> heat = ToProto(std::vector<HeatCell>{{{0, 8}, 0.5004F, 0.1F},
                                                                      {{8, 8}, 0.4996F, 0.1F},
                                                                      {{16, 8}, 0.502F, 0.1F},
                                                                      {{24, 1}, NAN, -1}});
  ASSERT_EQ(heat.size(), 3u);
  EXPECT_EQ(heat[0].blocks(), 16u);
  EXPECT_EQ(heat[0].warmest(), 0.5);
  EXPECT_EQ(heat[2].warmest(), 0);
  EXPECT_EQ(heat[2].mean(), 0);
}

TEST_F(PlacementTest, ExplainsABlockByNumberOrOffset) {
  Add("db0", v1::TIER_LEVEL_TIER2);
  v1::ExplainBlockRequest request;
  request.set_volume("db0");
  request.set_block(2100);
  v1::ExplainBlockResponse response;
  ASSERT_TRUE(Do(&Stub::ExplainBlock, request, &response).ok());
  const v1::BlockExplanation by_number = response.explanation();
  EXPECT_EQ(by_number.block(), 2100u);
  EXPECT_EQ(by_number.offset_bytes(), 2100u * 262'144);
  EXPECT_EQ(by_number.place(), v1::PLACE_HOME);
  EXPECT_EQ(by_number.belongs(), v1::PLACE_TIER1);
  EXPECT_EQ(by_number.decision(), v1::PLACEMENT_DECISION_PROMOTE);
  EXPECT_GT(by_number.benefit_ms(), by_number.margin() * by_number.cost_ms());
  EXPECT_FALSE(by_number.why().empty());
  request.set_offset_bytes(std::uint64_t{2100} * 262'144 + 262'143);
  ASSERT_TRUE(Do(&Stub::ExplainBlock, request, &response).ok());
  EXPECT_EQ(response.explanation().SerializeAsString(), by_number.SerializeAsString());

  request.set_block(40'959);
  EXPECT_TRUE(Do(&Stub::ExplainBlock, request, &response).ok());
  for (const std::uint64_t beyond : {std::uint64_t{40'960}, ~std::uint64_t{0}}) {
    request.set_block(beyond);
    const grpc::Status status = Do(&Stub::ExplainBlock, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(FromGrpcStatus(status).hint, HasSubstr("40960 blocks"));
  }
  request.set_offset_bytes(std::uint64_t{10} << 30);
  EXPECT_EQ(Do(&Stub::ExplainBlock, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_where();
  EXPECT_EQ(Do(&Stub::ExplainBlock, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(PlacementTest, TopCountsFromTheFirstLook) {
  Add("db0", v1::TIER_LEVEL_TIER1);
  v1::TopResponse response;
  grpc::ClientContext first, second, third;
  ASSERT_TRUE(reader_stub_->Top(&first, {}, &response).ok());
  ASSERT_EQ(response.volumes_size(), 3);
  EXPECT_EQ(response.volumes(1).interval().seconds(), 0);
  v1::TopRequest one;
  one.set_volume("db0");
  ASSERT_TRUE(reader_stub_->Top(&second, one, &response).ok());
  ASSERT_EQ(response.volumes_size(), 1);
  EXPECT_EQ(response.volumes(0).interval().seconds(), 1);
  EXPECT_EQ(response.volumes(0).reads_per_second(), 8260u);
  EXPECT_EQ(response.volumes(0).tier1_hit_ratio(), 0.713);
  EXPECT_EQ(response.volumes(0).moved_bytes_per_second(), 12u << 20);
  one.set_volume("nothing");
  EXPECT_EQ(reader_stub_->Top(&third, one, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(PlacementTest, ErrorsOfTheEngineArriveInStreamsToo) {
  engine_.FailWith("GetTierMap", MakeError(Code::kDataLoss, "A page is damaged.", "Check it."));
  v1::GetTierMapRequest request;
  request.set_volume("db0");
  grpc::ClientContext context;
  auto reader = reader_stub_->GetTierMap(&context, request);
  v1::GetTierMapResponse message;
  EXPECT_FALSE(reader->Read(&message));
  const Error error = FromGrpcStatus(reader->Finish());
  EXPECT_EQ(error.code, Code::kDataLoss);
  EXPECT_EQ(error.hint, "Check it.");
}

}  // namespace
}  // namespace shadow::rpc
