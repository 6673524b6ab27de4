// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "daemon/base/interrupt.h"

namespace shadow {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::size_t kMaxOutput = std::size_t{16} << 20;
constexpr std::ptrdiff_t kMostGivenUp = 8;

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC) == 0) {
      (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
      read_end = fds[0];
      write_end = fds[1];
    }
  }
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void CloseRead() {
    if (read_end >= 0) close(read_end);
    read_end = -1;
  }
  void CloseWrite() {
    if (write_end >= 0) close(write_end);
    write_end = -1;
  }
};

// The caller's environment with LVM's warning about inherited descriptors switched off and the
// messages in plain English: we parse and quote them.
std::vector<char*> ChildEnvironment() {
  static char no_fd_warning[] = "LVM_SUPPRESS_FD_WARNINGS=1";
  static char language[] = "LC_ALL=C";
  std::vector<char*> env;
  for (char** e = environ; e != nullptr && *e != nullptr; ++e) {
    if (std::strncmp(*e, "LC_ALL=", 7) != 0) env.push_back(*e);
  }
  env.push_back(no_fd_warning);
  env.push_back(language);
  env.push_back(nullptr);
  return env;
}

// Reads what is there; closes the pipe at its end.
void Drain(Pipe* pipe, std::string* into) {
  std::array<char, 65536> buffer{};
  const ssize_t n = read(pipe->read_end, buffer.data(), buffer.size());
  if (n > 0) {
    const std::size_t room = kMaxOutput - std::min(kMaxOutput, into->size());
    into->append(buffer.data(), std::min(room, static_cast<std::size_t>(n)));
  } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
    pipe->CloseRead();
  }
}

int ExitCodeOf(int wait_status) {
  if (WIFEXITED(wait_status)) return WEXITSTATUS(wait_status);
  return 128 + (WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0);
}

/// "resize2fs 1.47.0 (5-Feb-2023)": a program that says who it is before it says what is wrong.
bool IsBanner(const std::string& line) {
  const auto space = line.find(' ');
  return space != std::string::npos && space + 1 < line.size() && line.back() == ')' &&
         std::isdigit(static_cast<unsigned char>(line[space + 1])) != 0 &&
         line.find('.', space) != std::string::npos;
}

// A child process with its output; ends it when it is late.
class Child {
 public:
  Child(pid_t pid, Pipe* out, Pipe* err) : pid_(pid), out_(*out), err_(*err) {}

  /// Reads and waits until it ended, at most until `until`, or until `stop` says so. True: it
  /// ended.
  template <typename F>
  bool WaitUntil(SteadyClock::time_point until, F stop, ProcessResult* result) {
    while (true) {
      Read(result);
      int status = 0;
      const pid_t ended = waitpid(pid_, &status, WNOHANG);
      if (ended == pid_ || (ended < 0 && errno != EINTR)) {
        // What it wrote is in the pipes: 64 KiB at most. Nobody waits for descendants that hold
        // them.
        Read(result);
        result->exit_code = ExitCodeOf(status);
        return true;
      }
      if (SteadyClock::now() >= until || stop()) return false;
    }
  }
  void Terminate() const { (void)kill(-pid_, SIGTERM); }

 private:
  // What is there; waits up to kLookMs for it, less when only the end is to come.
  void Read(ProcessResult* result) {
    int wait = out_.read_end >= 0 || err_.read_end >= 0 ? kLookMs : kEndMs;
    for (int i = 0; i < kMostReads; ++i) {
      std::array<pollfd, 2> fds = {{{out_.read_end, POLLIN, 0}, {err_.read_end, POLLIN, 0}}};
      if (poll(fds.data(), fds.size(), wait) <= 0) return;
      if (fds[0].revents != 0) Drain(&out_, &result->out);
      if (fds[1].revents != 0) Drain(&err_, &result->err);
      wait = out_.read_end < 0 && err_.read_end < 0 ? kEndMs : 0;
    }
  }

  static constexpr int kLookMs = 100;
  static constexpr int kMostReads = 64;  // then it is looked whether it is late
  static constexpr int kEndMs = 2;
  pid_t pid_;
  Pipe& out_;
  Pipe& err_;
};

}  // namespace

