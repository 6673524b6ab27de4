// SPDX-License-Identifier: Apache-2.0
// Storage classes, events, and the daemon itself.
#include <algorithm>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/services.h"
#include "kernel/core/shadow_version.h"

namespace shadow::rpc {
namespace {

constexpr std::size_t kEventBatch = 256;
constexpr std::size_t kNewestModifications = 100;

}  // namespace

grpc::Status StorageClassService::ListStorageClasses(grpc::ServerContext* context,
                                                     const v1::ListStorageClassesRequest* request,
                                                     v1::ListStorageClassesResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::ListStorageClassesResponse> {
                  SHADOW_ASSIGN(const std::vector<ClassInfo> list, state_.engine.ListClasses());
                  v1::ListStorageClassesResponse out;
                  for (const ClassInfo& info : list) *out.add_storage_classes() = ToProto(info);
                  return out;
                });
}

grpc::Status StorageClassService::MeasureStorageClass(grpc::ServerContext* context,
                                                      const v1::MeasureStorageClassRequest* request,
                                                      v1::MeasureStorageClassResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::MeasureStorageClassResponse> {
                  SHADOW_TRY(CheckPlace("storage class", request->name()));
                  SHADOW_ASSIGN(const ClassInfo info, state_.engine.MeasureClass(request->name()));
                  v1::MeasureStorageClassResponse out;
                  *out.mutable_storage_class() = ToProto(info);
                  return out;
                });
}

grpc::Status EventService::WatchEvents(grpc::ServerContext* context,
                                       const v1::WatchEventsRequest* request,
                                       grpc::ServerWriter<v1::WatchEventsResponse>* writer) try {
  Role role = Role::kReadonly;
  const auto admit = [&]() -> Status {
    SHADOW_ASSIGN(role, Admit(state_, door_, *context, *request));
    if (!request->volume().empty()) SHADOW_TRY(CheckVolumeName(request->volume()));
    return Ok();
  };
  if (Status admitted = admit(); !admitted.ok()) return ToGrpcStatus(admitted.error());
  const StreamTicket ticket(state_, role);
  if (Status room = ticket.Check(); !room.ok()) return ToGrpcStatus(room.error());

  std::uint64_t after = request->after_sequence();
  for (;;) {
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (state_.stopping.load()) return ToGrpcStatus(StoppingError());
    Result<std::vector<Event>> events =
        state_.engine.WaitEvents(after, kEventBatch, request->follow() ? kStreamPollMs : 0);
    if (!events.ok()) return ToGrpcStatus(events.error());
    if (events->empty() && !request->follow()) return grpc::Status::OK;
    for (const Event& event : *events) {
      after = std::max(after, event.seq);
      if (!request->volume().empty() && event.volume != request->volume()) continue;
      v1::WatchEventsResponse message;
      *message.mutable_event() = ToProto(event);
      if (!writer->Write(message)) return grpc::Status::CANCELLED;
    }
  }
} catch (const std::exception& e) {
  return ToGrpcStatus(MakeError(Code::kInternal, std::string("An internal error: ") + e.what(),
                                "Please report it, with the daemon's log."));
}

grpc::Status SystemService::GetVersion(grpc::ServerContext* context,
                                       const v1::GetVersionRequest* request,
                                       v1::GetVersionResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::GetVersionResponse> {
                  v1::GetVersionResponse out;
                  out.set_version(SHADOW_VERSION);
                  SHADOW_ASSIGN(const Role role, door_.RoleOf(*context->auth_context()));
                  out.set_read_only(role == Role::kReadonly);
                  return out;
                });
}

grpc::Status SystemService::RunChecks(grpc::ServerContext* context,
                                      const v1::RunChecksRequest* request,
                                      v1::RunChecksResponse* response) {
  return Handle(state_, door_, context, *request, response, [&]() -> Result<v1::RunChecksResponse> {
    SHADOW_ASSIGN(const std::vector<Check> checks, state_.engine.Doctor());
    v1::RunChecksResponse out;
    for (const Check& check : checks) *out.add_checks() = ToProto(check);
    return out;
  });
}

grpc::Status SystemService::GetHealth(grpc::ServerContext* context,
                                      const v1::GetHealthRequest* request,
                                      v1::GetHealthResponse* response) {
  return Handle(state_, door_, context, *request, response, [&]() -> Result<v1::GetHealthResponse> {
    HealthInput input;
    SHADOW_ASSIGN(input.volumes, state_.engine.ListVolumes());
    SHADOW_ASSIGN(input.modifications, state_.engine.ListModifications("", kNewestModifications));
    // One of them may run longer than the newest.
    for (const VolumeInfo& v : input.volumes) {
      if (v.modification_id.empty()) continue;
      if (auto m = state_.engine.GetModification(v.modification_id); m.ok()) {
        input.modifications.insert(input.modifications.begin(), std::move(*m));
      }
    }
    SHADOW_ASSIGN(input.checks, state_.engine.Doctor());
    // Without LVM doctor says so; the rest is told all the same.
    if (auto classes = state_.engine.ListClasses(); classes.ok()) input.classes = *classes;
    return ToProto(Assess(input));
  });
}

grpc::Status SystemService::ExportState(grpc::ServerContext* context,
                                        const v1::ExportStateRequest* request,
                                        v1::ExportStateResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::ExportStateResponse> {
                  SHADOW_ASSIGN(std::string state, state_.engine.ExportState());
                  v1::ExportStateResponse out;
                  out.set_state(std::move(state));
                  return out;
                });
}

grpc::Status SystemService::ImportState(grpc::ServerContext* context,
                                        const v1::ImportStateRequest* request,
                                        v1::ImportStateResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::ImportStateResponse> {
                  SHADOW_ASSIGN(const std::vector<std::string> results,
                                state_.engine.ImportState(request->state()));
                  v1::ImportStateResponse out;
                  for (const std::string& one : results) out.add_results(one);
                  return out;
                });
}

}  // namespace shadow::rpc
