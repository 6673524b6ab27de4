// SPDX-License-Identifier: Apache-2.0
// The server on real sockets: file modes, left-over and taken sockets, bad paths; and the request
// cache that stands behind the services.
#include "daemon/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "daemon/rpc/request_cache.h"
#include "daemon/rpc/scripted_engine.h"
#include "daemon/rpc/unix_socket.h"
#include "proto/shadow/v1/volume.grpc.pb.h"

namespace shadow::rpc {
namespace {

using testing::HasSubstr;

class SocketTest : public testing::Test {
 protected:
  SocketTest() : engine_(clock_) {
    char name[] = "/tmp/shadow_rpc_XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    options_.admin_socket = folder_ + "/run/admin.sock";
    options_.readonly_socket = folder_ + "/run/readonly.sock";
  }
  ~SocketTest() override { std::filesystem::remove_all(folder_); }

  static unsigned ModeOf(const std::string& path) {
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 ? st.st_mode & 0777U : 0;
  }
  /// A socket file that nobody listens on, as a killed daemon leaves it.
  static void LeaveDeadSocket(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::close(fd);
  }
  static bool Answers(const std::string& path) {
    auto stub = v1::VolumeService::NewStub(
        grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
    v1::ListVolumesResponse response;
    grpc::ClientContext context;
    return stub->ListVolumes(&context, {}, &response).ok();
  }

  ManualClock clock_;
  ScriptedEngine engine_;
  std::string folder_;
  RpcOptions options_;
};

TEST_F(SocketTest, ServesBothSocketsWithTheirModes) {
  const mode_t mask = ::umask(0);
  {
    auto server = StartRpcServer(engine_, options_);
    ASSERT_TRUE(server.ok()) << server.error().ToString();
    EXPECT_EQ(ModeOf(options_.admin_socket), 0660u);
    EXPECT_EQ(ModeOf(options_.readonly_socket), 0666u);
    EXPECT_TRUE(Answers(options_.admin_socket));
    EXPECT_TRUE(Answers(options_.readonly_socket));
    EXPECT_TRUE(ProbeSocket(options_.admin_socket).ok());
    const mode_t after = ::umask(0);
    EXPECT_EQ(after, 0u) << "the process's umask was not restored";
  }
  ::umask(mask);
  EXPECT_FALSE(std::filesystem::exists(options_.admin_socket));
  EXPECT_EQ(ProbeSocket(options_.admin_socket).error().code, Code::kUnavailable);
}

TEST_F(SocketTest, TheAdminSocketIsOfTheGroupThatWasAskedFor) {
  const gid_t group = ::geteuid() == 0 ? 12345 : ::getegid();  // who is not root can give its own
  options_.admin_group = group;
  auto server = StartRpcServer(engine_, options_);
  ASSERT_TRUE(server.ok()) << server.error().ToString();
  struct stat admin {};
  struct stat open {};
  ASSERT_EQ(::stat(options_.admin_socket.c_str(), &admin), 0);
  ASSERT_EQ(::stat(options_.readonly_socket.c_str(), &open), 0);
  EXPECT_EQ(admin.st_gid, group);
  EXPECT_EQ(admin.st_mode & 0777U, 0660U);
  EXPECT_EQ(open.st_gid, ::getegid());
}

TEST_F(SocketTest, ReplacesALeftOverSocket) {
  std::filesystem::create_directory(folder_ + "/run");
  LeaveDeadSocket(options_.admin_socket);
  const Status probe = ProbeSocket(options_.admin_socket);
  ASSERT_FALSE(probe.ok());
  EXPECT_THAT(probe.error().message, HasSubstr("nobody answers"));
  auto server = StartRpcServer(engine_, options_);
  ASSERT_TRUE(server.ok()) << server.error().ToString();
  EXPECT_TRUE(Answers(options_.admin_socket));
}

TEST_F(SocketTest, RefusesASocketThatIsServed) {
  auto first = StartRpcServer(engine_, options_);
  ASSERT_TRUE(first.ok());
  auto second = StartRpcServer(engine_, options_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_THAT(second.error().message, HasSubstr("Another daemon"));
  EXPECT_TRUE(Answers(options_.admin_socket)) << "the first server lost its socket";
}

TEST_F(SocketTest, RefusesBadPaths) {
  const auto refusal = [&](const std::string& path) {
    RpcOptions options;
    options.admin_socket = path;
    auto server = StartRpcServer(engine_, options);
    EXPECT_FALSE(server.ok()) << path;
    return server.ok() ? Code::kInternal : server.error().code;
  };
  std::ofstream(folder_ + "/file") << "precious";
  EXPECT_EQ(refusal(folder_ + "/file"), Code::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/file"));
  EXPECT_EQ(refusal("relative.sock"), Code::kInvalidArgument);
  EXPECT_EQ(refusal("/tmp/" + std::string(120, 'x')), Code::kInvalidArgument);
  EXPECT_EQ(refusal(folder_ + "/no/such/folder.sock"), Code::kIoError);
  RpcOptions same;
  same.admin_socket = same.readonly_socket = folder_ + "/a.sock";
  EXPECT_FALSE(StartRpcServer(engine_, same).ok());
}

TEST(RequestCacheTest, ForgetsTheOldest) {
  RequestCache cache(2);
  int calls = 0;
  const auto call = [&]() -> Result<std::string> { return std::to_string(++calls); };
  const auto never = [] { return false; };
  EXPECT_EQ(*cache.Do("a", "x", call, never), "1");
  EXPECT_EQ(*cache.Do("b", "x", call, never), "2");
  EXPECT_EQ(*cache.Do("a", "x", call, never), "1");
  EXPECT_EQ(*cache.Do("c", "x", call, never), "3");  // forgets a
  EXPECT_EQ(*cache.Do("b", "x", call, never), "2");
  EXPECT_EQ(*cache.Do("a", "x", call, never), "4");
  EXPECT_EQ(*cache.Do("", "x", call, never), "5");
  EXPECT_EQ(*cache.Do("", "x", call, never), "6");
  EXPECT_EQ(cache.Do("c", "y", call, never).error().code, Code::kAlreadyExists);
}

TEST(RequestCacheTest, ASecondCallerWaitsForTheFirst) {
  RequestCache cache;
  std::promise<void> first_runs, second_waits;
  std::thread first([&] {
    const auto result = cache.Do(
        "id", "x",
        [&]() -> Result<std::string> {
          first_runs.set_value();
          second_waits.get_future().wait();
          return std::string("done once");
        },
        [] { return false; });
    EXPECT_EQ(*result, "done once");
  });
  first_runs.get_future().wait();
  bool told = false;
  const auto result = cache.Do(
      "id", "x", []() -> Result<std::string> { return std::string("done twice"); },
      [&] {
        if (!told) second_waits.set_value();
        told = true;
        return false;
      });
  EXPECT_EQ(*result, "done once");
  first.join();
}

TEST(RequestCacheTest, AWaiterCanBeCancelledAndAFailureIsNotKept) {
  RequestCache cache;
  std::promise<void> first_runs, go_on;
  std::thread first([&] {
    const auto result = cache.Do(
        "id", "x",
        [&]() -> Result<std::string> {
          first_runs.set_value();
          go_on.get_future().wait();
          return MakeError(Code::kIoError, "no");
        },
        [] { return false; });
    EXPECT_FALSE(result.ok());
  });
  first_runs.get_future().wait();
  const auto call = []() -> Result<std::string> { return std::string("second"); };
  EXPECT_EQ(cache.Do("id", "x", call, [] { return true; }).error().code, Code::kAborted);
  go_on.set_value();
  first.join();
  EXPECT_EQ(*cache.Do("id", "x", call, [] { return false; }), "second");
}

}  // namespace
}  // namespace shadow::rpc
