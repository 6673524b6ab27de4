// SPDX-License-Identifier: Apache-2.0
// Hides the legs of every table before the kernel sees it.
//
// One door leads to the kernel (DeviceMapper), so one place keeps the rule: a device is in the
// table of legs, and a logical volume carries activation skip, before it becomes a leg. It stays
// hidden when the volume goes down, and while an old table may still be live. Thread safe.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/process.h"
#include "daemon/boot/leg_table.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/dm/table.h"

namespace shadow {

struct LegHiderOptions {
  bool udev = true;  // udev runs: it is told to look again; LVM waits for it
  /// What LVM's commands are given with --config; none: what they need without udev.
  std::function<std::string()> lvm_settings = {};
};

class LegHider {
 public:
  LegHider(LegTables tables, ProcessRunner& runner, LegHiderOptions options)
      : tables_(std::move(tables)), runner_(runner), options_(std::move(options)) {}

  /// The legs of a table that is about to be loaded, beside those the volume has.
  Status Add(const std::string& uuid, const std::string& name, const ShadowTable& table);
  /// The table is live: the volume has these legs. What is only a copy (role "old") stays hidden.
  Status Settle(const std::string& uuid, const std::string& name, const ShadowTable& table);
  /// The volume is no more. Its devices can be seen again, and LVM activates its logical volumes.
  Status Forget(const std::string& uuid);
  /// The device is no leg of the volume any more, but holds an old copy: it stays hidden as `id`.
  Status KeepHidden(const std::string& uuid, const std::string& name, const std::string& id);
  /// These logical volumes carry activation skip already: LVM is not asked to set it. Replaces what
  /// was known before.
  void KnowSkipped(const std::vector<std::string>& ids);

 private:
  [[nodiscard]] std::vector<LegEntry> EntriesOf(const std::string& uuid) const;
  Status Hide(const std::string& uuid, const std::vector<LegEntry>& before,
              const std::vector<LegEntry>& after, const ShadowTable& table);
  void SkipActivation(const std::string& id, bool skip);

  LegTables tables_;
  ProcessRunner& runner_;
  LegHiderOptions options_;
  std::mutex mutex_;  // of what is below, and of the table of legs; not held over a command
  std::set<std::string> skipped_;
};

/// Makes udev look at a device again, as closing it after writing does (udev's "watch").
void PokeUdev(const std::string& device);

/// `dm` with `hider` before each of its tables. Both must outlive it.
[[nodiscard]] std::unique_ptr<DeviceMapper> HideLegs(DeviceMapper& dm, LegHider& hider);

}  // namespace shadow
