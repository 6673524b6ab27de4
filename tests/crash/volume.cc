// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/volume.h"

#include <libdevmapper.h>

#include <memory>

namespace shadow::crash {
namespace {

struct Free {
  void operator()(dm_task* task) const { dm_task_destroy(task); }
};
using Task = std::unique_ptr<dm_task, Free>;

Task MakeTask(int type, const std::string& name) {
  dm_udev_set_sync_support(0);
  Task task(dm_task_create(type));
  if (task && dm_task_set_name(task.get(), name.c_str()) == 0) task.reset();
  return task;
}

}  // namespace

Result<Volume> Volume::Create(const std::string& name, const std::string& uuid,
                              std::uint64_t sectors, const std::string& parameters) {
  const Task task = MakeTask(DM_DEVICE_CREATE, name);
  if (!task || dm_task_set_uuid(task.get(), uuid.c_str()) == 0 ||
      dm_task_add_target(task.get(), 0, sectors, "shadow", parameters.c_str()) == 0 ||
      dm_task_run(task.get()) == 0) {
    return MakeError(Code::kFailedPrecondition, "the kernel refused the table " + parameters);
  }
  dm_task_update_nodes();  // there is no udev in the guest
  return Volume(name);
}

Volume::~Volume() {
  if (!name_.empty()) static_cast<void>(Remove());
}

Status Volume::Message(const std::string& text) const {
  const Task task = MakeTask(DM_DEVICE_TARGET_MSG, name_);
  if (!task || dm_task_set_sector(task.get(), 0) == 0 ||
      dm_task_set_message(task.get(), text.c_str()) == 0 || dm_task_run(task.get()) == 0) {
    return MakeError(Code::kFailedPrecondition, "the message '" + text + "' was refused");
  }
  return Unit{};
}

std::string Volume::StatusLine() const {
  const Task task = MakeTask(DM_DEVICE_STATUS, name_);
  if (!task || dm_task_run(task.get()) == 0) return {};
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  char* type = nullptr;
  char* text = nullptr;
  dm_get_next_target(task.get(), nullptr, &start, &length, &type, &text);
  return std::string(" ") + (text == nullptr ? "" : text) + " ";
}

Status Volume::Remove() {
  const Task task = MakeTask(DM_DEVICE_REMOVE, name_);
  name_.clear();
  if (!task || dm_task_retry_remove(task.get()) == 0 || dm_task_run(task.get()) == 0) {
    return MakeError(Code::kFailedPrecondition, "the volume cannot be removed");
  }
  dm_task_update_nodes();
  return Unit{};
}

}  // namespace shadow::crash
