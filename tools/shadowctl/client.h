// SPDX-License-Identifier: Apache-2.0
// The connection to shadowd: a Unix socket or a TCP port with TLS, the stubs, and calls that return
// Result.
//
// One for a command. Looks at the socket or the certificates itself before gRPC does, because
// gRPC's errors do not say what to do about them.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "daemon/rpc/errors.h"
#include "daemon/rpc/tls_files.h"
#include "proto/shadow/v1/event.grpc.pb.h"
#include "proto/shadow/v1/modification.grpc.pb.h"
#include "proto/shadow/v1/placement.grpc.pb.h"
#include "proto/shadow/v1/storage_class.grpc.pb.h"
#include "proto/shadow/v1/system.grpc.pb.h"
#include "proto/shadow/v1/volume.grpc.pb.h"

namespace shadow::ctl {

inline constexpr char kAdminSocket[] = "/run/dm-shadow/shadowd.sock";
inline constexpr char kReadonlySocket[] = "/run/dm-shadow/shadowd-ro.sock";

/// Whether a command only reads: then the read-only socket will do.
enum class Access { kRead, kWrite };

/// A daemon on another machine, or on this one with TLS. What is "" is taken from the environment:
/// SHADOW_SERVER, SHADOW_CERT, SHADOW_KEY, SHADOW_CA.
struct Server {
  std::string address;  // "host:port"
  rpc::TlsFiles files;  // our certificate and key, and the authority of the daemon
};

/// `given`, completed from the environment. A socket that was named on the command line stands
/// before a server of the environment: the address is "" then.
[[nodiscard]] Server CompleteServer(Server given, const std::string& socket);

class Client {
 public:
  /// Connects to `socket`; if that is "", to $SHADOW_SOCKET or the default one, and for a reader
  /// who may not use that, to the read-only one. kUnavailable when no daemon is there,
  /// kPermissionDenied when the caller may not connect.
  [[nodiscard]] static Result<Client> Connect(const std::string& socket, Access access);

  /// Connects to `server` over TLS, both sides showing certificates, and asks for its version.
  /// kUnavailable when nobody answers there, or one side does not trust the other; the errors of
  /// LoadTlsFiles and those of the daemon.
  [[nodiscard]] static Result<Client> ConnectTls(const Server& server);

  /// Path of the socket, or address of the server, in use.
  [[nodiscard]] const std::string& socket() const { return socket_; }

  [[nodiscard]] v1::VolumeService::Stub& volumes() { return *volumes_; }
  [[nodiscard]] v1::ModificationService::Stub& modifications() { return *modifications_; }
  [[nodiscard]] v1::StorageClassService::Stub& classes() { return *classes_; }
  [[nodiscard]] v1::PlacementService::Stub& placement() { return *placement_; }
  [[nodiscard]] v1::EventService::Stub& events() { return *events_; }
  [[nodiscard]] v1::SystemService::Stub& system() { return *system_; }

 private:
  explicit Client(const std::string& socket);
  Client(std::string name, const std::shared_ptr<grpc::Channel>& channel);

  std::string socket_;
  std::unique_ptr<v1::VolumeService::Stub> volumes_;
  std::unique_ptr<v1::ModificationService::Stub> modifications_;
  std::unique_ptr<v1::StorageClassService::Stub> classes_;
  std::unique_ptr<v1::PlacementService::Stub> placement_;
  std::unique_ptr<v1::EventService::Stub> events_;
  std::unique_ptr<v1::SystemService::Stub> system_;
};

/// How long a call may take before shadowctl gives up: LVM commands take seconds.
inline constexpr std::chrono::seconds kCallTimeout{120};

/// What to do when it is not known whether a request was done, or the daemon is at work on it
/// still.
[[nodiscard]] std::string HowToAskAgain(const std::string& request_id);

/// One call: `method` of `stub` with `request`.
template <typename Stub, typename Request, typename Response>
[[nodiscard]] Result<Response> Call(
    Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request, std::chrono::seconds timeout = kCallTimeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  return response;
}

/// The same for a command with --request-id. Without an answer nobody knows whether the daemon is
/// at work on it: the error says how to ask.
template <typename Stub, typename Request, typename Response>
[[nodiscard]] Result<Response> CallOnce(
    Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request, std::chrono::seconds timeout = kCallTimeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (status.ok()) return response;
  Error error = rpc::FromGrpcStatus(status);
  // An error with details was said by the daemon; one without comes from the connection.
  const bool at_work = error.message.find("still at work") != std::string::npos;
  if (error.code == Code::kUnavailable && (status.error_details().empty() || at_work)) {
    error.hint = HowToAskAgain(request.request_id());
  }
  return error;
}

}  // namespace shadow::ctl
