// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <utility>

#include "daemon/rpc/unix_socket.h"

namespace shadow::ctl {

namespace {

constexpr std::chrono::seconds kConnectTimeout{15};

std::shared_ptr<grpc::Channel> SocketChannel(const std::string& path) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
}

void TakeFromEnvironment(std::string& value, const char* name) {
  const char* found = std::getenv(name);
  if (value.empty() && found != nullptr) value = found;
}

/// What a TLS connection that did not come about most likely means; gRPC says it in OpenSSL's
/// words.
Error ConnectionError(const std::string& address, const std::string& words) {
  const auto says = [&](const char* text) { return words.find(text) != std::string::npos; };
  if (says("Connection refused")) {
    return MakeError(Code::kUnavailable, "Nobody answers on " + address + ".",
                     "Check --server, and on that machine [listen] in shadowd.toml and `systemctl "
                     "status shadowd`.");
  }
  if (says("DNS resolution failed") || says("resolution failed")) {
    return MakeError(Code::kUnavailable, "The name in " + address + " cannot be resolved.",
                     "Check --server; it takes HOST:PORT.");
  }
  if (says("certificate verify failed") || says("CERTIFICATE_VERIFY_FAILED")) {
    return MakeError(Code::kUnavailable, "The certificate of " + address + " is not to be trusted.",
                     "--ca must name the authority that signed it, and it must not be expired.");
  }
  if (says("Hostname Verification") || says("hostname") || says("Peer name")) {
    return MakeError(Code::kUnavailable, "The certificate of " + address + " is for another host.",
                     "Use a name in --server that is in the certificate.");
  }
  return MakeError(Code::kUnavailable, "No connection to " + address + " came about.",
                   "Is it shadowd's port, and is your certificate of its client_ca and not "
                   "expired? Its log says why it hung up.");
}

}  // namespace

Client::Client(const std::string& socket) : Client(socket, SocketChannel(socket)) {}

Client::Client(std::string name, const std::shared_ptr<grpc::Channel>& channel)
    : socket_(std::move(name)),
      volumes_(v1::VolumeService::NewStub(channel)),
      modifications_(v1::ModificationService::NewStub(channel)),
      classes_(v1::StorageClassService::NewStub(channel)),
      placement_(v1::PlacementService::NewStub(channel)),
      events_(v1::EventService::NewStub(channel)),
      system_(v1::SystemService::NewStub(channel)) {}

Server CompleteServer(Server given, const std::string& socket) {
  if (socket.empty()) TakeFromEnvironment(given.address, "SHADOW_SERVER");
  if (given.address.empty()) return given;
  TakeFromEnvironment(given.files.cert, "SHADOW_CERT");
  TakeFromEnvironment(given.files.key, "SHADOW_KEY");
  TakeFromEnvironment(given.files.ca, "SHADOW_CA");
  return given;
}

Result<Client> Client::ConnectTls(const Server& server) {
  for (const auto& [file, flag] : {std::pair{&server.files.cert, "--cert"},
                                   {&server.files.key, "--key"},
                                   {&server.files.ca, "--ca"}}) {
    if (!file->empty()) continue;
    return MakeError(Code::kInvalidArgument, std::string("--server needs ") + flag + ".",
                     "Give your certificate, its key and the daemon's authority with --cert, --key "
                     "and --ca, or in SHADOW_CERT, SHADOW_KEY and SHADOW_CA.");
  }
  SHADOW_ASSIGN(const rpc::TlsPem pem, rpc::LoadTlsFiles(server.files, std::time(nullptr)));
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = pem.ca;
  ssl.pem_private_key = pem.key;
  ssl.pem_cert_chain = pem.cert;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  Client client(server.address, grpc::CreateCustomChannel("dns:///" + server.address,
                                                          grpc::SslCredentials(ssl), arguments));
  // A first call that changes nothing tells a bad connection from a daemon that refuses.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kConnectTimeout);
  v1::GetVersionResponse version;
  const grpc::Status status = client.system().GetVersion(&context, {}, &version);
  if (status.ok()) return client;
  const bool from_grpc = status.error_details().empty();
  if (from_grpc && status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    return ConnectionError(server.address, status.error_message());
  }
  if (from_grpc && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return MakeError(Code::kUnavailable, "Nobody answered on " + server.address + " in time.",
                     "Check --server, and that no firewall stands between.");
  }
  return rpc::FromGrpcStatus(status);
}

Result<Client> Client::Connect(const std::string& socket, Access access) {
  std::string path = socket;
  const char* environment = std::getenv("SHADOW_SOCKET");
  if (path.empty() && environment != nullptr) path = environment;
  if (!path.empty()) {
    SHADOW_TRY(rpc::ProbeSocket(path));
    return Client(path);
  }
  Status admin = rpc::ProbeSocket(kAdminSocket);
  if (admin.ok()) return Client(kAdminSocket);
  if (access == Access::kRead && admin.error().code == Code::kPermissionDenied &&
      rpc::ProbeSocket(kReadonlySocket).ok()) {
    return Client(kReadonlySocket);
  }
  return admin.error();
}

std::string HowToAskAgain(const std::string& request_id) {
  return "The daemon may be at work on it. Run the same command with --request-id " + request_id +
         " to ask again: it is done at most once.";
}

}  // namespace shadow::ctl
