// SPDX-License-Identifier: Apache-2.0
// dm_wait NAME TEXT...: returns when the status line of the device's only target holds every TEXT.
// It asks every 5 ms in one process: starting dmsetup each time would take the guest's only CPU
// away from the I/O that is being measured. Exit status 0; 1 if the device is not there.
#include <libdevmapper.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

namespace {

/// False if the status cannot be read.
bool Status(const char* name, std::string* text) {
  dm_task* task = dm_task_create(DM_DEVICE_STATUS);
  if (task == nullptr) return false;
  // No flush: a status with one waits for a metadata commit in some targets.
  const bool done =
      dm_task_set_name(task, name) != 0 && dm_task_no_flush(task) != 0 && dm_task_run(task) != 0;
  if (done) {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    char* type = nullptr;
    char* params = nullptr;
    dm_get_next_target(task, nullptr, &start, &length, &type, &params);
    *text = std::string(" ") + (params != nullptr ? params : "") + " ";
  }
  dm_task_destroy(task);
  return done;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("Usage: dm_wait NAME TEXT...\n", stderr);
    return 2;
  }
  std::string text;
  while (Status(argv[1], &text)) {
    if (std::all_of(argv + 2, argv + argc,
                    [&text](const char* want) { return text.find(want) != std::string::npos; })) {
      return 0;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return 1;
}
