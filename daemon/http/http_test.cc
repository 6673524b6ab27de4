// SPDX-License-Identifier: Apache-2.0
// The servers over real sockets, with an engine that plays a script.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "daemon/base/unique_fd.h"
#include "daemon/http/assets.h"
#include "daemon/http/http_server.h"
#include "daemon/http/tokens.h"
#include "daemon/http/web_services.h"
#include "daemon/rpc/scripted_engine.h"

namespace shadow::http {
namespace {

constexpr const char* kToken = "0123456789abcdef0123456789abcdef";

class HttpTest : public testing::Test {
 protected:
  HttpTest() {
    spdlog::set_level(spdlog::level::off);
    std::string folder = "/tmp/shadow-http-XXXXXX";
    folder_ = ::mkdtemp(folder.data());
    token_file_ = folder_ + "/tokens";
    WriteTokens(std::string("# who may\n\nops ") + kToken + "\n", 0600);
  }
  ~HttpTest() override {
    web_.reset();
    std::filesystem::remove_all(folder_);
  }
  void WriteTokens(const std::string& text, mode_t mode) {
    std::ofstream(token_file_) << text;
    ::chmod(token_file_.c_str(), mode);
  }
  void Serve() {
    HttpListen listen;
    listen.page = "127.0.0.1:0";
    listen.metrics = "127.0.0.1:0";
    listen.socket = folder_ + "/http.sock";
    listen.token_file = token_file_;
    listen.hosts = {"storage1.example.org"};
    std::vector<Error> problems;
    web_ = StartWebServices(engine_, clock_, listen, &problems);
    ASSERT_TRUE(problems.empty()) << problems.front().ToString();
  }
  httplib::Client Page() { return httplib::Client("127.0.0.1", web_->PagePort()); }
  std::string Metrics() {
    httplib::Client client("127.0.0.1", web_->MetricsPort());
    const auto answer = client.Get("/metrics");
    return answer && answer->status == 200 ? answer->body : "";
  }
  // What the server sends back for raw bytes; "" if it only hangs up.
  std::string Raw(const std::string& bytes) {
    const UniqueFd fd = Connect();
    (void)!::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    std::string all;
    std::array<char, 4096> part{};
    ssize_t got = 0;
    while ((got = ::recv(fd.get(), part.data(), part.size(), 0)) > 0) {
      all.append(part.data(), static_cast<std::size_t>(got));
    }
    return all;
  }
  UniqueFd Connect() {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(web_->PagePort()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    return fd;
  }
  std::string Running() {
    ModifyRequest r;
    r.volume = "db0";
    r.to = "nvme";
    auto m = engine_.Modify(r);
    EXPECT_TRUE(m.ok());
    // The script goes on at each wait.
    for (int i = 0; i < 20 && m.ok() && m->phase != Phase::kCopying; ++i) {
      m = engine_.WaitModification(m->id, m->updated_ms, 0);
    }
    EXPECT_TRUE(m.ok() && m->phase == Phase::kCopying);
    return m.ok() ? m->id : "";
  }
  int Do(const std::string& id, const std::string& verb, const std::string& token) {
    auto client = Page();
    httplib::Headers headers;
    if (!token.empty()) headers.emplace("Authorization", "Bearer " + token);
    const std::string body = nlohmann::json({{"id", id}, {"verb", verb}}).dump();
    const auto answer = client.Post("/api/do", headers, body, "application/json");
    return answer ? answer->status : 0;
  }

  std::string folder_, token_file_;
  ManualClock clock_;
  rpc::ScriptedEngine engine_{clock_};
  std::unique_ptr<WebServices> web_;
};

TEST_F(HttpTest, EveryMetricIsOfAVolumeThatIsThere) {
  (void)Running();
  Serve();
  const std::string text = Metrics();
  for (const char* line :
       {"shadow_volume_mode{volume=\"db0\",mode=\"rw\"} 1", "shadow_volume_mode{volume=\"logs\"",
        "shadow_modification_phase{volume=\"db0\",phase=\"COPYING\"}",
        "# TYPE shadow_volume_copied_bytes_total counter",
        "shadow_events_total{severity=\"error\"} ", "shadow_snapshot_age_seconds "}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
  // Bounded: no label holds an id, a path or a sentence.
  const std::regex label("[a-z]+=\"([^\"]*)\"");
  for (std::sregex_iterator it(text.begin(), text.end(), label), end; it != end; ++it) {
    EXPECT_EQ((*it)[1].str().find_first_of("/ "), std::string::npos) << (*it)[0];
  }
}

TEST_F(HttpTest, ScrapesCauseNoCallsOfTheirOwn) {
  Serve();
  ASSERT_NE(Metrics(), "");
  const std::size_t calls = engine_.Calls().size();
  for (int i = 0; i < 20; ++i) ASSERT_NE(Metrics(), "");
  // The sampler may have looked once or twice meanwhile; twenty scrapes did not.
  const auto after = engine_.Calls();
  std::size_t lists = 0;
  for (std::size_t i = calls; i < after.size(); ++i) {
    lists += after[i].rfind("ListVolumes", 0) == 0 ? 1 : 0;
    EXPECT_NE(after[i].rfind("Top", 0), 0U);
  }
  EXPECT_LE(lists, 3U);
}

TEST_F(HttpTest, TheStateIsThatOfTheEngine) {
  const std::string id = Running();
  Serve();
  auto client = Page();
  const auto answer = client.Get("/api/state");
  ASSERT_TRUE(answer);
  const auto state = nlohmann::json::parse(answer->body);
  EXPECT_EQ(state["volumes"].size(), 3U);
  EXPECT_EQ(state["modifications"][0]["id"], id);
  EXPECT_EQ(state["modifications"][0]["to"], "nvme");
  const auto map = client.Get("/api/map?volume=db0&cells=4");
  ASSERT_TRUE(map);
  EXPECT_EQ(nlohmann::json::parse(map->body)["cells"], nlohmann::json({0, 0, 6, 6})) << map->body;
  EXPECT_EQ(client.Get("/api/map?volume=none")->status, 404);
}

TEST_F(HttpTest, AStreamTellsWhatChanges) {
  Serve();
  auto client = Page();
  std::vector<std::string> lines;
  bool asked = false;
  client.Get("/api/stream", [&](const char* data, std::size_t size) {
    lines.emplace_back(data, size);
    if (!asked) Running();
    asked = true;
    return lines.back().find("\"phase\":\"COPYING\"") == std::string::npos && lines.size() < 1000;
  });
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.front().rfind("data: {", 0), 0U);
  EXPECT_NE(lines.back().find("COPYING"), std::string::npos);
}

// Each holds a thread; beyond the limit a page is told so, and every other request is answered.
TEST_F(HttpTest, StreamsAreLimitedAndOthersAreStillAnswered) {
  Serve();
  std::vector<UniqueFd> open;
  const std::string ask = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (int i = 0; i < 64; ++i) {
    open.push_back(Connect());
    ASSERT_GT(::send(open.back().get(), ask.data(), ask.size(), MSG_NOSIGNAL), 0);
    std::array<char, 16> part{};
    ASSERT_GT(::recv(open.back().get(), part.data(), part.size(), 0), 0);
    ASSERT_EQ(std::string(part.data(), 12), "HTTP/1.1 200");
  }
  auto client = Page();
  EXPECT_EQ(client.Get("/api/stream")->status, 503);
  EXPECT_EQ(client.Get("/api/state")->status, 200);
  EXPECT_NE(Metrics(), "");
}

TEST_F(HttpTest, OnlyATokenChangesSomething) {
  const std::string id = Running();
  Serve();
  EXPECT_EQ(Do(id, "pause", ""), 403);
  EXPECT_EQ(Do(id, "pause", std::string(32, 'x')), 403);
  EXPECT_EQ(Do(id, "pause", std::string(kToken).substr(0, 20)), 403);
  EXPECT_EQ(engine_.GetModification(id)->phase, Phase::kCopying);
  EXPECT_EQ(Do(id, "pause", kToken), 200);
  EXPECT_EQ(engine_.GetModification(id)->phase, Phase::kPaused);
  EXPECT_EQ(Do(id, "destroy", kToken), 400);
  EXPECT_EQ(Do("none", "pause", kToken), 404);
  // A line that is taken out counts at once, and so does a file that others may read.
  WriteTokens(std::string("ops ") + kToken + "\n", 0644);
  EXPECT_EQ(Do(id, "resume", kToken), 403);
  WriteTokens("", 0600);
  EXPECT_EQ(Do(id, "resume", kToken), 403);
}

TEST_F(HttpTest, EveryVerbReachesTheEngine) {
  const std::string id = Running();
  Serve();
  for (const char* verb : {"pause", "resume", "abort"})
    EXPECT_EQ(Do(id, verb, kToken), 200) << verb;
  EXPECT_EQ(Do(id, "commit", kToken), 409);
  EXPECT_EQ(Do(id, "rollback", kToken), 409);
  const auto calls = engine_.Calls();
  for (const char* call : {"Pause", "Resume", "Abort", "Commit", "RollBack"}) {
    EXPECT_TRUE(std::any_of(calls.begin(), calls.end(), [&](const std::string& c) {
      return c.rfind(call, 0) == 0;
    })) << call;
  }
}

TEST_F(HttpTest, AnotherNameInHostIsTurnedAway) {
  Serve();
  const auto status = [&](const std::string& host) {
    return Raw("GET /api/state HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
        .substr(0, 12);
  };
  EXPECT_EQ(status("localhost"), "HTTP/1.1 200");
  EXPECT_EQ(status("127.0.0.1:7480"), "HTTP/1.1 200");
  EXPECT_EQ(status("Storage1.Example.ORG"), "HTTP/1.1 200");
  EXPECT_EQ(status("evil.example.org"), "HTTP/1.1 421");
  EXPECT_EQ(status("localhost.evil.example.org"), "HTTP/1.1 421");
  EXPECT_EQ(status(""), "HTTP/1.1 421");
}

TEST_F(HttpTest, RequestsAreBounded) {
  Serve();
  // Headers without end, in lines short enough for the library.
  std::string many = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  for (int i = 0; i < 2000; ++i)
    many += "X-Filler-" + std::to_string(i) + ": " + std::string(80, 'x') + "\r\n";
  EXPECT_NE(Raw(many + "\r\n").substr(0, 12), "HTTP/1.1 200");
  // A body that says it is larger than anything here.
  const std::string large =
      Raw("POST /api/do HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
          "99999999\r\n\r\n{}");
  EXPECT_NE(large.substr(0, 12), "HTTP/1.1 200");
  // Chunks without end.
  std::string chunks =
      "POST /api/do HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: "
      "chunked\r\n\r\n";
  for (int i = 0; i < 40; ++i) chunks += "1000\r\n" + std::string(4096, 'x') + "\r\n";
  EXPECT_NE(Raw(chunks).substr(0, 12), "HTTP/1.1 200");
  // And it is still well.
  EXPECT_EQ(Page().Get("/api/state")->status, 200);
}

TEST_F(HttpTest, WhoSaysNothingHoldsNobodyUp) {
  Serve();
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 100; ++i) silent.push_back(Connect());
  EXPECT_EQ(Page().Get("/api/state")->status, 200);
}

TEST_F(HttpTest, TheUnixSocketServesTheSame) {
  Serve();
  httplib::Client client(folder_ + "/http.sock");
  client.set_address_family(AF_UNIX);
  const auto answer = client.Get("/api/state");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  struct stat is {};
  ASSERT_EQ(::stat((folder_ + "/http.sock").c_str(), &is), 0);
  EXPECT_EQ(is.st_mode & 0777, 0666U);
}

TEST_F(HttpTest, ThePageIsSmallAndLoadsNothingFromOutside) {
  Serve();
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kAssetCount; ++i) sum += kAssets[i].size;
  EXPECT_LE(sum, 60'000U);
  auto client = Page();
  const auto answer = client.Get("/", {{"Accept-Encoding", "gzip"}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  const std::string policy = answer->get_header_value("Content-Security-Policy");
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_EQ(policy.find("http"), std::string::npos);
  EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(client
                .Get("/", {{"Accept-Encoding", "gzip"},
                           {"If-None-Match", answer->get_header_value("ETag")}})
                ->status,
            304);
  EXPECT_EQ(client.Get("/etc/passwd")->status, 404);
}

TEST_F(HttpTest, APortThatIsTakenCostsItself) {
  Serve();
  HttpListen listen;
  listen.page = "127.0.0.1:" + std::to_string(web_->PagePort());
  listen.metrics = "127.0.0.1:0";
  std::vector<Error> problems;
  const auto second = StartWebServices(engine_, clock_, listen, &problems);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].code, Code::kUnavailable);
  EXPECT_NE(second->MetricsPort(), 0);
}

TEST(Address, IsANumberAndAPort) {
  EXPECT_EQ(SplitAddress("[::1]:80")->host, "::1");
  EXPECT_EQ(SplitAddress("127.0.0.1:0")->port, 0);
  for (const char* bad : {"", "127.0.0.1", "localhost:80", "::1:80", "127.0.0.1:70000",
                          "127.0.0.1:8x", "127.0.0.1:-1", "[::1:80"}) {
    EXPECT_FALSE(SplitAddress(bad).ok()) << bad;
  }
}

TEST_F(HttpTest, TokensAreSaidToBeWrong) {
  EXPECT_TRUE(Tokens(token_file_).Check().ok());
  EXPECT_EQ(Tokens(folder_ + "/none").Check().error().code, Code::kNotFound);
  WriteTokens("ops short\n", 0600);
  EXPECT_EQ(Tokens(token_file_).Check().error().code, Code::kInvalidArgument);
  WriteTokens("", 0640);
  EXPECT_EQ(Tokens(token_file_).Check().error().code, Code::kPermissionDenied);
}

}  // namespace
}  // namespace shadow::http
