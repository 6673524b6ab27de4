// SPDX-License-Identifier: Apache-2.0
// Doctor: looks at everything the daemon needs, and says what to do about what is missing.
#include "daemon/engine/engine_impl.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

Check Good(std::string name, std::string detail) {
  return {std::move(name), "ok", std::move(detail), ""};
}

Check FromStatus(const std::string& name, const Status& status, const std::string& well) {
  if (status.ok()) return Good(name, well);
  return {name, "error", status.error().message, status.error().hint};
}

}  // namespace

std::vector<Check> EngineImpl::LeftoverChecks() {
  std::vector<Check> checks;
  const auto made = deps_.legs->ListMade();
  if (!made.ok()) return checks;
  std::vector<VolumeRecord> volumes;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, v] : volumes_) volumes.push_back(v);
  }
  for (const MadeLeg& leg : *made) {
    bool known = false;
    for (const VolumeRecord& v : volumes) known = known || v.uuid == leg.volume_uuid;
    if (known) continue;
    checks.push_back({"leftovers", "warning",
                      leg.leg.device +
                          " carries shadowd's tags, but this shadowd knows no volume " +
                          leg.volume_uuid + ".",
                      "it may hold data: look what is on it (lsblk -f, blkid) and whether another "
                      "shadowd uses it; "
                      "import it, or take the tags away (lvchange --deltag)"});
  }
  const auto up = deps_.dm->List(DmUuid(""));
  for (const DmInfo& device : up.ok() ? *up : std::vector<DmInfo>()) {
    const bool known = std::any_of(volumes.begin(), volumes.end(), [&](const VolumeRecord& v) {
      return DmUuid(v.uuid) == device.uuid;
    });
    if (known) continue;
    checks.push_back({"volume " + device.name, "warning",
                      "It is up, but this shadowd's state does not know it.",
                      "take it back with shadowctl volume recover METADATA; dm-shadow-activate "
                      "--list names its metadata"});
  }
  if (checks.empty()) checks.push_back(Good("leftovers", "no logical volumes are left over"));
  return checks;
}

void EngineImpl::TierChecks(const std::string& volume, const KernelStatus& kernel,
                            std::vector<Check>* checks) {
  for (const TierLevel level : kTierLevels) {
    const auto& tier = kernel.tiers.at(IndexOf(level));
    if (!tier) continue;
    const std::string what = TierOf(volume, level);
    if (tier->health == "ok") {
      checks->push_back(Good(what, std::to_string(tier->used) + " of " +
                                       std::to_string(tier->slots) + " slots are used"));
    } else if (tier->dirty > 0) {
      checks->push_back({what, "error",
                         "It is " + tier->health + ", and the newest data of " +
                             std::to_string(tier->dirty) + " blocks are only there.",
                         "bring the device back; or give the data up: shadowctl tier remove " +
                             volume + " " + TierName(level) + " --forget --lost"});
    } else {
      checks->push_back({what, "warning", "It is " + tier->health + "; nothing is lost.",
                         "replace it: shadowctl tier remove " + volume + " " + TierName(level) +
                             " --forget, then tier add"});
    }
  }
  const auto keeper = KeeperOf(volume);
  if (keeper == nullptr || (!kernel.tiers[0] && !kernel.tiers[1])) return;
  for (const std::string& note : keeper->Info().notes) {
    checks->push_back({"placement of " + volume, "warning", note, ""});
  }
}

