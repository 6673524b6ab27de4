// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/server.h"

#include <arpa/inet.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <ctime>
#include <mutex>

#include "daemon/rpc/server_impl.h"
#include "daemon/rpc/tls_files.h"
#include "daemon/rpc/unix_socket.h"

namespace shadow {
namespace rpc {
namespace {

constexpr int kMaxRequestBytes = 256 * 1024;
constexpr int kMaxThreads = StreamTicket::kMaxStreams + 32;
// Watchers with either role, and room to act.
constexpr int kMaxTlsThreads = 2 * StreamTicket::kMaxStreams + 32;
// Whoever connects and says nothing is gone after this.
constexpr int kHandshakeMs = 5000;
constexpr auto kGraceOfShutdown = std::chrono::seconds(5);

constexpr std::array kServiceNames = {
    "",
    "shadow.v1.VolumeService",
    "shadow.v1.ModificationService",
    "shadow.v1.StorageClassService",
    "shadow.v1.EventService",
    "shadow.v1.SystemService",
    "shadow.v1.PlacementService",
};

void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    google::protobuf::SetLogHandler(nullptr);  // one line for each malformed request: no
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

/// A numeric IP address and a port: names would be resolved to who knows how many addresses.
Status CheckTcpAddress(const std::string& address) {
  const auto colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  const bool is_host =
      ::inet_pton(bracketed ? AF_INET6 : AF_INET, host.c_str(), binary.data()) == 1;
  int number = -1;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  const bool is_port =
      error == std::errc() && end == port.data() + port.size() && number >= 0 && number <= 65535;
  if (is_host && is_port) return Ok();
  return MakeError(Code::kInvalidArgument, Quote(address) + " is no numeric IP address and port.",
                   "Write for example 127.0.0.1:7443 or [::1]:7443.");
}

/// Turns away who has no role before any service, health and reflection too, hears of the call.
class Doorkeeper final : public grpc::AuthMetadataProcessor {
 public:
  explicit Doorkeeper(const Door& door) : door_(door) {}
  [[nodiscard]] bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata&, grpc::AuthContext* context, OutputMetadata*,
                       OutputMetadata*) override {
    const Result<Role> role = door_.RoleOf(*context);
    if (role.ok()) return grpc::Status::OK;
    // gRPC sends no details from here: the hint goes into the message.
    return {grpc::StatusCode::PERMISSION_DENIED, role.error().message + ' ' + role.error().hint};
  }

 private:
  const Door& door_;
};

}  // namespace

void LogChange(const grpc::ServerContext& context, const std::string& request) {
  std::string names;
  for (const std::string& name : PeerNames(*context.auth_context())) names += Quote(name) + ' ';
  spdlog::info("{} from {}{}", request, names, Quote(context.peer()));
}

Endpoint::Endpoint(RpcState& state, Door door)
    : door_(std::move(door)),
      volumes_(state, door_),
      modifications_(state, door_),
      classes_(state, door_),
      events_(state, door_),
      system_(state, door_),
      placement_(state, door_) {}

void Endpoint::Prepare(grpc::ServerBuilder& builder, int max_threads) {
  EnablePlugins();
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(max_threads);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, max_threads);
  builder.RegisterService(&volumes_);
  builder.RegisterService(&modifications_);
  builder.RegisterService(&classes_);
  builder.RegisterService(&events_);
  builder.RegisterService(&system_);
  builder.RegisterService(&placement_);
}

void Endpoint::SayServing() {
  if (auto* health = server_->GetHealthCheckService()) {
    for (const char* name : kServiceNames) health->SetServingStatus(name, true);
  }
}

Status Endpoint::Start(const std::string& path, std::optional<gid_t> group) {
  grpc::ServerBuilder builder;
  Prepare(builder, kMaxThreads);
  int bound = 1;
  mode_t old_mask = 0;
  if (!path.empty()) {
    SHADOW_TRY(PrepareToListen(path));
    builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials(), &bound);
    // The socket must not be open to others for the instant before chmod. Other threads' files get
    // fewer rights for that instant, which is harmless.
    old_mask = ::umask(0177);
  }
  server_ = builder.BuildAndStart();
  if (!path.empty()) ::umask(old_mask);
  if (server_ == nullptr || bound == 0) {
    server_.reset();
    return MakeError(Code::kIoError, "The socket " + path + " cannot be served.",
                     "See the log; configure another path if it is taken.");
  }
  // The group first: until then it is the owner's alone.
  const bool owned = path.empty() || !group || ::lchown(path.c_str(), -1, *group) == 0;
  if (!owned || (!path.empty() && ::chmod(path.c_str(), door_.socket_mode()) != 0)) {
    const int error = errno;
    Stop();
    return MakeError(Code::kIoError,
                     std::string("The ") + (owned ? "mode" : "group") + " of the socket " + path +
                         " cannot be set: " + std::strerror(error) + ".",
                     "Configure a path on a local file system such as /run.");
  }
  SayServing();
  return Ok();
}

