// SPDX-License-Identifier: Apache-2.0
// The services of shadow.v1: each call is checked, translated, given to the engine and translated
// back.
//
// Owned by the server, one set for each way in, whose Door outlives it. gRPC calls them from many
// threads at once; they hold no state of their own.
#pragma once

#include "daemon/rpc/call.h"
#include "proto/shadow/v1/event.grpc.pb.h"
#include "proto/shadow/v1/modification.grpc.pb.h"
#include "proto/shadow/v1/placement.grpc.pb.h"
#include "proto/shadow/v1/storage_class.grpc.pb.h"
#include "proto/shadow/v1/system.grpc.pb.h"
#include "proto/shadow/v1/volume.grpc.pb.h"

namespace shadow::rpc {

template <>
inline constexpr bool kEngineKeepsId<v1::CreateVolumeRequest> = true;
template <>
inline constexpr bool kEngineKeepsId<v1::ImportVolumeRequest> = true;
template <>
inline constexpr bool kEngineKeepsId<v1::StartModificationRequest> = true;
template <>
inline constexpr bool kEngineKeepsId<v1::AddTierRequest> = true;
template <>
inline constexpr bool kEngineKeepsId<v1::RemoveTierRequest> = true;

template <>
inline constexpr bool kMakesWork<v1::PlanModificationRequest> = true;
template <>
inline constexpr bool kMakesWork<v1::ListStorageClassesRequest> = true;
template <>
inline constexpr bool kMakesWork<v1::RunChecksRequest> = true;
template <>
inline constexpr bool kMakesWork<v1::TopRequest> = true;
template <>
inline constexpr bool kMakesWork<v1::GetHealthRequest> = true;

// One declaration for each call; the parameters' types follow from its name.
#define SHADOW_RPC(Name)                                                            \
  grpc::Status Name(grpc::ServerContext* context, const v1::Name##Request* request, \
                    v1::Name##Response* response) override

class VolumeService final : public v1::VolumeService::Service {
 public:
  VolumeService(RpcState& state, const Door& door) : state_(state), door_(door) {}
  SHADOW_RPC(CreateVolume);
  SHADOW_RPC(ImportVolume);
  SHADOW_RPC(ExportVolume);
  SHADOW_RPC(ListVolumes);
  SHADOW_RPC(GetVolume);
  SHADOW_RPC(ActivateVolume);
  SHADOW_RPC(RecoverVolume);
  SHADOW_RPC(DeleteVolume);

 private:
  RpcState& state_;
  const Door& door_;
};

class ModificationService final : public v1::ModificationService::Service {
 public:
  ModificationService(RpcState& state, const Door& door) : state_(state), door_(door) {}
  SHADOW_RPC(PlanModification);
  SHADOW_RPC(StartModification);
  SHADOW_RPC(GetModification);
  SHADOW_RPC(ListModifications);
  SHADOW_RPC(PauseModification);
  SHADOW_RPC(ResumeModification);
  SHADOW_RPC(AbortModification);
  SHADOW_RPC(RollBackModification);
  SHADOW_RPC(CommitModification);
  SHADOW_RPC(RestoreOrigin);
  SHADOW_RPC(SetModificationRate);
  grpc::Status WatchModification(
      grpc::ServerContext* context, const v1::WatchModificationRequest* request,
      grpc::ServerWriter<v1::WatchModificationResponse>* writer) override;

 private:
  RpcState& state_;
  const Door& door_;
};

class StorageClassService final : public v1::StorageClassService::Service {
 public:
  StorageClassService(RpcState& state, const Door& door) : state_(state), door_(door) {}
  SHADOW_RPC(ListStorageClasses);
  SHADOW_RPC(MeasureStorageClass);

 private:
  RpcState& state_;
  const Door& door_;
};

class EventService final : public v1::EventService::Service {
 public:
  EventService(RpcState& state, const Door& door) : state_(state), door_(door) {}
  grpc::Status WatchEvents(grpc::ServerContext* context, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::WatchEventsResponse>* writer) override;

 private:
  RpcState& state_;
  const Door& door_;
};

class SystemService final : public v1::SystemService::Service {
 public:
  SystemService(RpcState& state, const Door& door) : state_(state), door_(door) {}
  SHADOW_RPC(GetVersion);
  SHADOW_RPC(RunChecks);
  SHADOW_RPC(GetHealth);
  SHADOW_RPC(ExportState);
  SHADOW_RPC(ImportState);

 private:
  RpcState& state_;
  const Door& door_;
};

class PlacementService final : public v1::PlacementService::Service {
 public:
  PlacementService(RpcState& state, const Door& door) : state_(state), door_(door) {}
  SHADOW_RPC(AddTier);
  SHADOW_RPC(RemoveTier);
  SHADOW_RPC(SetTierMode);
  SHADOW_RPC(SetTierPolicy);
  SHADOW_RPC(ListTiers);
  SHADOW_RPC(ExplainBlock);
  SHADOW_RPC(Top);
  grpc::Status GetHeatMap(grpc::ServerContext* context, const v1::GetHeatMapRequest* request,
                          grpc::ServerWriter<v1::GetHeatMapResponse>* writer) override;
  grpc::Status GetTierMap(grpc::ServerContext* context, const v1::GetTierMapRequest* request,
                          grpc::ServerWriter<v1::GetTierMapResponse>* writer) override;

 private:
  RpcState& state_;
  const Door& door_;
};

#undef SHADOW_RPC

}  // namespace shadow::rpc
