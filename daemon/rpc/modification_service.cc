// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/services.h"

namespace shadow::rpc {
namespace {

constexpr std::uint32_t kDefaultLimit = 100;
constexpr std::uint32_t kMaxLimit = 1000;
constexpr std::int64_t kMinHeartbeatMs = 100;
constexpr std::int64_t kMaxHeartbeatMs = 3'600'000;

/// A steering call: checks the id, calls `verb` on the engine, answers with the new state.
template <typename Response>
Result<Response> Steer(Engine& engine, const std::string& id,
                       Result<ModificationInfo> (Engine::*verb)(const std::string&)) {
  SHADOW_TRY(CheckModificationId(id));
  SHADOW_ASSIGN(const ModificationInfo info, (engine.*verb)(id));
  Response out;
  *out.mutable_modification() = ToProto(info);
  return out;
}

/// Milliseconds; 0 for never.
Result<std::int64_t> HeartbeatMs(const v1::WatchModificationRequest& request) {
  if (!request.has_heartbeat()) return std::int64_t{0};
  const auto& d = request.heartbeat();
  if (d.seconds() >= 0 && d.seconds() <= kMaxHeartbeatMs / 1000 && d.nanos() >= 0 &&
      d.nanos() < 1'000'000'000) {
    const std::int64_t ms = d.seconds() * 1000 + d.nanos() / 1'000'000;
    if (ms >= kMinHeartbeatMs && ms <= kMaxHeartbeatMs) return ms;
  }
  return MakeError(Code::kInvalidArgument, "The heartbeat is out of range.",
                   "Use 0.1 s to 1 h, or leave it out.");
}

}  // namespace

grpc::Status ModificationService::PlanModification(grpc::ServerContext* context,
                                                   const v1::PlanModificationRequest* request,
                                                   v1::PlanModificationResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::PlanModificationResponse> {
                  SHADOW_ASSIGN(ModifyRequest modify, FromProto(request->spec()));
                  modify.dry_run = true;
                  SHADOW_ASSIGN(const Plan plan, state_.engine.PlanModification(modify));
                  v1::PlanModificationResponse out;
                  *out.mutable_plan() = ToProto(plan);
                  return out;
                });
}

grpc::Status ModificationService::StartModification(grpc::ServerContext* context,
                                                    const v1::StartModificationRequest* request,
                                                    v1::StartModificationResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::StartModificationResponse> {
                  SHADOW_ASSIGN(ModifyRequest modify, FromProto(request->spec()));
                  modify.request_id = request->request_id();
                  SHADOW_ASSIGN(const ModificationInfo info, state_.engine.Modify(modify));
                  v1::StartModificationResponse out;
                  *out.mutable_modification() = ToProto(info);
                  return out;
                });
}

grpc::Status ModificationService::GetModification(grpc::ServerContext* context,
                                                  const v1::GetModificationRequest* request,
                                                  v1::GetModificationResponse* response) {
  return Handle(state_, door_, context, *request, response, [&] {
    return Steer<v1::GetModificationResponse>(state_.engine, request->id(),
                                              &Engine::GetModification);
  });
}

grpc::Status ModificationService::ListModifications(grpc::ServerContext* context,
                                                    const v1::ListModificationsRequest* request,
                                                    v1::ListModificationsResponse* response) {
  return Handle(
      state_, door_, context, *request, response, [&]() -> Result<v1::ListModificationsResponse> {
        if (!request->volume().empty()) SHADOW_TRY(CheckVolumeName(request->volume()));
        if (request->limit() > kMaxLimit) {
          return MakeError(Code::kInvalidArgument,
                           "The limit " + std::to_string(request->limit()) + " is out of range.",
                           "Use 1 to 1000, or 0 for 100.");
        }
        const std::uint32_t limit = request->limit() == 0 ? kDefaultLimit : request->limit();
        SHADOW_ASSIGN(const std::vector<ModificationInfo> list,
                      state_.engine.ListModifications(request->volume(), limit));
        v1::ListModificationsResponse out;
        for (const ModificationInfo& info : list) *out.add_modifications() = ToProto(info);
        return out;
      });
}

grpc::Status ModificationService::PauseModification(grpc::ServerContext* context,
                                                    const v1::PauseModificationRequest* request,
                                                    v1::PauseModificationResponse* response) {
  return Handle(state_, door_, context, *request, response, [&] {
    return Steer<v1::PauseModificationResponse>(state_.engine, request->id(), &Engine::Pause);
  });
}

grpc::Status ModificationService::ResumeModification(grpc::ServerContext* context,
                                                     const v1::ResumeModificationRequest* request,
                                                     v1::ResumeModificationResponse* response) {
  return Handle(state_, door_, context, *request, response, [&] {
    return Steer<v1::ResumeModificationResponse>(state_.engine, request->id(), &Engine::Resume);
  });
}

