// SPDX-License-Identifier: Apache-2.0
// Plays the records: command lines with the output and the exit status they must have, against a
// daemon with a scripted engine, each file with a fresh one. In a record
//
//   # text       is a comment
//   @ start ...  starts the daemon again, with arguments for scripted_shadowd; @ stop ends it
//   @ simulated  starts one with the real engine on a simulated machine (simulated_shadowd.cc), for
//                what users read; @ run lets its time go on until no modification is at work
//   $ command    is run by sh, with shadowctl in PATH and TMP, AS_NOBODY, SHADOW_SOCKET and
//                MAKE_CERTIFICATES (daemon/rpc/make_test_certificates) set
//   | text       is a line of its standard output, ! text one of its standard error
//   = N          is its exit status
//
// The temporary folder is shown as TMP, a UUID as UUID, the daemon's TCP port as PORT.
//
// SHADOW_UPDATE_RECORDS=1 writes what the commands really do into the records instead.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

namespace shadow::ctl {
namespace {

namespace fs = std::filesystem;

class FakeDaemon {
 public:
  FakeDaemon(std::string folder) : folder_(std::move(folder)) {}
  ~FakeDaemon() { Stop(); }

  void Start(const std::string& arguments, const char* program = SHADOW_SCRIPTED_DAEMON) {
    Stop();
    std::vector<std::string> words = {program, folder_};
    std::istringstream in(arguments);
    for (std::string word; in >> word;) words.push_back(word);
    std::array<int, 2> to{}, from{};
    ASSERT_EQ(::pipe(to.data()), 0);
    ASSERT_EQ(::pipe(from.data()), 0);
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      ::dup2(to[0], STDIN_FILENO);
      ::dup2(from[1], STDOUT_FILENO);
      for (int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
      std::vector<char*> argv;
      argv.reserve(words.size() + 1);
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    stdin_ = to[1];
    stdout_ = from[0];
    WaitUntilReady();
  }

  // The simulated one's time goes on until nothing is at work.
  void Run() {
    const std::string word = "run\n";
    ASSERT_EQ(::write(stdin_, word.data(), word.size()), static_cast<ssize_t>(word.size()));
    WaitUntilReady();
  }

  void Stop() {
    if (pid_ <= 0) return;
    ::close(stdin_);
    ::close(stdout_);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  void WaitUntilReady() const {
    std::string said;
    char byte = 0;
    while (said != "ready\n" && ::read(stdout_, &byte, 1) == 1) said += byte;
    ASSERT_EQ(said, "ready\n") << "the daemon did not start, or ended";
  }

  const std::string folder_;
  pid_t pid_ = -1;
  int stdin_ = -1;
  int stdout_ = -1;
};

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void ReplaceAll(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

/// `command` for the shell, with its output in files of `folder`.
std::string Redirected(const std::string& command, const std::string& folder) {
  return "{ " + command + "\n} </dev/null >" + folder + "/stdout 2>" + folder + "/stderr";
}

/// `text` with `mark` before each line.
std::string Marked(const std::string& text, const std::string& mark) {
  std::string out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    out.append(mark).append(line.empty() ? "" : " ").append(line).append("\n");
  return out;
}

class RecordTest : public testing::TestWithParam<std::string> {};

TEST_P(RecordTest, DoesWhatItSays) {
  const std::string path = std::string(SHADOW_RECORDS) + "/" + GetParam() + ".rec";
  if (GetParam() == "permission" && ::geteuid() != 0) GTEST_SKIP() << "needs root";
  char name[] = "/tmp/shadowctl_XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string folder = name;
  fs::permissions(folder, fs::perms(0755));
  ::setenv("TMP", folder.c_str(), 1);
  ::setenv("SHADOW_SOCKET", (folder + "/admin.sock").c_str(), 1);
  ::setenv("AS_NOBODY", "setpriv --reuid=65534 --regid=65534 --clear-groups", 1);
  ::setenv("MAKE_CERTIFICATES", SHADOW_MAKE_CERTIFICATES, 1);
  for (const char* name : {"SHADOW_SERVER", "SHADOW_CERT", "SHADOW_KEY", "SHADOW_CA"}) {
    ::unsetenv(name);
  }
  ::setenv("TZ", "UTC", 1);
  ::setenv("LC_ALL", "C", 1);
  ::setenv("PATH", (std::string(SHADOW_BIN) + ":" + std::getenv("PATH")).c_str(), 1);
  ::unsetenv("NO_COLOR");

  FakeDaemon daemon(folder);
  daemon.Start("");
  const std::string before = ReadFile(path);
  std::istringstream in(before);
  std::string after;
  int commands = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("|") || line.starts_with("!") || line.starts_with("=")) continue;
    after += line + "\n";
    if (line.starts_with("@ stop")) daemon.Stop();
    if (line.starts_with("@ start")) daemon.Start(line.substr(7));
    if (line.starts_with("@ simulated")) daemon.Start("", SHADOW_SIMULATED_DAEMON);
    if (line.starts_with("@ run")) daemon.Run();
    if (!line.starts_with("$ ")) continue;
    ++commands;
    const int status = std::system(Redirected(line.substr(2), folder).c_str());
    std::string out = ReadFile(folder + "/stdout");
    std::string err = ReadFile(folder + "/stderr");
    ReplaceAll(out, folder, "TMP");
    ReplaceAll(err, folder, "TMP");
    std::string port = ReadFile(folder + "/port");
    if (port.size() > 2) {
      port.pop_back();
      ReplaceAll(err, "127.0.0.1:" + port, "127.0.0.1:PORT");
    }
    static const std::regex kUuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}");
    out = std::regex_replace(out, kUuid, "UUID");
    err = std::regex_replace(err, kUuid, "UUID");
    after +=
        Marked(out, "|") + Marked(err, "!") + "= " + std::to_string(WEXITSTATUS(status)) + "\n";
  }
  daemon.Stop();
  fs::remove_all(folder);
  EXPECT_GT(commands, 0) << path;
  if (std::getenv("SHADOW_UPDATE_RECORDS") != nullptr) {
    std::ofstream(path, std::ios::binary) << after;
  } else {
    EXPECT_EQ(after, before) << "in " << path;
  }
}

INSTANTIATE_TEST_SUITE_P(Records, RecordTest,
                         testing::Values("volume", "modify", "op", "events", "doctor", "bad_input",
                                         "permission", "errors", "json", "tls", "tier", "tier_json",
                                         "tier_bad_input", "engine", "engine_refusals"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace shadow::ctl
