// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

namespace shadow::ctl {

Interrupts::Interrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] {
    for (;;) {
      pollfd fds[2] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0) continue;
      if (fds[1].revents != 0) return;
      signalfd_siginfo info{};
      if (::read(signal_fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        Take(static_cast<int>(info.ssi_signo));
      }
    }
  });
}

Interrupts::~Interrupts() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_fd_, &one, sizeof one);
  thread_.join();
  ::close(signal_fd_);
  ::close(stop_fd_);
}

void Interrupts::OnInterrupt(std::function<void()> action) {
  const std::lock_guard lock(mutex_);
  if (action != nullptr) interrupted_ = false;
  action_ = std::move(action);
}

bool Interrupts::interrupted() const {
  const std::lock_guard lock(mutex_);
  return interrupted_;
}

bool Interrupts::acting() const {
  const std::lock_guard lock(mutex_);
  return action_ != nullptr;
}

bool Interrupts::WaitFor(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return interrupted_; });
}

void Interrupts::Take(int signal) {
  const std::lock_guard lock(mutex_);
  if (interrupted_ || action_ == nullptr) ::_exit(128 + signal);
  interrupted_ = true;
  changed_.notify_all();
  action_();
}

}  // namespace shadow::ctl