grpc::Status ModificationService::AbortModification(grpc::ServerContext* context,
                                                    const v1::AbortModificationRequest* request,
                                                    v1::AbortModificationResponse* response) {
  return Handle(state_, door_, context, *request, response, [&] {
    return Steer<v1::AbortModificationResponse>(state_.engine, request->id(), &Engine::Abort);
  });
}

grpc::Status ModificationService::RollBackModification(
    grpc::ServerContext* context, const v1::RollBackModificationRequest* request,
    v1::RollBackModificationResponse* response) {
  return Handle(state_, door_, context, *request, response, [&] {
    return Steer<v1::RollBackModificationResponse>(state_.engine, request->id(), &Engine::RollBack);
  });
}

grpc::Status ModificationService::CommitModification(grpc::ServerContext* context,
                                                     const v1::CommitModificationRequest* request,
                                                     v1::CommitModificationResponse* response) {
  return Handle(state_, door_, context, *request, response, [&] {
    return Steer<v1::CommitModificationResponse>(state_.engine, request->id(), &Engine::Commit);
  });
}

grpc::Status ModificationService::RestoreOrigin(grpc::ServerContext* context,
                                                const v1::RestoreOriginRequest* request,
                                                v1::RestoreOriginResponse* response) {
  return Handle(state_, door_, context, *request, response,
                [&]() -> Result<v1::RestoreOriginResponse> {
                  SHADOW_TRY(CheckModificationId(request->id()));
                  SHADOW_ASSIGN(std::string device, state_.engine.RestoreOrigin(request->id()));
                  v1::RestoreOriginResponse out;
                  out.set_device(std::move(device));
                  return out;
                });
}

grpc::Status ModificationService::SetModificationRate(grpc::ServerContext* context,
                                                      const v1::SetModificationRateRequest* request,
                                                      v1::SetModificationRateResponse* response) {
  return Handle(
      state_, door_, context, *request, response, [&]() -> Result<v1::SetModificationRateResponse> {
        SHADOW_TRY(CheckModificationId(request->id()));
        SHADOW_TRY(CheckRate(request->rate_bytes_per_second()));
        SHADOW_ASSIGN(const Impact impact, FromProto(request->impact()));
        SHADOW_ASSIGN(
            const ModificationInfo info,
            state_.engine.SetRate(request->id(), request->rate_bytes_per_second(), impact));
        v1::SetModificationRateResponse out;
        *out.mutable_modification() = ToProto(info);
        return out;
      });
}

grpc::Status ModificationService::WatchModification(
    grpc::ServerContext* context, const v1::WatchModificationRequest* request,
    grpc::ServerWriter<v1::WatchModificationResponse>* writer) try {
  Role role = Role::kReadonly;
  const auto start = [&]() -> Result<std::int64_t> {
    SHADOW_ASSIGN(role, Admit(state_, door_, *context, *request));
    SHADOW_TRY(CheckModificationId(request->id()));
    return HeartbeatMs(*request);
  };
  const Result<std::int64_t> heartbeat = start();
  if (!heartbeat.ok()) return ToGrpcStatus(heartbeat.error());
  const StreamTicket ticket(state_, role);
  if (Status room = ticket.Check(); !room.ok()) return ToGrpcStatus(room.error());

  Result<ModificationInfo> info = state_.engine.GetModification(request->id());
  bool send = true;
  std::int64_t sent_us = 0;
  for (;;) {
    if (!info.ok()) return ToGrpcStatus(info.error());
    if (send) {
      v1::WatchModificationResponse message;
      *message.mutable_modification() = ToProto(*info);
      if (!writer->Write(message)) return grpc::Status::CANCELLED;
      sent_us = state_.clock.MonotonicUs();
    }
    if (IsFinal(ToProto(info->phase))) return grpc::Status::OK;
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (state_.stopping.load()) return ToGrpcStatus(StoppingError());

    std::int64_t wait_ms = kStreamPollMs;
    if (*heartbeat > 0) wait_ms = std::min(wait_ms, *heartbeat);
    const std::int64_t seen_ms = info->updated_ms;
    const Phase seen_phase = info->phase;
    info = state_.engine.WaitModification(request->id(), seen_ms, wait_ms);
    if (!info.ok()) continue;
    const std::int64_t quiet_ms = (state_.clock.MonotonicUs() - sent_us) / 1000;
    send = info->updated_ms != seen_ms || info->phase != seen_phase ||
           (*heartbeat > 0 && quiet_ms >= *heartbeat);
  }
} catch (const std::exception& e) {
  return ToGrpcStatus(MakeError(Code::kInternal, std::string("An internal error: ") + e.what(),
                                "Please report it, with the daemon's log."));
}

}  // namespace shadow::rpc
