// SPDX-License-Identifier: Apache-2.0
#include "pam/worker/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace shadow::pam {
namespace {

constexpr rlim_t kFiles = 16;
constexpr rlim_t kFileBytes = rlim_t{4} << 30;  // a snapshot of the most blocks is below

Error Cannot(const std::string& what) {
  const int error = errno;
  const Code code = error == EPERM || error == EACCES ? Code::kPermissionDenied : Code::kIoError;
  return MakeError(code, "the worker cannot " + what + ": " + std::strerror(error),
                   "run it as root, or where user namespaces are allowed");
}

Status CloseTheRest(int socket) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0) return Cannot("open /dev/null");
  const auto close_them = [](unsigned first, unsigned last) {
    return first > last || syscall(SYS_close_range, first, last, 0) == 0;
  };
  const auto kept = static_cast<unsigned>(socket);
  if (!close_them(3, kept - 1) || !close_them(kept + 1, ~0U)) return Cannot("close files");
  return Ok();
}

Status Limit(const SandboxOptions& options) {
  const auto limit = [](auto resource, rlim_t value) {
    const rlimit both{value, value};
    return setrlimit(resource, &both) == 0;
  };
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Sanitizers map terabytes of addresses that they never touch.
  if (!limit(RLIMIT_AS, options.memory_bytes)) return Cannot("limit its memory");
#else
  (void)options;
#endif
  if (!limit(RLIMIT_NOFILE, kFiles) || !limit(RLIMIT_FSIZE, kFileBytes) || !limit(RLIMIT_CORE, 0) ||
      !limit(RLIMIT_MEMLOCK, 0)) {
    return Cannot("limit its files");
  }
  return Ok();
}

/// Makes the state directory, or one that is empty and gone, the root directory.
Status ChangeRoot(const std::string& state_dir) {
  if (!state_dir.empty()) {
    if (chroot(state_dir.c_str()) != 0 || chdir("/") != 0) return Cannot("shut itself in");
    return Ok();
  }
  std::array<char, 32> name{"/tmp/pam_worker_root_XXXXXX"};
  if (mkdtemp(name.data()) == nullptr) return Cannot("make an empty directory");
  const int fd = open(name.data(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const bool removed = rmdir(name.data()) == 0;
  const bool inside = fd >= 0 && removed && fchdir(fd) == 0 && chroot(".") == 0;
  const Status status = inside ? Ok() : Cannot("shut itself in");
  if (fd >= 0) close(fd);
  return status;
}

Status GiveUpPrivileges(const SandboxOptions& options) {
  if (geteuid() == 0) {
    if (!options.state_dir.empty()) {
      const int fd =
          open(options.state_dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      const bool given = fd >= 0 && fchown(fd, options.user, options.group) == 0;
      const Status status = given ? Ok() : Cannot("use its state directory");
      if (fd >= 0) close(fd);
      SHADOW_TRY(status);
    }
    SHADOW_TRY(ChangeRoot(options.state_dir));
    if (setgroups(0, nullptr) != 0 || setresgid(options.group, options.group, options.group) != 0 ||
        setresuid(options.user, options.user, options.user) != 0) {
      return Cannot("become another user");
    }
    return Ok();
  }
  // A user's own worker: a namespace in which it may change its root, and then may no more.
  if (unshare(CLONE_NEWUSER) != 0) return Cannot("make a user namespace");
  SHADOW_TRY(ChangeRoot(options.state_dir));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> none{};
  if (syscall(SYS_capset, &header, none.data()) != 0) return Cannot("drop its capabilities");
  return Ok();
}

/// The system calls that are left. Everything else fails with EPERM, which libraries that only try
/// something survive, and open() fails with EACCES when there is no state directory.
Status Filter(bool has_files) {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                                seccomp_release);
  if (filter == nullptr) return Cannot("make a filter");
  int failed = 0;
  const auto allow = [&](int call, auto... conditions) {
    failed |=
        seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, sizeof...(conditions), conditions...);
  };
  // The socket, and waiting for it. Both ends are connected before: nothing makes another.
  for (int call : {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev),
                   SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(poll), SCMP_SYS(ppoll),
                   SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(newfstatat)}) {
    allow(call);
  }
  // Memory, but none that becomes code.
  for (int call : {SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise)})
    allow(call);
  for (int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    allow(call, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  }
  // Threads: LibTorch trains and OpenMP multiplies in several.
  for (int call : {SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
                   SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(gettid),
                   SCMP_SYS(getpid), SCMP_SYS(membarrier), SCMP_SYS(exit), SCMP_SYS(exit_group)}) {
    allow(call);
  }
  allow(SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
  // A copy of itself, to train in: it is shut in as well, has the lowest priority, ends with this
  // one, and tells what it learned through a pipe. No other program.
  allow(SCMP_SYS(clone), SCMP_A0(SCMP_CMP_EQ, CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD));
  for (int call : {SCMP_SYS(wait4), SCMP_SYS(pipe2), SCMP_SYS(setitimer)}) allow(call);
  allow(SCMP_SYS(setpriority), SCMP_A0(SCMP_CMP_EQ, PRIO_PROCESS), SCMP_A1(SCMP_CMP_EQ, 0));
  allow(SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_PDEATHSIG));
  // Its flags lie in memory, which a filter cannot see; the C library then uses clone.
  failed |= seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  // Signals to itself: abort().
  for (int call : {SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
                   SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall)}) {
    allow(call);
  }
  allow(SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(getpid())));
  // Time and chance; limits, to read only.
  for (int call :
       {SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
        SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(getrusage), SCMP_SYS(sysinfo)}) {
    allow(call);
  }
  allow(SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0));
  // Snapshots.
  if (has_files) {
    for (int call : {SCMP_SYS(openat), SCMP_SYS(fsync), SCMP_SYS(rename), SCMP_SYS(unlink),
                     SCMP_SYS(ftruncate)}) {
      allow(call);
    }
    allow(SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFL));
  } else {
    failed |= seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0);
  }
#if defined(__SANITIZE_ADDRESS__)
  // How the sanitizer finds out whether memory can be read.
  allow(SCMP_SYS(pipe));
#endif
  // Threads that a library started while it was loaded are shut in, too.
  failed |= seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  if (failed == 0) failed = seccomp_load(filter.get());
  if (failed == 0) return Ok();
  errno = -failed;
  return Cannot("load its filter");
}

}  // namespace

Result<std::string> EnterSandbox(const SandboxOptions& options) {
  if (options.socket <= 2) {
    errno = EBADF;
    return Cannot("serve on a standard descriptor");
  }
  SHADOW_TRY(CloseTheRest(options.socket));
  SHADOW_TRY(GiveUpPrivileges(options));
  SHADOW_TRY(Limit(options));
  // Nobody of the same user may look into it, and nothing it could start would gain anything.
  if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return Cannot("bar new privileges");
  }
  SHADOW_TRY(Filter(!options.state_dir.empty()));
  return std::string(options.state_dir.empty() ? "" : "/");
}

}  // namespace shadow::pam
