// SPDX-License-Identifier: Apache-2.0
// The world's device mapper: live and inactive tables, suspended devices, messages.
#include "daemon/sim/sim_parts.h"

namespace shadow::sim {
namespace {

class SimDeviceMapper final : public DeviceMapper {
 public:
  explicit SimDeviceMapper(SimWorld* world) : w_(*world) {}

  Status CheckControl() override {
    if (w_.control_allowed) return Ok();
    return MakeError(Code::kPermissionDenied, "Device mapper may not be used by this user.",
                     "run shadowd as root");
  }

  Result<std::string> TargetVersion() override {
    SHADOW_TRY(CheckControl());
    if (w_.module_loaded) return std::string("1.0.0");
    return MakeError(Code::kUnavailable, "The kernel module dm_shadow is not loaded.",
                     "load it with modprobe dm_shadow");
  }

  Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                const std::string& params) override {
    const Call call(&w_, "Create", name);
    SHADOW_TRY(call.before());
    SHADOW_TRY(TargetVersion());
    if (w_.devices.count(name) != 0) {
      return MakeError(Code::kFailedPrecondition,
                       "Device mapper did not create " + name + ": busy.");
    }
    SHADOW_ASSIGN(const ShadowTable table, ParseTable(sectors, params));
    SimDevice device;
    device.uuid = uuid;
    device.target = std::make_unique<SimTarget>(&w_.disks, &w_.metadata);
    SHADOW_TRY(device.target->Resume(table));
    device.live = true;
    w_.metadata[table.metadata].name = name;
    w_.metadata[table.metadata].uuid = uuid;
    w_.devices[name] = std::move(device);
    return call.after();
  }

  Status Load(const std::string& name, std::uint64_t sectors, const std::string& params) override {
    const Call call(&w_, "Load", name);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    SHADOW_ASSIGN(const ShadowTable table, ParseTable(sectors, params));
    SHADOW_TRY(device->target->CheckTable(table));
    device->inactive = table;
    return call.after();
  }

  Status ClearInactive(const std::string& name) override {
    const Call call(&w_, "ClearInactive", name);
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    device->inactive.reset();
    return call.after();
  }

  Status Suspend(const std::string& name) override {
    const Call call(&w_, "Suspend", name);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    device->suspended = true;
    device->target->Suspend();
    return call.after();
  }

  Status Resume(const std::string& name) override {
    const Call call(&w_, "Resume", name);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    ShadowTable table = device->target->table();
    if (device->inactive) table = *device->inactive;
    device->inactive.reset();
    Status resumed = device->target->Resume(table);
    device->suspended = !resumed.ok();
    if (!resumed.ok()) {
      device->target->Suspend();
      return resumed;
    }
    return call.after();
  }

  Status Remove(const std::string& name) override {
    const Call call(&w_, "Remove", name);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    if (device->open_count > 0) {
      return MakeError(Code::kFailedPrecondition,
                       "Device mapper did not remove " + name + ": busy.");
    }
    w_.devices.erase(name);
    return call.after();
  }

  Result<std::string> Message(const std::string& name, const std::string& text) override {
    const std::string verb = text.substr(0, text.find(' '));
    // What only asks has no effect, and needs no crash point.
    const bool asks =
        verb[0] == '@' || verb == "map" || verb == "access" || verb == "limit" || verb == "tiers";
    const Call call(&w_, asks ? "" : "Message " + verb, name);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    std::string answer;
    const bool counts = text.ends_with(" shadowd-metrics");
    if (verb == "@stats_print") {
      SHADOW_ASSIGN(answer, TotalsText(*device));
    } else if (verb == "@stats_create" && counts) {
      device->counted_sectors = device->target->table().sectors;
      device->counted_ios = 0;
      device->counted.assign(BucketBoundsNs().size() + 1, 0);
      answer = "1";
    } else if (verb == "@stats_list" && counts) {
      if (device->counted_sectors != 0) answer = ListText(device->counted_sectors);
    } else if (text == "@stats_delete 1") {
      device->counted_sectors = 0;
    } else if (verb == "@stats_create") {
      device->stats = true;
      answer = "0";
    } else if (verb == "@stats_list") {
      answer = device->stats ? "0: 0+1 1 shadowd -\n" : "";
    } else if (verb == "@stats_delete") {
      device->stats = false;
    } else if (verb == "@stats_print_clear") {
      answer = StatsText();
    } else {
      SHADOW_ASSIGN(answer, device->target->Message(text));
    }
    SHADOW_TRY(call.after());
    return answer;
  }

