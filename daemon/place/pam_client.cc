// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/pam_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "pam/v1/worker.pb.h"

namespace shadow {
namespace {

constexpr std::uint32_t kMaxFrame = 1U << 24;
constexpr int kWorkerFd = 3;

using Steady = std::chrono::steady_clock;

void AppendFrame(const std::string& body, std::string* out) {
  const auto n = static_cast<std::uint32_t>(body.size());
  for (int shift = 0; shift < 32; shift += 8) out->push_back(static_cast<char>(n >> shift));
  *out += body;
}

std::uint32_t FrameSize(const std::string& in) {
  std::uint32_t n = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    n |= static_cast<std::uint32_t>(static_cast<unsigned char>(in[i])) << (8 * i);
  }
  return n;
}

/// Starts the worker with `socket` as its descriptor 3. An errno value.
int Spawn(const PamClientOptions& options, int socket, pid_t* pid) {
  std::string fd = std::to_string(kWorkerFd);
  std::array<char*, 4> args = {const_cast<char*>(options.program.c_str()), fd.data(),
                               const_cast<char*>(options.state_dir.c_str()), nullptr};
  if (options.state_dir.empty()) args[2] = nullptr;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, socket, kWorkerFd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const int failed =
      posix_spawn(pid, options.program.c_str(), &actions, &attributes, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return failed;
}

// The daemon is protected from the kernel's search for memory, its model must not be: without it
// EWMA decides.
void MakeExpendable(pid_t pid) {
  std::ofstream file("/proc/" + std::to_string(pid) + "/oom_score_adj");
  file << 500;
}

}  // namespace

PamClient::PamClient(PamClientOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock), trouble_("it was not started yet") {}

PamClient::~PamClient() { End("the daemon is stopping"); }

bool PamClient::Start() {
  if (fd_ >= 0) return true;
  if (options_.program.empty()) {
    trouble_ = "the model was not built into this version";
    return false;
  }
  if (clock_.MonotonicUs() < start_at_us_) return false;
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    End(std::string("no socket for it: ") + std::strerror(errno));
    return false;
  }
  if (!options_.state_dir.empty()) {
    std::error_code ignored;  // the worker says so if it cannot use it
    std::filesystem::create_directories(options_.state_dir, ignored);
  }
  const int failed = Spawn(options_, ends[1], &pid_);
  close(ends[1]);
  if (failed != 0) {
    close(ends[0]);
    pid_ = -1;
    End("it cannot be started: " + options_.program + ": " + std::strerror(failed));
    return false;
  }
  MakeExpendable(pid_);
  fd_ = ends[0];
  (void)fcntl(fd_, F_SETFL, O_NONBLOCK);
  ++generation_;
  asked_us_ = clock_.MonotonicUs();
  trouble_.clear();
  return true;
}

void PamClient::End(std::string why) {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
  trouble_ = std::move(why);
  out_.clear();
  in_.clear();
  waiting_.clear();
  answers_.clear();
  told_.clear();
  pause_ms_ = std::clamp(pause_ms_ * 2, options_.first_pause_ms, options_.longest_pause_ms);
  start_at_us_ = clock_.MonotonicUs() + pause_ms_ * 1000;
}

Result<std::uint64_t> PamClient::Send(::pam::v1::Request request) {
  if (!Start()) {
    return MakeError(Code::kUnavailable, "The worker of the model is not there: " + trouble_ + ".");
  }
  const std::uint64_t id = next_id_++;
  request.set_id(id);
  const std::string body = request.SerializeAsString();
  if (body.empty() || body.size() > kMaxFrame) {
    return MakeError(Code::kInvalidArgument, "A request to the model is too large.",
                     "use larger blocks");
  }
  if (waiting_.empty()) asked_us_ = clock_.MonotonicUs();
  AppendFrame(body, &out_);
  waiting_.push_back(id);
  return id;
}

void PamClient::Tell(::pam::v1::Request request) {
  const auto id = Send(std::move(request));
  if (!id.ok()) return;
  told_.insert(*id);
  Pump(0);
}

void PamClient::Forget(const std::string& volume) {
  ::pam::v1::Request drop;
  drop.mutable_drop()->set_volume(volume);
  Tell(std::move(drop));
}

void PamClient::WriteSome() {
  std::size_t done = 0;
  while (fd_ >= 0 && done < out_.size()) {
    const ssize_t n = send(fd_, out_.data() + done, out_.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      End("it died");
      return;
    }
    done += static_cast<std::size_t>(n);
  }
  out_.erase(0, done);
}

void PamClient::ReadSome() {
  std::array<char, 65536> buffer{};
  while (fd_ >= 0) {
    const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      End("it died");
      return;
    }
    in_.append(buffer.data(), static_cast<std::size_t>(n));
    std::size_t at = 0;
    while (in_.size() - at >= 4) {
      const std::uint32_t size = FrameSize(in_.substr(at, 4));
      if (size == 0 || size > kMaxFrame || waiting_.empty()) {
        End("it sent what is no answer");
        return;
      }
      if (in_.size() - at - 4 < size) break;
      ::pam::v1::Reply reply;
      std::string frame = in_.substr(at + 4, size);
      if (!reply.ParseFromString(frame) || reply.id() != waiting_.front()) {
        End("it sent what is no answer");
        return;
      }
      // One that answers is well: the next pause is a short one again.
      pause_ms_ = 0;
      if (told_.erase(waiting_.front()) == 0) {
        answers_.push_back({waiting_.front(), std::move(frame)});
      }
      waiting_.pop_front();
      asked_us_ = clock_.MonotonicUs();
      at += 4 + size;
    }
    in_.erase(0, at);
  }
}

void PamClient::CheckLate() {
  if (fd_ < 0 || waiting_.empty()) return;
  if (clock_.MonotonicUs() - asked_us_ < options_.late_ms * 1000) return;
  End("it did not answer for " + std::to_string(options_.late_ms / 1000) + " s and was ended");
}

void PamClient::Pump(std::int64_t wait_ms, std::uint64_t until) {
  const auto deadline = Steady::now() + std::chrono::milliseconds(wait_ms);
  while (fd_ >= 0) {
    WriteSome();
    if (fd_ >= 0) ReadSome();
    CheckLate();
    if (fd_ < 0 || waiting_.empty()) return;
    if (until != 0 && waiting_.front() > until) return;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Steady::now()).count();
    if (left <= 0) return;
    pollfd ready{fd_, static_cast<short>(out_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    if (poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000))) < 0 &&
        errno != EINTR) {
      return;
    }
  }
}

bool PamClient::Take(std::uint64_t id, ::pam::v1::Reply* reply) {
  const auto at =
      std::find_if(answers_.begin(), answers_.end(), [id](const Answer& a) { return a.id == id; });
  if (at == answers_.end()) return false;
  const bool good = reply->ParseFromString(at->frame);
  answers_.erase(at);
  return good;
}

}  // namespace shadow
