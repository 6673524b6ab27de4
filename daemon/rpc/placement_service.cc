// SPDX-License-Identifier: Apache-2.0
// Tiers, heat and placement. The maps are read from the engine at once and streamed in pieces.
#include <algorithm>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/services.h"

namespace shadow::rpc {
namespace {

constexpr std::uint32_t kDefaultRanges = 256;
constexpr std::size_t kRunsInAMessage = 1024;

v1::VolumeTiers ToProto(const std::string& volume, const TiersInfo& info) {
  v1::VolumeTiers out;
  out.set_volume(volume);
  for (const TierInfo& tier : info.tiers) *out.add_tiers() = rpc::ToProto(tier);
  *out.mutable_placement() = rpc::ToProto(info.placement);
  return out;
}

/// A map of a volume: what all its messages say, and the runs.
template <typename Run>
struct Map {
  std::uint64_t blocks = 0, block_bytes = 0;
  std::vector<Run> runs;
};

std::uint64_t BlocksOf(const VolumeInfo& volume) {
  if (volume.block_bytes == 0) return 0;
  return volume.size_bytes / volume.block_bytes +
         (volume.size_bytes % volume.block_bytes != 0 ? 1 : 0);
}

/// Admits, reads the map with `read` (-> Result<Map>), and writes it in pieces. A reader that does
/// not read holds a thread: it takes a ticket.
template <typename Response, typename Request, typename Read>
grpc::Status StreamMap(RpcState& state, const Door& door, grpc::ServerContext* context,
                       const Request& request, grpc::ServerWriter<Response>* writer,
                       Read&& read) try {
  const Result<Role> role = Admit(state, door, *context, request);
  if (!role.ok()) return ToGrpcStatus(role.error());
  const StreamTicket ticket(state, *role);
  if (Status room = ticket.Check(); !room.ok()) return ToGrpcStatus(room.error());
  auto map = read();
  if (!map.ok()) return ToGrpcStatus(map.error());
  std::size_t at = 0;
  do {
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (state.stopping.load()) return ToGrpcStatus(StoppingError());
    Response message;
    message.set_volume_blocks(map->blocks);
    message.set_block_bytes(map->block_bytes);
    const std::size_t end = std::min(map->runs.size(), at + kRunsInAMessage);
    for (; at < end; ++at) *message.add_runs() = std::move(map->runs[at]);
    if (!writer->Write(message)) return grpc::Status::CANCELLED;
  } while (at < map->runs.size());
  return grpc::Status::OK;
} catch (const std::exception& e) {
  return ToGrpcStatus(MakeError(Code::kInternal, std::string("An internal error: ") + e.what(),
                                "Please report it, with the daemon's log."));
}

}  // namespace

grpc::Status PlacementService::AddTier(grpc::ServerContext* context,
                                       const v1::AddTierRequest* request,
                                       v1::AddTierResponse* response) {
  return Handle(state_, door_, context, *request, response, [&]() -> Result<v1::AddTierResponse> {
    SHADOW_ASSIGN(const AddTierRequest add, FromProto(*request));
    SHADOW_ASSIGN(const TierInfo info, state_.engine.AddTier(add));
    v1::AddTierResponse out;
    *out.mutable_tier() = rpc::ToProto(info);
    return out;
  });
}

grpc::Status PlacementService::RemoveTier(grpc::ServerContext* context,
                                          const v1::RemoveTierRequest* request,
                                          v1::RemoveTierResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::RemoveTierResponse> {
                  SHADOW_ASSIGN(const RemoveTierRequest remove, FromProto(*request));
                  SHADOW_ASSIGN(const TierInfo info, state_.engine.RemoveTier(remove));
                  v1::RemoveTierResponse out;
                  *out.mutable_tier() = rpc::ToProto(info);
                  return out;
                });
}

grpc::Status PlacementService::SetTierMode(grpc::ServerContext* context,
                                           const v1::SetTierModeRequest* request,
                                           v1::SetTierModeResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::SetTierModeResponse> {
                  SHADOW_TRY(CheckVolumeName(request->volume()));
                  SHADOW_ASSIGN(const TierLevel level, FromProto(request->level()));
                  SHADOW_ASSIGN(const bool write_back, IsWriteBack(request->write_mode()));
                  SHADOW_ASSIGN(const TierInfo info,
                                state_.engine.SetTierMode(request->volume(), level, write_back));
                  v1::SetTierModeResponse out;
                  *out.mutable_tier() = rpc::ToProto(info);
                  return out;
                });
}

grpc::Status PlacementService::SetTierPolicy(grpc::ServerContext* context,
                                             const v1::SetTierPolicyRequest* request,
                                             v1::SetTierPolicyResponse* response) {
  return Handle(
      state_, door_, context, *request, response, [&]() -> Result<v1::SetTierPolicyResponse> {
        SHADOW_TRY(CheckVolumeName(request->volume()));
        // What is wrong whatever the policy is now is told before the engine is asked.
        v1::TierPolicy alone = request->policy();
        if (!alone.has_tier1_heat()) alone.set_tier1_heat(1);
        if (!alone.has_tier2_heat()) alone.set_tier2_heat(0);
        SHADOW_TRY(Changed(TierPolicy(), alone));
        // Two who change different fields at once must not undo each other.
        const std::lock_guard lock(state_.policy_mutex);
        SHADOW_ASSIGN(const TiersInfo now, state_.engine.ListTiers(request->volume()));
        SHADOW_ASSIGN(const TierPolicy policy, Changed(now.placement.policy, request->policy()));
        SHADOW_ASSIGN(const PlacementInfo info,
                      state_.engine.SetTierPolicy(request->volume(), policy));
        v1::SetTierPolicyResponse out;
        *out.mutable_placement() = rpc::ToProto(info);
        return out;
      });
}

