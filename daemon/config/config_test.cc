// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/config.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

TEST(Config, Reads) {
  auto c = ParseConfig(R"(
[daemon]
state_dir = "/tmp/x"
grace_seconds = 5
leg_wait_seconds = 7
readonly_socket = ""
socket_group = "storage"
[placement]
source = "blktrace"
worker = ""
[class.nvme]
vg = "fast"
[class.disks]
devices = ["/dev/sda", "/dev/sdb"]
)",
                       "t.toml");
  ASSERT_TRUE(c.ok()) << c.error().ToString();
  EXPECT_EQ(c->state_dir, "/tmp/x");
  EXPECT_EQ(c->grace_ms, 5000);
  EXPECT_EQ(c->leg_wait_ms, 7000);
  EXPECT_EQ(c->readonly_socket, "");
  EXPECT_EQ(c->socket_group, "storage");
  EXPECT_EQ(ParseConfig("", "t")->socket_group, "");
  EXPECT_FALSE(ParseConfig("[daemon]\nsocket_group = 7", "t").ok());
  EXPECT_EQ(c->access_source, "blktrace");
  EXPECT_EQ(c->worker, "");
  ASSERT_EQ(c->classes.size(), 2U);
  EXPECT_FALSE(c->listen.has_value()) << "TCP only where it is asked for";
  EXPECT_TRUE(ParseConfig("", "t").ok()) << "defaults";
}

TEST(Config, ServesHttpOnlyWhereItIsAskedFor) {
  EXPECT_FALSE(ParseConfig("", "t")->http.has_value());
  const auto bare = ParseConfig("[http]", "t");
  ASSERT_TRUE(bare.ok() && bare->http);
  EXPECT_EQ(bare->http->page, "127.0.0.1:7480");
  EXPECT_EQ(bare->http->metrics, "127.0.0.1:9480");
  EXPECT_EQ(bare->http->token_file, "");
  const auto all = ParseConfig(R"(
[http]
page = ""
metrics = "[::1]:1"
socket = "/run/x"
hosts = ["a.example"]
token_file = "/t"
)",
                               "t");
  ASSERT_TRUE(all.ok()) << all.error().ToString();
  EXPECT_EQ(all->http->page, "");
  EXPECT_EQ(all->http->metrics, "[::1]:1");
  EXPECT_EQ(all->http->socket, "/run/x");
  EXPECT_EQ(all->http->hosts, std::vector<std::string>{"a.example"});
  EXPECT_EQ(all->http->token_file, "/t");
  for (const char* bad : {"page = 1", "metrics = 9480", "socket = \"x\"", "hosts = \"a\"",
                          "token_file = \"t\"", "port = 1"}) {
    EXPECT_FALSE(ParseConfig(std::string("[http]\n") + bad, "t").ok()) << bad;
  }
}

TEST(Config, ReadsTheTcpPort) {
  auto c = ParseConfig(R"(
[listen]
tcp = "127.0.0.1:7443"
cert = "/c"
key = "/k"
client_ca = "/a"
admin = ["CN:ops", "DNS:a.example"]
readonly = ["URI:spiffe://x/y"]
)",
                       "t.toml");
  ASSERT_TRUE(c.ok()) << c.error().ToString();
  ASSERT_TRUE(c->listen.has_value());
  EXPECT_EQ(c->listen->address, "127.0.0.1:7443");
  EXPECT_EQ(c->listen->cert, "/c");
  EXPECT_EQ(c->listen->key, "/k");
  EXPECT_EQ(c->listen->client_ca, "/a");
  EXPECT_EQ(c->listen->admin, (std::vector<std::string>{"CN:ops", "DNS:a.example"}));
  EXPECT_EQ(c->listen->readonly, std::vector<std::string>{"URI:spiffe://x/y"});
}

TEST(Config, AWrongSettingCostsItself) {
  std::vector<Error> problems;
  const Config c = ReadConfig(R"(
[daemon]
state_dir = "/tmp/x"
grace_seconds = "soon"
[listen]
tcp = 5
[class.bad]
vg = "-x"
[class.nvme]
vg = "fast"
[surprise]
)",
                              "t.toml", &problems);
  EXPECT_EQ(problems.size(), 4U);
  EXPECT_EQ(c.state_dir, "/tmp/x");
  EXPECT_EQ(c.grace_ms, 600'000);
  EXPECT_FALSE(c.listen.has_value());
  ASSERT_EQ(c.classes.size(), 1U);
  EXPECT_EQ(c.classes[0].name, "nvme");
}

TEST(Config, WhereTheStateLiesIsNotGuessed) {
  std::vector<Error> problems;
  EXPECT_EQ(ReadConfig("[daemon]\n  state_dir = \"/srv/s\"\n[class.a", "t", &problems).state_dir,
            "/srv/s");
  EXPECT_EQ(problems.size(), 1U);
  EXPECT_EQ(ReadConfig("[daemon]\nstate_dir = 5", "t", &problems).state_dir, "");
}

TEST(Config, RefusesWithLineAndReason) {
  for (const char* bad : {"[daemon",
                          "x = 1",
                          "[daemon]\nwat = 1",
                          "[daemon]\nstate_dir = 5",
                          "[daemon]\nstate_dir = \"rel\"",
                          "[daemon]\ngrace_seconds = -1",
                          "[daemon]\nleg_wait_seconds = -1",
                          "[daemon]\nleg_wait_seconds = true",
                          "[daemon]\ngrace_seconds = \"1\"",
                          "placement = 5",
                          "[placement]\nsource = \"ebpf\"",
                          "[placement]\nworker = \"rel\"",
                          "[placement]\npolicy = \"pam\"",
                          "class = 5",
                          "[class]\nx = 5",
                          "[class.a]",
                          "[class.a]\nvg = \"x\"\ndevices = [\"/dev/a\"]",
                          "[class.a]\ndevices = [5]",
                          "[class.a]\nvg = \"-x\"",
                          "[class.a]\nvg=\"v\"\n[class.b]\nvg=\"v\"",
                          "[class.\"a b\"]\nvg=\"v\"",
                          "listen = 1",
                          "[listen]",
                          "[listen]\ntcp = \"127.0.0.1:1\"",
                          "[listen]\ntcp = 7443",
                          "[listen]\nkey = \"rel\"",
                          "[listen]\ncert = 1",
                          "[listen]\nadmin = \"CN:x\"",
                          "[listen]\nreadonly = [1]",
                          "[listen]\ninsecure = true",
                          "[listen]\ntcp = \"127.0.0.1:1\"\ncert = \"/c\"\nkey = \"/k\""}) {
    auto c = ParseConfig(bad, "t.toml");
    ASSERT_FALSE(c.ok()) << bad;
    EXPECT_EQ(c.error().code, Code::kInvalidArgument);
    EXPECT_NE(c.error().message.find("t.toml, line"), std::string::npos) << c.error().message;
  }
  std::vector<Error> problems;
  EXPECT_EQ(LoadConfig("/does/not/exist", &problems).error().code, Code::kNotFound);
}

RC_GTEST_PROP(Config, NoTextCrashesIt, (const std::string& text)) {
  (void)ParseConfig(text, "t");
  (void)ParseConfig("[class.a]\nvg = " + text, "t");
}

}  // namespace
}  // namespace shadow
