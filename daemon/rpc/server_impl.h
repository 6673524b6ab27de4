// SPDX-License-Identifier: Apache-2.0
// The server behind daemon/rpc/server.h, visible for tests, which talk to it without a socket.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <optional>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/rpc/call.h"
#include "daemon/rpc/server.h"
#include "daemon/rpc/services.h"

namespace shadow::rpc {

/// The services behind one door and the gRPC server that calls them.
class Endpoint {
 public:
  Endpoint(RpcState& state, Door door);
  /// Serves on the Unix socket `path`, or only in this process if it is "".
  [[nodiscard]] Status Start(const std::string& path, std::optional<gid_t> group = std::nullopt);
  /// Serves on a TCP port. The door must be one by certificate.
  [[nodiscard]] Status StartTls(const TlsListen& listen);
  /// Ends within about 5 s.
  void Stop();
  [[nodiscard]] std::shared_ptr<grpc::Channel> InProcessChannel();
  [[nodiscard]] int port() const { return port_; }

 private:
  void Prepare(grpc::ServerBuilder& builder, int max_threads);
  void SayServing();

  const Door door_;
  int port_ = 0;
  VolumeService volumes_;
  ModificationService modifications_;
  StorageClassService classes_;
  EventService events_;
  SystemService system_;
  PlacementService placement_;
  std::unique_ptr<grpc::Server> server_;
};

class RpcServerImpl final : public RpcServer {
 public:
  RpcServerImpl(Engine& engine, const RpcOptions& options);
  ~RpcServerImpl() override;
  [[nodiscard]] Status Start();
  void Shutdown() override;
  [[nodiscard]] int Port() const override { return tls_ ? tls_->port() : 0; }

  Endpoint& admin() { return admin_; }
  Endpoint& readonly() { return readonly_; }

 private:
  const RealClock real_clock_;
  const RpcOptions options_;
  RpcState state_;
  Endpoint admin_;
  Endpoint readonly_;
  std::optional<Endpoint> tls_;
};

}  // namespace shadow::rpc