Result<ProcessResult> RealProcessRunner::Run(const std::vector<std::string>& argv,
                                             std::int64_t timeout_ms) {
  if (argv.empty()) return MakeError(Code::kInternal, "No program was named.");
  SHADOW_TRY(ReapGivenUp(argv[0]));
  Pipe out;
  Pipe err;
  if (out.read_end < 0 || err.read_end < 0) {
    return MakeError(Code::kUnavailable,
                     "No pipe for " + argv[0] + ": " + std::strerror(errno) + ".");
  }
  std::vector<char*> args;
  args.reserve(argv.size() + 1);
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  std::vector<char*> env = ChildEnvironment();

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write_end, 1);
  posix_spawn_file_actions_adddup2(&actions, err.write_end, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // The daemon blocks signals in its threads and ignores SIGPIPE; its children start clean.
  sigset_t none;
  sigset_t defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  // A group of its own: SIGTERM is for it and its children, and a terminal's Ctrl-C is not.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int started =
      posix_spawnp(&pid, argv[0].c_str(), &actions, &attributes, args.data(), env.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (started != 0) {
    return MakeError(Code::kUnavailable,
                     "The program " + argv[0] + " cannot be run: " + std::strerror(started) + ".",
                     "install it, or put its directory into PATH");
  }
  out.CloseWrite();
  err.CloseWrite();

  ProcessResult result;
  Child child(pid, &out, &err);
  const auto deadline = SteadyClock::now() + std::chrono::milliseconds(timeout_ms);
  if (child.WaitUntil(deadline, Interrupted, &result)) return result;
  const bool interrupted = Interrupted();
  child.Terminate();
  const auto end = SteadyClock::now() + std::chrono::milliseconds(term_ms_);
  const bool ended = child.WaitUntil(
      end, [] { return false; }, &result);
  if (!ended) {
    const std::lock_guard<std::mutex> lock(mutex_);
    given_up_.push_back({pid, argv[0]});
  }
  const std::string fate =
      ended ? " was stopped"
            : " does not end (process " + std::to_string(pid) + "); it was given up";
  if (interrupted) {
    return MakeError(Code::kUnavailable,
                     argv[0] + fate +
                         ", because it was not waited for any "
                         "longer.",
                     "try again");
  }
  return MakeError(
      Code::kIoError,
      argv[0] + fate + ": it took more than " + std::to_string(timeout_ms / 1000) + " s.",
      "look for a device that does not answer");
}

// Reaps what ended meanwhile. Refuses another of a program of which many hang already.
Status RealProcessRunner::ReapGivenUp(const std::string& program) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(given_up_, [](const GivenUp& g) {
    int status = 0;
    const pid_t ended = waitpid(g.pid, &status, WNOHANG);
    return ended == g.pid || (ended < 0 && errno == ECHILD);
  });
  const auto hanging = std::count_if(given_up_.begin(), given_up_.end(),
                                     [&](const GivenUp& g) { return g.program == program; });
  if (hanging < kMostGivenUp) return Ok();
  return MakeError(Code::kUnavailable,
                   std::to_string(hanging) + " processes of " + program +
                       " do not end; no further one is started.",
                   "look for a device that does not answer");
}

std::string FirstComplaint(const ProcessResult& result) {
  for (const std::string* text : {&result.err, &result.out}) {
    std::size_t at = 0;
    while (at < text->size()) {
      std::size_t end = text->find('\n', at);
      if (end == std::string::npos) end = text->size();
      std::string line = text->substr(at, end - at);
      const std::size_t first = line.find_first_not_of(" \t");
      at = end + 1;
      if (first == std::string::npos) continue;
      line = line.substr(first);
      // LVM says a lot before it says what is wrong.
      if (line.rfind("WARNING:", 0) == 0 || line.rfind("File descriptor", 0) == 0) continue;
      if (IsBanner(line)) continue;
      return line.substr(0, 300);
    }
  }
  return "exit code " + std::to_string(result.exit_code);
}

}  // namespace shadow
