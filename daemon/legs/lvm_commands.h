// SPDX-License-Identifier: Apache-2.0
// How LVM's commands are run: with settings of our own, never over our volumes, with a deadline.
//
// What the user wrote into lvm.conf must change neither what is reported (report{}) nor what is
// looked at: LVM reads the label of every device it may, so a volume whose disk does not answer
// would make every command hang. A filter given with each call leaves our volumes out; the user's
// own filter stays in force behind it. A command that changes a device and did not end well may
// have left it suspended: that is looked for, and mended with lvchange --refresh, before the next
// command. Thread safe.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/process.h"
#include "daemon/legs/lvm_report.h"

namespace shadow {

struct LvmCommandOptions {
  bool udev = true;  // false: LVM makes the nodes itself and waits for nobody
  /// Every path of devices that LVM must not look at. Asked before each command.
  std::function<std::vector<std::string>()> hidden = {};
};

/// What LVM reports. A group that cannot be read, or is not there, costs its volumes only.
struct LvmListing {
  std::vector<LvmVolume> volumes;
  bool complete = true;  // false: there may be more
  Error complaint = {};  // then: what LVM said
};

class LvmCommands {
 public:
  LvmCommands(ProcessRunner& runner, LvmCommandOptions options)
      : runner_(runner), options_(std::move(options)) {}

  /// For --config.
  std::string Settings();
  /// Any command, with our settings. `argv[0]` is the command.
  Result<ProcessResult> Command(std::vector<std::string> argv);
  /// One that has to end well; `what` it does, for the error: "extend fast/db0".
  Status Run(const std::vector<std::string>& argv, const std::string& what);
  /// The logical volumes of these groups or of these names ("group/name"); all if there are none.
  Result<LvmListing> List(const std::vector<std::string>& names);
  /// The same where all of them are needed.
  Result<std::vector<LvmVolume>> Volumes(const std::vector<std::string>& names);
  /// Those of the groups that are there.
  Result<std::vector<LvmGroup>> Groups(const std::vector<std::string>& names);

 private:
  std::string Filter();
  std::string UserFilter();
  void Mend();

  ProcessRunner& runner_;
  const LvmCommandOptions options_;
  std::mutex mutex_;
  std::optional<std::string> user_filter_;  // the elements of devices/filter, as LVM prints them
  std::set<std::string> doubtful_;          // "group/name" that a command may have left suspended
};

}  // namespace shadow
