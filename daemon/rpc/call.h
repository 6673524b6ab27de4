// SPDX-License-Identifier: Apache-2.0
// What every RPC goes through: may this caller do it, is the daemon stopping, is the request id
// sound, was the request done already; then the call itself, and its error as a status.
//
// A request message with a `request_id` is one that changes something (proto/lint_test.cc holds the
// .proto files to that), so those who may only read are refused by type and no call can be
// forgotten.
#pragma once

#include <grpcpp/server_context.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/errors.h"
#include "daemon/rpc/open_work.h"
#include "daemon/rpc/request_cache.h"
#include "daemon/rpc/roles.h"
#include "daemon/rpc/validate.h"

namespace shadow::rpc {

/// What the services of all sockets share. Outlives them.
struct RpcState {
  RpcState(Engine& e, const Clock& c) : engine(e), clock(c), open_work(c) {}

  Engine& engine;
  const Clock& clock;
  RequestCache cache;
  OpenWork open_work;
  std::mutex policy_mutex;  // held from reading a tier policy to setting it
  std::atomic<bool> stopping{false};
  // By role: watchers who only read must not crowd out administrators.
  std::atomic<int> admin_streams{0};
  std::atomic<int> readonly_streams{0};
};

template <typename Request>
concept Mutating = requires(const Request& r) {
  r.request_id();
};

/// Whether the engine keeps the request's id itself, durably. The cache then knows it only while
/// the request is being done.
template <typename Request>
inline constexpr bool kEngineKeepsId = false;

/// Whether answering it runs commands, reads devices or writes: cached and limited for those who
/// may only read.
template <typename Request>
inline constexpr bool kMakesWork = false;

inline Error StoppingError() {
  return MakeError(Code::kUnavailable, "The daemon is stopping.",
                   "Try again once it runs; running modifications go on then.");
}

/// Notes who changes something from afar; on the admin socket it is always root or its group.
void LogChange(const grpc::ServerContext& context, const std::string& request);

/// The caller's role; refuses what it may not do here.
template <typename Request>
[[nodiscard]] Result<Role> Admit(const RpcState& state, const Door& door,
                                 const grpc::ServerContext& context, const Request& request) {
  SHADOW_ASSIGN(const Role role, door.RoleOf(*context.auth_context()));
  if constexpr (Mutating<Request>) {
    if (role != Role::kAdmin) return door.MayOnlyRead(*context.auth_context());
    SHADOW_TRY(CheckRequestId(request.request_id()));
    if (door.by_certificate()) LogChange(context, request.GetDescriptor()->name());
  }
  if (state.stopping.load()) return StoppingError();
  return role;
}

/// Runs `call` (-> Result<Response>) for `request` and fills `response`. Exceptions end here.
template <typename Request, typename Response, typename Call>
grpc::Status Handle(RpcState& state, const Door& door, grpc::ServerContext* context,
                    const Request& request, Response* response, Call&& call) try {
  const auto admitted = Admit(state, door, *context, request);
  if (!admitted.ok()) return ToGrpcStatus(admitted.error());
  if (context->IsCancelled()) return grpc::Status::CANCELLED;
  const auto content = [&] {
    return request.GetDescriptor()->full_name() + ' ' + request.SerializeAsString();
  };
  const auto serialized = [&]() -> Result<std::string> {
    Result<Response> result = call();
    if (!result.ok()) return result.error();
    return result->SerializeAsString();
  };
  if constexpr (kMakesWork<Request>) {
    if (*admitted == Role::kReadonly) {
      const Result<std::string> bytes = state.open_work.Do(content(), serialized);
      if (!bytes.ok()) return ToGrpcStatus(bytes.error());
      response->ParseFromString(*bytes);
      return grpc::Status::OK;
    }
  }
  if constexpr (Mutating<Request>) {
    Result<std::string> bytes = state.cache.Do(
        request.request_id(), content(), serialized,
        [&] { return context->IsCancelled() || state.stopping.load(); },
        kEngineKeepsId<Request> ? RequestCache::Keep::kEngine : RequestCache::Keep::kHere);
    if (!bytes.ok()) return ToGrpcStatus(bytes.error());
    response->ParseFromString(*bytes);
  } else {
    Result<Response> result = call();
    if (!result.ok()) return ToGrpcStatus(result.error());
    *response = std::move(*result);
  }
  return grpc::Status::OK;
} catch (const std::exception& e) {
  return ToGrpcStatus(MakeError(Code::kInternal, std::string("An internal error: ") + e.what(),
                                "Please report it, with the daemon's log."));
}

/// Counts a stream while it lives; there is a limit, for each one holds a thread.
class StreamTicket {
 public:
  StreamTicket(RpcState& state, Role role)
      : count_(role == Role::kAdmin ? state.admin_streams : state.readonly_streams),
        number_(++count_) {}
  ~StreamTicket() { --count_; }
  StreamTicket(const StreamTicket&) = delete;
  StreamTicket& operator=(const StreamTicket&) = delete;
  [[nodiscard]] Status Check() const {
    if (number_ <= kMaxStreams) return Ok();
    return MakeError(Code::kUnavailable,
                     "Too many watches are open (" + std::to_string(kMaxStreams) + ").",
                     "Close one, or poll instead.");
  }

  static constexpr int kMaxStreams = 64;

 private:
  std::atomic<int>& count_;
  const int number_;
};

/// How long a stream may not notice that it was cancelled or that the daemon stops.
inline constexpr std::int64_t kStreamPollMs = 500;

}  // namespace shadow::rpc
