// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/convert.h"
#include "daemon/rpc/services.h"

namespace shadow::rpc {

grpc::Status VolumeService::CreateVolume(grpc::ServerContext* context,
                                         const v1::CreateVolumeRequest* request,
                                         v1::CreateVolumeResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::CreateVolumeResponse> {
                  SHADOW_ASSIGN(const CreateRequest create, FromProto(*request));
                  SHADOW_ASSIGN(const VolumeInfo info, state_.engine.CreateVolume(create));
                  v1::CreateVolumeResponse out;
                  *out.mutable_volume() = ToProto(info);
                  return out;
                });
}

grpc::Status VolumeService::ImportVolume(grpc::ServerContext* context,
                                         const v1::ImportVolumeRequest* request,
                                         v1::ImportVolumeResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::ImportVolumeResponse> {
                  SHADOW_ASSIGN(const ImportRequest import, FromProto(*request));
                  SHADOW_ASSIGN(const VolumeInfo info, state_.engine.ImportVolume(import));
                  v1::ImportVolumeResponse out;
                  *out.mutable_volume() = ToProto(info);
                  return out;
                });
}

grpc::Status VolumeService::ExportVolume(grpc::ServerContext* context,
                                         const v1::ExportVolumeRequest* request,
                                         v1::ExportVolumeResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::ExportVolumeResponse> {
                  SHADOW_TRY(CheckVolumeName(request->name()));
                  SHADOW_ASSIGN(std::string device, state_.engine.ExportVolume(request->name()));
                  v1::ExportVolumeResponse out;
                  out.set_device(std::move(device));
                  return out;
                });
}

grpc::Status VolumeService::ListVolumes(grpc::ServerContext* context,
                                        const v1::ListVolumesRequest* request,
                                        v1::ListVolumesResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::ListVolumesResponse> {
                  SHADOW_ASSIGN(const std::vector<VolumeInfo> list, state_.engine.ListVolumes());
                  v1::ListVolumesResponse out;
                  for (const VolumeInfo& info : list) *out.add_volumes() = ToProto(info);
                  return out;
                });
}

grpc::Status VolumeService::GetVolume(grpc::ServerContext* context,
                                      const v1::GetVolumeRequest* request,
                                      v1::GetVolumeResponse* response) {
  return Handle(state_, door_, context, *request, response, [&]() -> Result<v1::GetVolumeResponse> {
    SHADOW_TRY(CheckVolumeName(request->name()));
    SHADOW_ASSIGN(const VolumeInfo info, state_.engine.GetVolume(request->name()));
    v1::GetVolumeResponse out;
    *out.mutable_volume() = ToProto(info);
    return out;
  });
}

grpc::Status VolumeService::ActivateVolume(grpc::ServerContext* context,
                                           const v1::ActivateVolumeRequest* request,
                                           v1::ActivateVolumeResponse* response) {
  return Handle(
      state_, door_, context, *request, response, [&]() -> Result<v1::ActivateVolumeResponse> {
        SHADOW_TRY(CheckVolumeName(request->name()));
        SHADOW_ASSIGN(const VolumeInfo info, state_.engine.ActivateVolume(
                                                 request->name(), request->allow_unstable_names()));
        v1::ActivateVolumeResponse out;
        *out.mutable_volume() = ToProto(info);
        return out;
      });
}

grpc::Status VolumeService::RecoverVolume(grpc::ServerContext* context,
                                          const v1::RecoverVolumeRequest* request,
                                          v1::RecoverVolumeResponse* response) {
  return Handle(
      state_, door_, context, *request, response, [&]() -> Result<v1::RecoverVolumeResponse> {
        SHADOW_TRY(CheckDevice("metadata device", request->metadata()));
        SHADOW_ASSIGN(const VolumeInfo info,
                      state_.engine.RecoverVolume({request->metadata(), request->request_id()}));
        v1::RecoverVolumeResponse out;
        *out.mutable_volume() = ToProto(info);
        return out;
      });
}

grpc::Status VolumeService::DeleteVolume(grpc::ServerContext* context,
                                         const v1::DeleteVolumeRequest* request,
                                         v1::DeleteVolumeResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::DeleteVolumeResponse> {
                  SHADOW_TRY(CheckVolumeName(request->name()));
                  const auto deleted = state_.engine.DeleteVolume(
                      {request->name(), request->destroy_data(), request->dry_run()});
                  if (!deleted.ok() &&
                      !(deleted.error().code == Code::kNotFound && request->allow_missing())) {
                    return deleted.error();
                  }
                  v1::DeleteVolumeResponse out;
                  if (!deleted.ok()) return out;
                  for (const DeletedDevice& device : deleted->devices) {
                    v1::DeletedDevice* one = out.add_devices();
                    one->set_device(device.device);
                    one->set_id(device.id);
                    one->set_removed(device.removed);
                    one->set_reason(device.reason);
                  }
                  return out;
                });
}

}  // namespace shadow::rpc
