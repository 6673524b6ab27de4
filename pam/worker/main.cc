// SPDX-License-Identifier: Apache-2.0
// pam_worker: the worker process. `pam_worker FD [STATE_DIR]`; FD is a connected stream socket,
// above
// 2. Shuts itself in (sandbox.h) before it reads from it; as root it becomes the user
// dm-shadow-pam, or nobody if there is none. Exit status: 0 the other end closed, 1 failed, 2 bad
// usage. $PAM_UPDATE_MINUTES: minutes of windows between on-line updates (default 15), 0 for none,
// where training would take too long (tests in an emulated machine).
#include <pwd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "pam/worker/sandbox.h"
#include "pam/worker/warm_up.h"
#include "pam/worker/worker.h"

#if defined(__SANITIZE_ADDRESS__)
// The leak checker stops the process from a second one, which the sandbox forbids.
extern "C" int __lsan_is_turned_off() { return 1; }  // NOLINT(bugprone-reserved-identifier)
#endif

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: pam_worker FD [STATE_DIR]\n");
    return 2;
  }
  char* end = nullptr;
  const long fd = std::strtol(argv[1], &end, 10);
  if (*end != 0 || fd < 0 || fd > 65535) {
    std::fprintf(stderr, "pam_worker: '%s' is no file descriptor\n", argv[1]);
    return 2;
  }
  shadow::pam::SandboxOptions sandbox;
  sandbox.socket = static_cast<int>(fd);
  if (argc == 3) sandbox.state_dir = argv[2];
  if (const passwd* user = getpwnam("dm-shadow-pam"); user != nullptr) {
    sandbox.user = user->pw_uid;
    sandbox.group = user->pw_gid;
  }
  shadow::pam::WarmUpLibTorch();
  const auto state_dir = shadow::pam::EnterSandbox(sandbox);
  if (!state_dir.ok()) {
    std::fprintf(stderr, "pam_worker: %s\n", state_dir.error().ToString().c_str());
    return 1;
  }
  shadow::pam::WorkerOptions options;
  options.state_dir = *state_dir;
  if (const char* minutes = std::getenv("PAM_UPDATE_MINUTES"); minutes != nullptr) {
    options.update_minutes = static_cast<std::uint32_t>(std::clamp(std::atoi(minutes), 0, 10'000));
  }
  return shadow::pam::ServeWorker(static_cast<int>(fd), options);
}