// Is each of the volume's devices there, once, and does the kernel run the volume on them?
void EngineImpl::LegChecks(const std::string& volume, std::vector<Check>* checks) {
  const auto record = FindVolume(volume);
  if (!record.ok()) return;
  const auto live = deps_.dm->TableOf(volume);
  const auto table =
      live.ok() ? ParseTable(live->sectors, live->params) : Result<ShadowTable>(live.error());
  const bool modified = RunningOn(volume) != nullptr;  // then its home may be any of its legs
  const auto look = [&](const char* role, const Leg& leg, const std::string& in_kernel) {
    const std::string what = std::string(role) + " of " + volume;
    const auto found = deps_.identities->Resolve(leg.id);
    if (!found.ok()) {
      checks->push_back({what, "error", found.error().message, found.error().hint});
      return;
    }
    if (in_kernel == "-" && !modified) {
      checks->push_back({what, "error", "The volume runs without it, although it is there.",
                         "restart shadowd; until then reads of what is only there fail"});
    }
    const std::string number = std::to_string(found->major) + ":" + std::to_string(found->minor);
    if (!modified && in_kernel.find(':') != std::string::npos && in_kernel != number) {
      checks->push_back({what, "error",
                         "The kernel has " + in_kernel + " in its place, but it is " + number +
                             " (" + found->path + ").",
                         "stop what uses the volume, then take it down (dmsetup remove " + volume +
                             ") and restart shadowd"});
    }
    if (!found->Lasts()) {
      checks->push_back({what, "warning",
                         found->path + " has nothing but its name to be known by: after a reboot "
                                       "another device may have it.",
                         "move the volume to a logical volume or to a disk with a serial number"});
    }
  };
  look("origin", record->origin, table.ok() ? table->origin.device : "");
  look("metadata", record->metadata, table.ok() ? table->metadata : "");
}

Result<std::vector<Check>> EngineImpl::Doctor() {
  std::vector<Check> checks;
  const Status control = deps_.dm->CheckControl();
  checks.push_back(FromStatus("device-mapper", control, "its control device can be used"));
  const auto version = deps_.dm->TargetVersion();
  checks.push_back(version.ok()
                       ? Good("module", "target type shadow, version " + *version)
                       : Check{"module", "error", version.error().message, version.error().hint});
  const Status tools = deps_.legs->CheckTools();
  checks.push_back(FromStatus("lvm", tools, "LVM's commands work"));
  checks.push_back(FromStatus("store", deps_.store->CheckWritable(), "the state can be written"));
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (const Error& why : degraded_) {
      checks.push_back({"daemon", "error", why.message, why.hint});
    }
  }

  const auto classes = deps_.legs->ListClasses();
  if (!classes.ok()) {
    checks.push_back({"classes", "error", classes.error().message, classes.error().hint});
  } else if (classes->empty()) {
    checks.push_back({"classes", "warning", "No storage class is configured.",
                      "add one to shadowd.toml, e.g. [class.fast] vg = \"fast\""});
  } else {
    for (const ClassInfo& c : *classes) {
      const bool missing = !c.volume_group.empty() && c.size_bytes == 0;
      checks.push_back(
          missing ? Check{"class " + c.name, "error",
                          "There is no volume group " + c.volume_group + ".",
                          "make it with vgcreate, or correct shadowd.toml"}
                  : Good("class " + c.name, c.volume_group.empty()
                                                ? std::to_string(c.devices.size()) + " devices"
                                                : "volume group " + c.volume_group));
    }
  }
  std::vector<std::string> names;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, v] : volumes_) names.push_back(name);
  }
  for (const std::string& name : names) {
    const std::string what = "volume " + name;
    const auto status = ReadStatus(*deps_.dm, name);
    const std::string unanswered = deps_.dm->Unanswered(name);
    if (!unanswered.empty()) {
      checks.push_back({what, "error", "It does not answer: " + unanswered + ".",
                        "look for a disk or path under it that does not answer"});
    } else if (!status.ok()) {
      const Error waits = WaitsFor(name);
      const Error& why = waits.message.empty() ? status.error() : waits;
      checks.push_back(
          {what, "error",
           (waits.message.empty() ? "It is not active: " : "It is not up. ") + why.message,
           why.hint.empty() ? "look at shadowd's log and the kernel's" : why.hint});
    } else if (status->kernel.mode != "rw") {
      checks.push_back({what, "error", "Its mode is " + status->kernel.mode + ".",
                        "look at the kernel's log, then run shadow_check"});
    } else if (const Error waits = WaitsFor(name); !waits.message.empty()) {
      checks.push_back({what, "error", waits.message, waits.hint});
    } else if (status->kernel.needs_check) {
      checks.push_back(
          {what, "warning", "Its metadata asks for a check.", "run shadow_check on it"});
    } else {
      checks.push_back(Good(what, status->kernel.phase));
    }
    if (status.ok()) TierChecks(name, status->kernel, &checks);
    LegChecks(name, &checks);
  }
  for (Check& c : LeftoverChecks()) checks.push_back(std::move(c));
  return checks;
}

}  // namespace shadow
