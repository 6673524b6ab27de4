// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot/leg_hider.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "daemon/boot/activator.h"

namespace shadow {
namespace {

constexpr std::int64_t kLvmMs = 60'000;

struct TableDevice {
  LegEntry entry;
  std::string device;
};

std::vector<TableDevice> DevicesOf(const std::string& uuid, const std::string& name,
                                   const ShadowTable& table) {
  std::vector<TableDevice> all;
  const auto add = [&](const char* role, const TableLeg& leg) {
    if (!leg.id.empty()) all.push_back({{leg.id, role, uuid, name}, leg.device});
  };
  add("origin", table.origin);
  if (table.target) add("target", *table.target);
  for (std::size_t i = 0; i < table.tiers.size(); ++i) {
    if (table.tiers.at(i)) add(TierName(static_cast<TierLevel>(i)), table.tiers.at(i)->leg);
  }
  return all;
}

bool HasId(const std::vector<LegEntry>& entries, const std::string& id) {
  return std::any_of(entries.begin(), entries.end(), [&](const LegEntry& e) { return e.id == id; });
}

class HidingDeviceMapper final : public DeviceMapper {
 public:
  HidingDeviceMapper(DeviceMapper& dm, LegHider& hider) : dm_(dm), hider_(hider) {}

  Status CheckControl() override { return dm_.CheckControl(); }
  Result<std::string> TargetVersion() override { return dm_.TargetVersion(); }
  Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                const std::string& params) override {
    SHADOW_ASSIGN(const ShadowTable table, ParseTable(sectors, params));
    SHADOW_TRY(hider_.Add(Plain(uuid), name, table));
    SHADOW_TRY(dm_.Create(name, uuid, sectors, params));
    return hider_.Settle(Plain(uuid), name, table);
  }
  Status Load(const std::string& name, std::uint64_t sectors, const std::string& params) override {
    SHADOW_ASSIGN(const ShadowTable table, ParseTable(sectors, params));
    SHADOW_ASSIGN(const DmInfo info, dm_.Info(name));
    SHADOW_TRY(hider_.Add(Plain(info.uuid), name, table));
    return dm_.Load(name, sectors, params);
  }
  Status ClearInactive(const std::string& name) override { return dm_.ClearInactive(name); }
  Status Suspend(const std::string& name) override { return dm_.Suspend(name); }
  Status Resume(const std::string& name) override {
    SHADOW_TRY(dm_.Resume(name));
    // A leg too many in the table of legs only hides a device: never a reason to fail.
    const auto info = dm_.Info(name);
    const auto live = dm_.TableOf(name);
    if (!info.ok() || !live.ok()) return Ok();
    const auto table = ParseTable(live->sectors, live->params);
    if (!table.ok()) return Ok();
    const Status settled = hider_.Settle(Plain(info->uuid), name, *table);
    if (!settled.ok()) spdlog::warn("{}", settled.error().ToString());
    return Ok();
  }
  Status Remove(const std::string& name) override { return dm_.Remove(name); }
  Result<std::string> Message(const std::string& name, const std::string& text) override {
    return dm_.Message(name, text);
  }
  Result<DmTarget> StatusOf(const std::string& name) override { return dm_.StatusOf(name); }
  Result<DmTarget> TableOf(const std::string& name) override { return dm_.TableOf(name); }
  Result<DmInfo> Info(const std::string& name) override { return dm_.Info(name); }
  Result<std::vector<DmInfo>> List(const std::string& uuid_prefix) override {
    return dm_.List(uuid_prefix);
  }
  std::string Unanswered(const std::string& name) override { return dm_.Unanswered(name); }
  Result<bool> WaitEvent(std::int64_t timeout_ms) override { return dm_.WaitEvent(timeout_ms); }

 private:
  static std::string Plain(const std::string& dm_uuid) {
    const std::string prefix = DmUuid("");
    return dm_uuid.rfind(prefix, 0) == 0 ? dm_uuid.substr(prefix.size()) : dm_uuid;
  }

  DeviceMapper& dm_;
  LegHider& hider_;
};

}  // namespace

void PokeUdev(const std::string& device) {
  if (device.empty() || device[0] != '/') return;
  const int fd = open(device.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) close(fd);
}