Status Endpoint::StartTls(const TlsListen& listen) {
  SHADOW_TRY(CheckTcpAddress(listen.address));
  SHADOW_ASSIGN(const TlsPem pem,
                LoadTlsFiles({listen.cert, listen.key, listen.client_ca}, std::time(nullptr)));
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = pem.ca;
  ssl.pem_key_cert_pairs = {{pem.key, pem.cert}};
  const std::shared_ptr<grpc::ServerCredentials> credentials = grpc::SslServerCredentials(ssl);
  credentials->SetAuthMetadataProcessor(std::make_shared<Doorkeeper>(door_));
  grpc::ServerBuilder builder;
  Prepare(builder, kMaxTlsThreads);
  // Two daemons must not share a port unseen.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder.AddListeningPort(listen.address, credentials, &port_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    server_.reset();
    port_ = 0;
    return MakeError(Code::kUnavailable, "The TCP address " + listen.address + " cannot be served.",
                     "Use an address of this machine and a port that nobody else has; the log says "
                     "more.");
  }
  SayServing();
  return Ok();
}

void Endpoint::Stop() {
  if (server_ == nullptr) return;
  if (auto* health = server_->GetHealthCheckService()) health->Shutdown();
  server_->Shutdown(std::chrono::system_clock::now() + kGraceOfShutdown);
  server_->Wait();
  server_.reset();  // gRPC removes the socket's file with the listener
}

std::shared_ptr<grpc::Channel> Endpoint::InProcessChannel() {
  return server_->InProcessChannel(grpc::ChannelArguments());
}

RpcServerImpl::RpcServerImpl(Engine& engine, const RpcOptions& options)
    : options_(options),
      state_(engine, options.clock != nullptr ? *options.clock : real_clock_),
      admin_(state_, Door(Role::kAdmin)),
      readonly_(state_, Door(Role::kReadonly)) {}

RpcServerImpl::~RpcServerImpl() { Shutdown(); }

Status RpcServerImpl::Start() {
  if (!options_.admin_socket.empty() && options_.admin_socket == options_.readonly_socket) {
    return MakeError(Code::kInvalidArgument,
                     "The admin socket and the read-only socket have the same path.",
                     "Configure two different paths.");
  }
  if (options_.tls) {
    RoleMap roles{options_.tls->admin, options_.tls->readonly};
    SHADOW_TRY(roles.Check());
    tls_.emplace(state_, Door(std::move(roles)));
  }
  Status started = admin_.Start(options_.admin_socket, options_.admin_group);
  if (started.ok()) started = readonly_.Start(options_.readonly_socket);
  if (started.ok() && tls_) started = tls_->StartTls(*options_.tls);
  if (!started.ok()) Shutdown();
  return started;
}

void RpcServerImpl::Shutdown() {
  state_.stopping = true;
  admin_.Stop();
  readonly_.Stop();
  if (tls_) tls_->Stop();
}

}  // namespace rpc

Status CheckTlsListen(const TlsListen& listen) {
  SHADOW_TRY(rpc::CheckTcpAddress(listen.address));
  SHADOW_TRY((rpc::RoleMap{listen.admin, listen.readonly}.Check()));
  SHADOW_TRY(rpc::LoadTlsFiles({listen.cert, listen.key, listen.client_ca}, std::time(nullptr)));
  return Ok();
}

Result<std::unique_ptr<RpcServer>> StartRpcServer(Engine& engine, const RpcOptions& options) {
  auto server = std::make_unique<rpc::RpcServerImpl>(engine, options);
  SHADOW_TRY(server->Start());
  return std::unique_ptr<RpcServer>(std::move(server));
}

}  // namespace shadow
