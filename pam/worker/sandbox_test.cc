// SPDX-License-Identifier: Apache-2.0
// From inside the sandbox: what a worker that somebody took over could do. Each attempt is made
// outside first, where it must work as far as the caller may, so that it is known to be a real one.
#include "pam/worker/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

namespace shadow::pam {
namespace {

bool Works(long result) {
  if (result < 0) return false;
  return true;
}
bool Opens(const char* path, int flags = O_RDONLY) {
  const int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd >= 0) close(fd);
  return fd >= 0;
}
bool Connects(int family, int type, int protocol = 0) {
  const int fd = socket(family, type | SOCK_CLOEXEC, protocol);
  if (fd >= 0) close(fd);
  return fd >= 0;
}
/// A copy of the process is allowed, to train in. What the copy can do that the process cannot.
bool CopyOpens() {
  const pid_t pid = fork();
  if (pid == 0) _exit(open("/etc/passwd", O_RDONLY) >= 0 || kill(getppid(), 0) == 0 ? 0 : 1);
  int status = 0;
  if (pid > 0) waitpid(pid, &status, 0);
  return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
bool Executes() {  // in this process: forking may be denied alone
  const pid_t pid = vfork();
  if (pid == 0) {
    execl("/bin/true", "true", nullptr);
    _exit(127);
  }
  int status = 0;
  if (pid > 0) waitpid(pid, &status, 0);
  return pid > 0 && status == 0;
}
bool MapsCode() {
  void* p = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p != MAP_FAILED) munmap(p, 4096);
  return p != MAP_FAILED;
}
bool MakesCode() {
  void* p = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool made = p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
  if (p != MAP_FAILED) munmap(p, 4096);
  return made;
}
bool OpensMany() {
  std::vector<int> fds;
  for (int i = 0; i < 64; ++i) fds.push_back(dup(2));
  const bool all = fds.back() >= 0;
  for (int fd : fds) {
    if (fd >= 0) close(fd);
  }
  return all;
}
[[maybe_unused]] bool MapsMuch() {
  const std::size_t much = std::size_t{64} << 30;
  void* p = mmap(nullptr, much, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p != MAP_FAILED) munmap(p, much);
  return p != MAP_FAILED;
}

struct Attempt {
  const char* what;
  bool needs_root;  // works outside only for root
  std::function<bool()> works;
};

const std::vector<Attempt>& Attempts() {
  static const std::vector<Attempt> attempts = {
    {"open a device", false, [] { return Opens("/dev/null") || Opens("/dev/zero"); }},
    {"open a file of the system", false, [] { return Opens("/etc/passwd"); }},
    {"see processes", false, [] { return Opens("/proc/self/maps"); }},
    {"climb out of the root", false,
     [] { return Opens("../../../../../../etc/passwd") || Opens("/../../../etc/passwd"); }},
    {"make a network socket", false, [] { return Connects(AF_INET, SOCK_STREAM); }},
    {"make a datagram socket", false, [] { return Connects(AF_INET6, SOCK_DGRAM); }},
    {"make a local socket", false, [] { return Connects(AF_UNIX, SOCK_STREAM); }},
    {"talk to the kernel", false, [] { return Connects(AF_NETLINK, SOCK_RAW, 0); }},
    {"get more in a copy of itself", false, CopyOpens},
    {"get priority", true, [] { return Works(setpriority(PRIO_PROCESS, 0, -5)); }},
    {"slow down others", true, [] { return Works(setpriority(PRIO_PGRP, 0, 1)); }},
    {"execute a program", false, Executes},
    {"map code", false, MapsCode},
    {"make data code", false, MakesCode},
    {"open many files", false, OpensMany},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    {"map 64 GiB", false, MapsMuch},
#endif
    {"control a descriptor", false,
     [] {
       int n = 0;
       return Works(ioctl(3, FIONREAD, &n));
     }},
    {"signal the parent", false, [] { return Works(kill(getppid(), 0)); }},
    {"signal all", false, [] { return Works(kill(-1, 0)); }},
    {"raise a limit's count", false,
     [] {
       rlimit limit{};
       getrlimit(RLIMIT_NOFILE, &limit);
       return Works(setrlimit(RLIMIT_NOFILE, &limit));
     }},
    {"be traced", false, [] { return Works(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }},
    {"make a namespace", false, [] { return Works(unshare(CLONE_FILES)); }},
    {"make a device node", true,
     [] {
       const bool made = Works(mknod("node", S_IFBLK | 0600, makedev(7, 0)));
       unlink("node");
       return made;
     }},
    {"be root", true, [] { return Works(setuid(0)); }},
    {"change its root", true, [] { return Works(chroot("/")); }},
    {"set the host's name", true,
     [] {
       std::array<char, 256> name{};
       gethostname(name.data(), name.size());
       return Works(sethostname(name.data(), strlen(name.data())));
     }},
  };
  return attempts;
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pam_sandbox_test.XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  /// Runs `inside` in a child that entered the sandbox; returns what it wrote to descriptor 3.
  std::string Inside(const SandboxOptions& given,
                     const std::function<std::string()>& inside) const {
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      // Away from where the pair lies.
      const int end = fcntl(ends[1], F_DUPFD, 10);
      SandboxOptions options = given;
      options.socket = 3;
      dup2(end, 3);
      const auto entered = EnterSandbox(options);
      std::string text = entered.ok() ? inside() : "refused: " + entered.error().ToString();
      text += '.';
      (void)!write(3, text.data(), text.size());
      _exit(0);
    }
    close(ends[1]);
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = read(ends[0], buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    return text;
  }
  static std::string WhatWorks() {
    std::string text;
    for (const Attempt& attempt : Attempts()) {
      if (attempt.works()) text += std::string(attempt.what) + ", ";
    }
    return text;
  }

  std::string dir_;
};

TEST_F(SandboxTest, TheAttemptsAreReal) {
  const pid_t pid = fork();
  if (pid == 0) {
    (void)!chdir(dir_.c_str());
    std::array<int, 2> ends{};
    (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data());
    dup2(ends[0], 3);
    int failed = 0;
    for (const Attempt& attempt : Attempts()) {
      if (attempt.needs_root && geteuid() != 0) continue;
      if (attempt.works()) continue;
      std::fprintf(stderr, "outside of the sandbox one cannot %s: %s\n", attempt.what,
                   std::strerror(errno));
      ++failed;
    }
    _exit(failed);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(SandboxTest, NothingWorksInside) {
  SandboxOptions options;
  EXPECT_EQ(Inside(options, WhatWorks), ".") << "without a state directory";
  options.state_dir = dir_;
  EXPECT_EQ(Inside(options, WhatWorks), ".") << "with a state directory";
}

TEST_F(SandboxTest, AUsersOwnWorkerIsShutInToo) {
  if (geteuid() != 0) GTEST_SKIP() << "is what the other tests did";
  ASSERT_EQ(chown(dir_.c_str(), 65534, 65534), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
    SandboxOptions options;
    options.state_dir = dir_;
    const std::string text = Inside(options, WhatWorks);
    if (text != ".") std::fprintf(stderr, "%s\n", text.c_str());
    _exit(text == "." ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(SandboxTest, SnapshotsThreadsAndTheSocketStay) {
  SandboxOptions options;
  options.state_dir = dir_;
  const std::string text = Inside(options, [] {
    const int fd = open("/db0.pam.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0;
    close(fd);
    good = good && rename("/db0.pam.new", "/db0.pam") == 0 && Opens("/db0.pam");
    int sum = 0;
    std::thread([&sum] { sum = 1; }).join();
    return std::string(good && sum == 1 && getuid() != 0 ? "good" : "bad");
  });
  EXPECT_EQ(text, "good.");
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/db0.pam"));
}

TEST_F(SandboxTest, RefusesWhatItCannotDo) {
  SandboxOptions options;
  options.state_dir = dir_ + "/absent";
  EXPECT_NE(Inside(options, WhatWorks).find("refused: the worker cannot"), std::string::npos);
  options.socket = 1;
  EXPECT_FALSE(EnterSandbox(options).ok());
}

}  // namespace
}  // namespace shadow::pam
