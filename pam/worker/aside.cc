// SPDX-License-Identifier: Apache-2.0
// See aside.h. What the work said is followed by one byte that says that this is all of it.
#include "pam/worker/aside.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace shadow::pam {
namespace {

constexpr char kAll = '.';

[[noreturn]] void Work(int fd, const std::function<std::string()>& work, unsigned seconds) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)setpriority(PRIO_PROCESS, 0, 19);
  itimerval most{};
  most.it_value.tv_sec = seconds;
  (void)setitimer(ITIMER_REAL, &most, nullptr);
  const std::string said = work() + kAll;
  std::size_t done = 0;
  while (done < said.size()) {
    const ssize_t n = write(fd, said.data() + done, said.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  _exit(0);
}

}  // namespace

Result<std::unique_ptr<Aside>> Aside::Start(const std::function<std::string()>& work,
                                            unsigned seconds) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return MakeError(Code::kIoError, std::string("no pipe: ") + std::strerror(errno));
  }
  const pid_t pid = fork();
  if (pid == 0) Work(ends[1], work, seconds);
  const int why = errno;
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return MakeError(Code::kIoError, std::string("no other process: ") + std::strerror(why));
  }
  return std::unique_ptr<Aside>(new Aside(pid, ends[0]));
}

Aside::~Aside() {
  if (pid_ <= 0) return;
  close(fd_);
  // In the sandbox nobody may be killed: the copy ends when it finds nobody to speak to.
  const int options = kill(pid_, SIGKILL) == 0 ? 0 : WNOHANG;
  while (waitpid(pid_, nullptr, options) < 0 && errno == EINTR) {
  }
}

std::optional<Result<std::string>> Aside::Take(bool wait) {
  std::array<char, 65536> part{};
  while (pid_ > 0) {
    pollfd ready{fd_, POLLIN, 0};
    const int polled = poll(&ready, 1, wait ? -1 : 0);
    if (polled == 0) return std::nullopt;
    if (polled < 0) {
      if (errno == EINTR) continue;
      break;
    }
    const ssize_t n = read(fd_, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    said_.append(part.data(), static_cast<std::size_t>(n));
  }
  if (pid_ > 0) {
    close(fd_);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  if (said_.empty() || said_.back() != kAll) {
    return MakeError(Code::kAborted, "the training was ended before it was done");
  }
  said_.pop_back();
  return Result<std::string>(std::move(said_));
}

}  // namespace shadow::pam
