// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/io/mark.h"

#include <libdevmapper.h>

#include <memory>

#include "tests/guest/io/device.h"

namespace shadow::io {

void Mark(const std::string& name, const std::string& text) {
  dm_udev_set_sync_support(0);
  const std::unique_ptr<dm_task, void (*)(dm_task*)> task(dm_task_create(DM_DEVICE_TARGET_MSG),
                                                          dm_task_destroy);
  if (!task || dm_task_set_name(task.get(), name.c_str()) == 0 ||
      dm_task_set_sector(task.get(), 0) == 0 ||
      dm_task_set_message(task.get(), ("mark " + text).c_str()) == 0 ||
      dm_task_run(task.get()) == 0) {
    Die("the log of " + name + " takes no mark.");
  }
}

}  // namespace shadow::io