  Result<DmTarget> StatusOf(const std::string& name) override {
    const Call call(&w_, "", name);
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    return DmTarget{device->target->table().sectors, "shadow", device->target->StatusLine()};
  }

  Result<DmTarget> TableOf(const std::string& name) override {
    const Call call(&w_, "", name);
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    ShadowTable table = device->target->table();
    const auto number = [&](const std::string& path) {
      const auto it = w_.disks.find(path);
      return it == w_.disks.end() ? "-" : "253:" + std::to_string(it->second.minor);
    };
    // The kernel tells device numbers, not the paths it was given.
    table.metadata = number(table.metadata);
    table.origin.device = number(table.origin.device);
    if (table.target) table.target->device = number(table.target->device);
    for (auto& tier : table.tiers) {
      if (tier) tier->leg.device = number(tier->leg.device);
    }
    SHADOW_ASSIGN(const std::string params, BuildTable(table));
    return DmTarget{table.sectors, "shadow", params};
  }

  Result<DmInfo> Info(const std::string& name) override {
    const Call call(&w_, "", name);
    SHADOW_ASSIGN(SimDevice * device, Find(name));
    return InfoOf(name, *device);
  }

  Result<std::vector<DmInfo>> List(const std::string& uuid_prefix) override {
    const Call call(&w_, "", "");
    std::vector<DmInfo> found;
    for (const auto& [name, device] : w_.devices) {
      if (device.uuid.rfind(uuid_prefix, 0) == 0) found.push_back(InfoOf(name, device));
    }
    return found;
  }

  Result<bool> WaitEvent(std::int64_t timeout_ms) override {
    if (w_.wait) w_.wait(timeout_ms);
    const Call call(&w_, "", "");
    bool any = false;
    for (auto& [name, device] : w_.devices) {
      any = any || device.target->raised_event;
      device.target->raised_event = false;
    }
    return any;
  }

 private:
  static DmInfo InfoOf(const std::string& name, const SimDevice& device) {
    DmInfo info;
    info.name = name;
    info.uuid = device.uuid;
    info.open_count = device.open_count;
    info.suspended = device.suspended;
    info.live_table = device.live;
    info.inactive_table = device.inactive.has_value();
    return info;
  }

  Result<SimDevice*> Find(const std::string& name) {
    SHADOW_TRY(CheckControl());
    const auto it = w_.devices.find(name);
    if (it == w_.devices.end()) {
      return MakeError(Code::kNotFound, "There is no device-mapper device " + name + ".");
    }
    return &it->second;
  }

  // All I/O of the window in the bucket of its p50, one in a hundred in that of its p99.
  std::string StatsText() const {
    std::vector<std::uint64_t> counts(BucketBoundsNs().size() + 1, 0);
    const std::uint64_t slow = w_.latency.ios / 50;
    counts[LatencyBucket(w_.latency.p50_us)] += w_.latency.ios - slow;
    counts[LatencyBucket(w_.latency.p99_us)] += slow;
    return "0+1 " + std::to_string(w_.latency.ios) + " 0 0 0 0 0 0 0 0 0 0 0 0 " + Joined(counts);
  }

  static std::string Joined(const std::vector<std::uint64_t>& counts) {
    std::string text;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      text += (i == 0 ? "" : ":") + std::to_string(counts[i]);
    }
    return text;
  }

  // The region that is never cleared: three reads to a write, 8 KiB each.
  static Result<std::string> TotalsText(const SimDevice& device) {
    if (device.counted_sectors == 0) return Refuse("there is no region of that id");
    const std::uint64_t writes = device.counted_ios / 4;
    const std::uint64_t reads = device.counted_ios - writes;
    const auto kind = [](std::uint64_t ios) {
      return std::to_string(ios) + " 0 " + std::to_string(ios * 16) + " " +
             std::to_string(ios * 300'000) + " ";
    };
    return "0+" + std::to_string(device.counted_sectors) + " " + kind(reads) + kind(writes) +
           "0 0 0 0 0 " + Joined(device.counted);
  }

  static std::string ListText(std::uint64_t sectors) {
    const std::string create = StatsCreateMessage("");
    return "1: 0+" + std::to_string(sectors) + " " + std::to_string(sectors) +
           " shadowd-metrics -" + create.substr(create.find(" precise_timestamps")) + "\n";
  }

  SimWorld& w_;
};

}  // namespace

std::unique_ptr<DeviceMapper> MakeSimDeviceMapper(SimWorld* world) {
  return std::make_unique<SimDeviceMapper>(world);
}

}  // namespace shadow::sim