grpc::Status PlacementService::ListTiers(grpc::ServerContext* context,
                                         const v1::ListTiersRequest* request,
                                         v1::ListTiersResponse* response) {
  return Handle(state_, door_, context, *request, response, [&]() -> Result<v1::ListTiersResponse> {
    v1::ListTiersResponse out;
    if (!request->volume().empty()) {
      SHADOW_TRY(CheckVolumeName(request->volume()));
      SHADOW_ASSIGN(const TiersInfo info, state_.engine.ListTiers(request->volume()));
      *out.add_volumes() = ToProto(request->volume(), info);
      return out;
    }
    SHADOW_ASSIGN(const std::vector<VolumeInfo> volumes, state_.engine.ListVolumes());
    for (const VolumeInfo& volume : volumes) {
      const Result<TiersInfo> info = state_.engine.ListTiers(volume.name);
      if (info.ok()) {
        *out.add_volumes() = ToProto(volume.name, *info);
      } else if (info.error().code != Code::kNotFound) {  // it was removed just now
        return info.error();
      }
    }
    return out;
  });
}

grpc::Status PlacementService::GetHeatMap(grpc::ServerContext* context,
                                          const v1::GetHeatMapRequest* request,
                                          grpc::ServerWriter<v1::GetHeatMapResponse>* writer) {
  return StreamMap(state_, door_, context, *request, writer, [&]() -> Result<Map<v1::HeatRun>> {
    SHADOW_TRY(CheckVolumeName(request->volume()));
    SHADOW_TRY(CheckHeatRanges(request->ranges()));
    SHADOW_ASSIGN(const VolumeInfo volume, state_.engine.GetVolume(request->volume()));
    SHADOW_ASSIGN(
        const std::vector<HeatCell> cells,
        state_.engine.GetHeatMap(request->volume(),
                                 request->ranges() == 0 ? kDefaultRanges : request->ranges()));
    return Map<v1::HeatRun>{BlocksOf(volume), volume.block_bytes, rpc::ToProto(cells)};
  });
}

grpc::Status PlacementService::GetTierMap(grpc::ServerContext* context,
                                          const v1::GetTierMapRequest* request,
                                          grpc::ServerWriter<v1::GetTierMapResponse>* writer) {
  return StreamMap(state_, door_, context, *request, writer, [&]() -> Result<Map<v1::TierRun>> {
    SHADOW_TRY(CheckVolumeName(request->volume()));
    SHADOW_ASSIGN(const VolumeInfo volume, state_.engine.GetVolume(request->volume()));
    SHADOW_ASSIGN(const std::vector<TierRun> runs, state_.engine.GetTierMap(request->volume()));
    return Map<v1::TierRun>{BlocksOf(volume), volume.block_bytes, rpc::ToProto(runs)};
  });
}

grpc::Status PlacementService::ExplainBlock(grpc::ServerContext* context,
                                            const v1::ExplainBlockRequest* request,
                                            v1::ExplainBlockResponse* response) {
  return Handle(
      state_, door_, context, *request, response, [&]() -> Result<v1::ExplainBlockResponse> {
        SHADOW_TRY(CheckVolumeName(request->volume()));
        if (request->where_case() == v1::ExplainBlockRequest::WHERE_NOT_SET) {
          return MakeError(Code::kInvalidArgument, "It is not said which block.",
                           "Give its number, or the offset of a byte in it.");
        }
        SHADOW_ASSIGN(const VolumeInfo volume, state_.engine.GetVolume(request->volume()));
        const std::uint64_t blocks = BlocksOf(volume);
        const bool inside = request->has_block()
                                ? request->block() < blocks
                                : blocks > 0 && request->offset_bytes() < volume.size_bytes;
        if (!inside) {
          return MakeError(
              Code::kInvalidArgument,
              request->has_block()
                  ? volume.name + " has no block " + std::to_string(request->block()) + "."
                  : "Byte " + std::to_string(request->offset_bytes()) + " is beyond the end of " +
                        volume.name + ".",
              "It has " + std::to_string(blocks) + " blocks, the first is block 0; " +
                  std::to_string(volume.size_bytes) + " bytes in all.");
        }
        const std::uint64_t block =
            request->has_block() ? request->block() : request->offset_bytes() / volume.block_bytes;
        SHADOW_ASSIGN(const BlockExplanation e, state_.engine.ExplainBlock(volume.name, block));
        v1::ExplainBlockResponse out;
        *out.mutable_explanation() = rpc::ToProto(e, volume.block_bytes);
        return out;
      });
}

grpc::Status PlacementService::Top(grpc::ServerContext* context, const v1::TopRequest* request,
                                   v1::TopResponse* response) {
  return Handle(state_, door_, context, *request, response, [&]() -> Result<v1::TopResponse> {
    if (!request->volume().empty()) SHADOW_TRY(CheckVolumeName(request->volume()));
    SHADOW_ASSIGN(const std::vector<VolumeTop> list, state_.engine.Top(request->volume()));
    v1::TopResponse out;
    for (const VolumeTop& top : list) *out.add_volumes() = rpc::ToProto(top);
    return out;
  });
}

}  // namespace shadow::rpc
