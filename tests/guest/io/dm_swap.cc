// SPDX-License-Identifier: Apache-2.0
// dm_swap NAME TABLE [MESSAGE...]: sends the messages, loads the table, suspends and resumes, all
// in one locked-in-memory process, as shadowd does: the pause that I/O sees is then the kernel's
// own and not the start of four programs. Exit status 0, or 1 with libdevmapper's words on stderr.
#include <libdevmapper.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using Setup = bool (*)(dm_task*, const char*);

bool Run(int type, const char* name, const char* argument, Setup setup) {
  dm_task* task = dm_task_create(type);
  const bool done = task != nullptr && dm_task_set_name(task, name) != 0 &&
                    (setup == nullptr || setup(task, argument)) && dm_task_run(task) != 0;
  if (task != nullptr) dm_task_destroy(task);
  return done;
}

bool SetTable(dm_task* task, const char* table) {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  char type[16];
  int used = 0;
  if (std::sscanf(table, "%" SCNu64 " %" SCNu64 " %15s %n", &start, &length, type, &used) != 3) {
    return false;
  }
  return dm_task_add_target(task, start, length, type, table + used) != 0;
}

bool SetMessage(dm_task* task, const char* message) {
  return dm_task_set_sector(task, 0) != 0 && dm_task_set_message(task, message) != 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || std::strcmp(argv[1], "--help") == 0) {
    std::fputs("Usage: dm_swap NAME TABLE [MESSAGE...]\n", argc < 3 ? stderr : stdout);
    return argc < 3 ? 2 : 0;
  }
  const char* name = argv[1];
  mlockall(MCL_CURRENT | MCL_FUTURE);
  dm_udev_set_sync_support(0);
  for (int i = 3; i < argc; ++i) {
    if (!Run(DM_DEVICE_TARGET_MSG, name, argv[i], SetMessage)) return 1;
  }
  const bool done = Run(DM_DEVICE_RELOAD, name, argv[2], SetTable) &&
                    Run(DM_DEVICE_SUSPEND, name, nullptr, nullptr) &&
                    Run(DM_DEVICE_RESUME, name, nullptr, nullptr);
  return done ? 0 : 1;
}