std::vector<LegEntry> LegHider::EntriesOf(const std::string& uuid) const {
  std::vector<LegEntry> entries;
  const auto all = tables_.Read();
  if (!all.ok()) return entries;  // the next write to it says so
  for (const LegEntry& e : *all) {
    if (e.uuid == uuid) entries.push_back(e);
  }
  return entries;
}

void LegHider::KnowSkipped(const std::vector<std::string>& ids) {
  const std::lock_guard<std::mutex> lock(mutex_);
  skipped_ = {ids.begin(), ids.end()};
}

void LegHider::SkipActivation(const std::string& id, bool skip) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (skip && skipped_.count(id) != 0) return;
    skipped_.erase(id);
  }
  std::vector<std::string> argv = {"lvchange", "--yes"};
  std::string config = options_.lvm_settings ? options_.lvm_settings() : "";
  if (!options_.udev && !options_.lvm_settings) {
    config =
        "activation{udev_sync=0 udev_rules=0 monitoring=0} "
        "devices{obtain_device_list_from_udev=0}";
  }
  if (!config.empty()) argv.insert(argv.end(), {"--config", config});
  argv.insert(argv.end(), {"--setactivationskip", skip ? "y" : "n", "--select", "lv_uuid=" + id});
  const auto done = runner_.Run(argv, kLvmMs);
  if (done.ok() && done->exit_code == 0) return;
  spdlog::warn("The activation skip of {} was not {}: {}", id, skip ? "set" : "taken away",
               done.ok() ? FirstComplaint(*done) : done.error().message);
}

// Not under the mutex: LVM and a device may keep it waiting, and other volumes must not.
Status LegHider::Hide(const std::string& uuid, const std::vector<LegEntry>& before,
                      const std::vector<LegEntry>& after, const ShadowTable& table) {
  const std::string name = after.empty() ? "" : after.front().volume;
  for (const TableDevice& d : DevicesOf(uuid, name, table)) {
    if (HasId(before, d.entry.id)) continue;
    if (IsLvUuid(d.entry.id)) SkipActivation(d.entry.id, true);
    if (options_.udev) PokeUdev(d.device);
  }
  return Ok();
}

Status LegHider::Add(const std::string& uuid, const std::string& name, const ShadowTable& table) {
  std::vector<LegEntry> before;
  std::vector<LegEntry> after;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    before = EntriesOf(uuid);
    after = before;
    for (const TableDevice& d : DevicesOf(uuid, name, table)) {
      if (!HasId(after, d.entry.id)) after.push_back(d.entry);
    }
    SHADOW_TRY(tables_.Set(uuid, after));
  }
  return Hide(uuid, before, after, table);
}

Status LegHider::Settle(const std::string& uuid, const std::string& name,
                        const ShadowTable& table) {
  std::vector<LegEntry> before;
  std::vector<LegEntry> after;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    before = EntriesOf(uuid);
    for (const TableDevice& d : DevicesOf(uuid, name, table)) after.push_back(d.entry);
    // What the volume had and has no more is a copy of it, until somebody says what becomes of it.
    for (const LegEntry& e : before) {
      if (HasId(after, e.id)) continue;
      after.push_back(e);
      after.back().role = kOldCopy;
    }
    SHADOW_TRY(tables_.Set(uuid, after));
  }
  return Hide(uuid, before, after, table);
}

Status LegHider::KeepHidden(const std::string& uuid, const std::string& name,
                            const std::string& id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<LegEntry> after = EntriesOf(uuid);
  if (HasId(after, id)) return Ok();
  after.push_back({id, kOldCopy, uuid, name});
  return tables_.Set(uuid, after);
}

Status LegHider::Forget(const std::string& uuid) {
  std::vector<LegEntry> before;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    before = EntriesOf(uuid);
    SHADOW_TRY(tables_.Set(uuid, {}));
  }
  for (const LegEntry& e : before) {
    if (e.role != kOldCopy && IsLvUuid(e.id)) SkipActivation(e.id, false);
  }
  return Ok();
}

std::unique_ptr<DeviceMapper> HideLegs(DeviceMapper& dm, LegHider& hider) {
  return std::make_unique<HidingDeviceMapper>(dm, hider);
}

}  // namespace shadow
