// SPDX-License-Identifier: Apache-2.0
// A machine in memory: disks, volume groups, device mapper, file systems. It outlives the daemon
// under test, so a test can kill the daemon at any call and start it again, with or without a
// reboot.
//
// Every call of the daemon into the world passes a crash point before and after its effect.
// CrashAt(n) makes the n-th point throw SimCrash: the only exception, and only in tests.
// The daemon sees it through dm(), blocks(), legs(), fs(),
// identities() and guard(). Thread safe through one
// mutex, except for the scene-setting methods, which are for the test's own thread while nothing
// else runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/dm/block_devices.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/dm/latency.h"
#include "daemon/fs/filesystems.h"
#include "daemon/identity/identities.h"
#include "daemon/legs/legs.h"
#include "daemon/sim/sim_target.h"
#include "kernel/core/shadow_format.h"

namespace shadow::sim {

/// "The daemon was killed here."
struct SimCrash {
  std::string where;
};

struct SimDevice {
  std::string uuid;
  std::unique_ptr<SimTarget> target;
  std::optional<ShadowTable> inactive;
  int open_count = 0;
  bool suspended = false;
  bool live = false;
  bool stats = false;
  std::uint64_t counted_sectors = 0;   // of the region that is never cleared; 0: none
  std::uint64_t counted_ios = 0;       // in it
  std::vector<std::uint64_t> counted;  // in its histogram
};

struct SimLv {
  std::string storage_class;
  LegOrder order;
};

class SimWorld {
 public:
  SimWorld();
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  [[nodiscard]] DeviceMapper& dm();
  [[nodiscard]] BlockDevices& blocks();
  [[nodiscard]] LegProvider& legs();
  [[nodiscard]] Filesystems& fs();
  [[nodiscard]] Identities& identities();
  [[nodiscard]] DeviceGuard& guard();

  void AddDisk(const std::string& path, std::uint64_t size_bytes);
  void AddGroup(const std::string& storage_class, std::uint64_t size_bytes);
  void AddDeviceClass(const std::string& storage_class, std::vector<std::string> paths);
  /// A logical volume somebody else made.
  void AddForeignLv(const std::string& path, const std::string& storage_class, std::uint64_t size);
  /// Two devices change their names, as disks do at a reboot. Only while no table has them.
  void SwapNames(const std::string& a, const std::string& b);
  /// The identity of a device that has none but its name follows its name.
  void NameOnly(const std::string& path);
  /// A disk, or the one under a logical volume, is not there until Connect(); nothing on it
  /// changes.
  void Disconnect(const std::string& path);
  void Connect(const std::string& path);
  [[nodiscard]] const DiskMap& away() const { return away_; }
  [[nodiscard]] const std::map<std::string, SimLv>& lvs_away() const { return lvs_away_; }
  /// LVM changes nothing in a group of which a disk is missing.
  [[nodiscard]] bool GroupIsWhole(const std::string& storage_class) const;
  /// What a metadata device says of its volume, as the kernel writes it; nothing if it is none.
  [[nodiscard]] std::optional<shadow_superblock> Superblock(const std::string& path);
  /// Blocks that only this leg (0 origin, 1 target, 2 and 3 tiers) has, as a volume's metadata say.
  [[nodiscard]] Result<std::uint64_t> OnlyCopies(const std::string& path, int leg);
  /// Time goes on: movers copy.
  void Advance(std::int64_t ms);
  /// All device-mapper devices are gone; disks, logical volumes and metadata stay.
  void Reboot();
  /// Throws SimCrash at the n-th crash point from now; 0: never.
  void CrashAt(std::uint64_t n);
  /// A crash point. Parts outside the world (the store) may have their own.
  void Point(const std::string& where);
  /// Before the n-th call from now, of any kind, somebody else acts: an administrator, udev,
  /// another client. What acts may call into the world itself. 0: nobody.
  void MeanwhileAt(std::uint64_t n, std::function<void()> act);
  /// A call begins. Between the end of a hold and the table that takes the device nobody acts.
  void Begin(const std::string& name);
  /// The next call of this name ("Load", "Make", "Message cutover", ...) fails with `error`.
  void FailNext(const std::string& call, Error error, int times = 1);
  /// For the calls' own use: the error to fail with, or Ok.
  Status Injected(const std::string& call);

  [[nodiscard]] bool HasDevice(const std::string& name) const { return devices.count(name) != 0; }
  SimTarget& target(const std::string& name) { return *devices.at(name).target; }

  std::recursive_mutex mutex;  // what happens meanwhile calls in, too
  DiskMap disks;
  MetadataMap metadata;
  std::map<std::string, SimDevice> devices;
  std::map<std::string, SimLv> lvs;             // by path; foreign ones have an empty order
  std::set<std::string> suspended_lvs;          // by UUID; a killed command left them so
  std::map<std::string, std::uint64_t> groups;  // class -> size
  std::map<std::string, std::vector<std::string>> device_classes;
  std::map<std::string, FsInfo> filesystems;  // by the path of the device it is looked for on
  std::map<std::string, std::pair<Error, int>> failures;
  std::vector<std::string> log;  // calls with an effect, in order
  /// Waits for events with a daemon that has threads; tests step it by hand instead.
  std::function<void(std::int64_t ms)> wait;
  bool module_loaded = true;
  bool control_allowed = true;
  std::uint64_t device_kib_per_s = std::uint64_t{100} << 10;
  LatencyWindow latency;  // what the statistics say of 100 ms
  std::uint64_t points = 0;
  std::uint32_t next_minor = 1;

 private:
  // The application did `ios` I/Os on the device.
  void Count(SimDevice* device, std::uint64_t ios) const;

  std::uint64_t crash_at_ = 0;
  std::uint64_t meanwhile_in_ = 0;
  std::function<void()> meanwhile_;
  DiskMap away_;  // by the path they come back as
  std::map<std::string, SimLv> lvs_away_;
  std::unique_ptr<DeviceMapper> dm_;
  std::unique_ptr<BlockDevices> blocks_;
  std::unique_ptr<LegProvider> legs_;
  std::unique_ptr<Filesystems> fs_;
  std::unique_ptr<Identities> identities_;
  std::unique_ptr<DeviceGuard> guard_;
};

/// What a recognisable start of a device looks like: the value of its first 64 KiB. It moves with
/// them, as a file system does.
[[nodiscard]] constexpr std::uint64_t SignedValue(std::uint64_t type, std::uint64_t number) {
  return (type + 1) << 60 | number;
}
/// "ext4", "LVM2_member", ...; "" for other data.
[[nodiscard]] std::string SignatureOf(std::uint64_t first_value);
inline constexpr std::uint64_t kSimSignatures = 5;

inline constexpr std::uint64_t kSimExtent = std::uint64_t{4} << 20;
/// What one number of a content stands for.
inline constexpr std::uint64_t kSimCellBytes = 65536;

}  // namespace shadow::sim
