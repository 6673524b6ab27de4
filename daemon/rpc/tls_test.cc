// SPDX-License-Identifier: Apache-2.0
// The TCP port: who has a role may do what it allows, a stranger of any kind gets nowhere, and the
// server lives on. The certificates are made by openssl, for each run anew.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>

#include "daemon/base/process.h"
#include "daemon/rpc/testing.h"
#include "daemon/rpc/tls_files.h"

namespace shadow::rpc {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class TlsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/shadow_tls_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    RealProcessRunner runner;
    const auto made = runner.Run({SHADOW_MAKE_CERTIFICATES, folder_}, 60'000);
    ASSERT_TRUE(made.ok()) << made.error().ToString();
    ASSERT_EQ(made->exit_code, 0) << made->err << ReadFile(folder_ + "/openssl.log");
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }

  TlsTest() : engine_(clock_) {}

  static std::string PathIn(const std::string& name) { return folder_ + "/" + name; }
  static TlsListen Listen() {
    return {"127.0.0.1:0",
            PathIn("daemon.pem"),
            PathIn("daemon.key"),
            PathIn("ca.pem"),
            {"CN:ops", "URI:spiffe://test/orchestrator"},
            {"DNS:monitor.test"}};
  }
  void Start() {
    RpcOptions options;
    options.clock = &clock_;
    options.tls = Listen();
    auto server = StartRpcServer(engine_, options);
    ASSERT_TRUE(server.ok()) << server.error().ToString();
    server_ = std::move(*server);
    ASSERT_NE(server_->Port(), 0);
  }
  [[nodiscard]] std::string Target() const {
    return "127.0.0.1:" + std::to_string(server_->Port());
  }
  /// A connection with the certificate `name` ("": none).
  [[nodiscard]] std::shared_ptr<grpc::Channel> As(const std::string& name) const {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = ReadFile(PathIn("ca.pem"));
    if (!name.empty()) {
      ssl.pem_cert_chain = ReadFile(PathIn(name + ".pem"));
      ssl.pem_private_key = ReadFile(PathIn(name + ".key"));
    }
    return grpc::CreateChannel(Target(), grpc::SslCredentials(ssl));
  }
  [[nodiscard]] bool Lives() const {
    return CallRaw(As("admin"), "/shadow.v1.VolumeService/ListVolumes", "").status.ok();
  }
  /// A plain TCP connection to the port.
  [[nodiscard]] int Connect() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server_->Port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  /// Whether the server ends the connection.
  static bool IsEnded(int fd) {
    std::array<char, 4096> buffer{};
    for (;;) {
      pollfd ready{fd, POLLIN, 0};
      if (::poll(&ready, 1, 30'000) != 1) return false;
      if (::recv(fd, buffer.data(), buffer.size(), 0) <= 0) return true;
    }
  }

  static std::string folder_;  // NOLINT(readability-identifier-naming)
  ManualClock clock_;
  ScriptedEngine engine_;
  std::unique_ptr<RpcServer> server_;
};
std::string TlsTest::folder_;

TEST_F(TlsTest, RolesMayDoWhatTheyMay) {
  Start();
  const auto admin = As("admin");
  const auto orchestrator = As("orchestrator");
  const auto reader = As("reader");
  const auto both = As("both");
  for (const auto* method : AllMethods()) {
    const std::string path = PathOf(method);
    for (const auto& channel : {admin, orchestrator}) {
      EXPECT_NE(CallRaw(channel, path, "").status.error_code(), StatusCode::PERMISSION_DENIED)
          << path;
    }
    for (const auto& channel : {reader, both}) {
      const std::size_t before = engine_.Calls().size();
      const grpc::Status status = CallRaw(channel, path, "").status;
      EXPECT_EQ(status.error_code() == StatusCode::PERMISSION_DENIED, !OnlyReads(method)) << path;
      if (OnlyReads(method)) continue;
      EXPECT_THAT(status.error_message(), HasSubstr("DNS:monitor.test"));
      EXPECT_THAT(FromGrpcStatus(status).hint, HasSubstr("[listen] admin"));
      EXPECT_EQ(engine_.Calls().size(), before) << path << " reached the engine";
    }
  }
  v1::GetVersionResponse version;
  ASSERT_TRUE(
      version.ParseFromString(CallRaw(reader, "/shadow.v1.SystemService/GetVersion", "").bytes));
  EXPECT_TRUE(version.read_only());
  ASSERT_TRUE(
      version.ParseFromString(CallRaw(admin, "/shadow.v1.SystemService/GetVersion", "").bytes));
  EXPECT_FALSE(version.read_only());
}

TEST_F(TlsTest, WhoHasNoRoleHearsWhyFromEveryService) {
  Start();
  const auto channel = As("norole");
  std::vector<std::string> paths = {
      "/grpc.health.v1.Health/Check", "/no.such.Service/Call",
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
  for (const auto* method : AllMethods()) paths.push_back(PathOf(method));
  for (const std::string& path : paths) {
    const RawAnswer answer = CallRaw(channel, path, "");
    EXPECT_EQ(answer.status.error_code(), StatusCode::PERMISSION_DENIED) << path;
    EXPECT_THAT(answer.status.error_message(), HasSubstr("CN:nobody")) << path;
    EXPECT_THAT(answer.status.error_message(), HasSubstr("[listen] admin or readonly")) << path;
  }
  EXPECT_THAT(engine_.Calls(), IsEmpty());
  EXPECT_TRUE(Lives());
}

TEST_F(TlsTest, StrangersGetNoConnection) {
  Start();
  for (const char* name :
       {"", "selfsigned", "foreign", "expired", "future", "serveronly", "byleaf"}) {
    const RawAnswer answer = CallRaw(As(name), "/shadow.v1.VolumeService/ListVolumes", "");
    EXPECT_EQ(answer.status.error_code(), StatusCode::UNAVAILABLE)
        << "'" << name << "' " << answer.status.error_message();
  }
  EXPECT_THAT(engine_.Calls(), IsEmpty());
  EXPECT_TRUE(Lives());
}

TEST_F(TlsTest, PlainTextAndOldTlsGetNowhere) {
  Start();
  const auto plain = grpc::CreateChannel(Target(), grpc::InsecureChannelCredentials());
  EXPECT_EQ(CallRaw(plain, "/shadow.v1.VolumeService/ListVolumes", "").status.error_code(),
            StatusCode::UNAVAILABLE);
  RealProcessRunner runner;
  const auto with = [&](const std::string& version) {
    const auto run = runner.Run({"openssl", "s_client", version, "-cipher", "DEFAULT@SECLEVEL=0",
                                 "-alpn", "h2", "-connect", Target(), "-CAfile", PathIn("ca.pem"),
                                 "-cert", PathIn("admin.pem"), "-key", PathIn("admin.key")},
                                20'000);
    EXPECT_TRUE(run.ok());
    return run.ok() ? run->out + run->err : "";
  };
  // The client was willing and said so; the server hung up without a byte.
  for (const char* old : {"-tls1", "-tls1_1"}) {
    EXPECT_THAT(with(old), HasSubstr("SSL handshake has read 0 bytes and written 1")) << old;
  }
  EXPECT_THAT(with("-tls1_2"), HasSubstr("Verify return code: 0 (ok)"));
  EXPECT_THAT(engine_.Calls(), IsEmpty());
  EXPECT_TRUE(Lives());
}

TEST_F(TlsTest, GarbageEndsItsConnectionOnly) {
  Start();
  std::mt19937 random(20261123);
  const std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  std::vector<std::string> inputs = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", std::string(100'000, '\0'),
                                     std::string(100'000, '\xff'),
                                     std::string("\x15\x03\x03\x00\x02\x02\x28", 7)};
  for (int i = 0; i < 60; ++i) {
    std::string bytes(1 + random() % 2000, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    inputs.push_back(i % 2 == 0 ? bytes : hello + bytes);
  }
  for (const std::string& input : inputs) {
    const int fd = Connect();
    // The server may have ended it already: then less is sent.
    (void)::send(fd, input.data(), input.size(), MSG_NOSIGNAL);
    ::shutdown(fd, SHUT_WR);
    EXPECT_TRUE(IsEnded(fd));
    ::close(fd);
  }
  EXPECT_THAT(engine_.Calls(), IsEmpty());
  EXPECT_TRUE(Lives());
}

TEST_F(TlsTest, WhoSaysNothingIsSentAwayAndKeepsNobodyOut) {
  Start();
  std::vector<int> silent(200);
  for (int& fd : silent) fd = Connect();
  EXPECT_TRUE(Lives());
  for (const int fd : silent) {
    EXPECT_TRUE(IsEnded(fd));
    ::close(fd);
  }
  EXPECT_TRUE(Lives());
}

TEST_F(TlsTest, APortIsNotSharedUnseen) {
  Start();
  RpcOptions options;
  options.tls = Listen();
  options.tls->address = Target();
  auto second = StartRpcServer(engine_, options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_TRUE(Lives());
}

TEST_F(TlsTest, WithoutListenThereIsNoPort) {
  auto server = StartRpcServer(engine_, {});
  ASSERT_TRUE(server.ok());
  EXPECT_EQ((*server)->Port(), 0);
}

TEST_F(TlsTest, RefusesWhatCannotBeMeant) {
  EXPECT_TRUE(CheckTlsListen(Listen()).ok());
  const auto refused = [](const std::function<void(TlsListen&)>& spoil) {
    TlsListen listen = Listen();
    spoil(listen);
    const Status status = CheckTlsListen(listen);
    if (status.ok()) return Error{};
    EXPECT_FALSE(status.error().hint.empty()) << status.error().message;
    EXPECT_THAT(status.error().message, testing::EndsWith("."));
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    return status.error();
  };
  using L = TlsListen;
  const auto message = [&](const std::function<void(TlsListen&)>& spoil) {
    return refused(spoil).message;
  };

  for (const char* address :
       {"", "localhost:1", "127.0.0.1", "127.0.0.1:", ":7443", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:1x", "::1:7443", "[::1]", "[127.0.0.1]:1", "unix:/tmp/x", "127.1:80"}) {
    EXPECT_THAT(message([&](L& l) { l.address = address; }), HasSubstr("numeric IP address"))
        << address;
  }
  EXPECT_THAT(message([](L& l) { l.admin.clear(), l.readonly.clear(); }), HasSubstr("Nobody"));
  EXPECT_THAT(message([](L& l) { l.admin = {"ops"}; }), HasSubstr("names no certificate"));

  for (const auto member : {&L::cert, &L::key, &L::client_ca}) {
    EXPECT_EQ(refused([&](L& l) { l.*member = PathIn("absent"); }).code, Code::kNotFound);
    EXPECT_THAT(message([&](L& l) { l.*member = ""; }), HasSubstr("No file is named"));
    EXPECT_THAT(message([&](L& l) { l.*member = folder_; }), HasSubstr("no PEM file"));
    std::ofstream(PathIn("garbage")) << "-----BEGIN CERTIFICATE-----\nAAAA\n";
    ::chmod(PathIn("garbage").c_str(), 0600);
    EXPECT_FALSE(message([&](L& l) { l.*member = PathIn("garbage"); }).empty());
    ASSERT_TRUE(::mkfifo(PathIn("fifo").c_str(), 0600) == 0 || errno == EEXIST);
    EXPECT_THAT(message([&](L& l) { l.*member = PathIn("fifo"); }), HasSubstr("no PEM file"));
  }
  for (const mode_t open : {0644, 0604, 0620, 0601}) {
    std::filesystem::copy_file(PathIn("daemon.key"), PathIn("open.key"),
                               std::filesystem::copy_options::overwrite_existing);
    ASSERT_EQ(::chmod(PathIn("open.key").c_str(), open), 0);
    const Error error = refused([](L& l) { l.key = PathIn("open.key"); });
    EXPECT_THAT(error.message, HasSubstr("open to other users")) << open;
    EXPECT_THAT(error.hint, HasSubstr("chmod 600 "));
  }
  const auto pair = [](L& l, const std::string& name) {
    l.cert = PathIn(name + ".pem");
    l.key = PathIn(name + ".key");
  };
  EXPECT_THAT(message([&](L& l) { pair(l, "expired"); }), HasSubstr("expired on 20"));
  EXPECT_THAT(message([&](L& l) { pair(l, "future"); }), HasSubstr("not valid before 20"));
  EXPECT_THAT(message([](L& l) { l.key = PathIn("admin.key"); }), HasSubstr("does not belong"));
  EXPECT_THAT(message([](L& l) { l.key = PathIn("passphrase.key"); }), HasSubstr("passphrase"));
  EXPECT_THAT(message([](L& l) { l.client_ca = PathIn("admin.pem"); }), HasSubstr("may not sign"));
  EXPECT_THAT(message([](L& l) { l.client_ca = PathIn("expired.pem"); }), HasSubstr("expired"));

  // What is checked as of a day is used on that day only.
  constexpr std::time_t kTwoDays = 172'800;
  const auto files = Listen();
  const TlsFiles three{files.cert, files.key, files.client_ca};
  EXPECT_TRUE(LoadTlsFiles(three, std::time(nullptr)).ok());
  EXPECT_FALSE(LoadTlsFiles(three, std::time(nullptr) + kTwoDays).ok());
  EXPECT_FALSE(LoadTlsFiles(three, std::time(nullptr) - kTwoDays).ok());
}

}  // namespace
}  // namespace shadow::rpc
