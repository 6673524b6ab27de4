// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/planner.h"

#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/modify/admission.h"
#include "daemon/modify/shrink_guard.h"
#include "daemon/modify/tables.h"
#include "daemon/modify/tiers.h"

namespace shadow {
namespace {

Error Invalid(std::string message, std::string hint = {}) {
  return MakeError(Code::kInvalidArgument, std::move(message), std::move(hint));
}
Error NotNow(std::string message, std::string hint = {}) {
  return MakeError(Code::kFailedPrecondition, std::move(message), std::move(hint));
}

std::string Place(const Leg& leg) {
  return leg.storage_class.empty() ? leg.device : leg.storage_class;
}

class Planner {
 public:
  Planner(const Deps& deps, const VolumeRecord& volume, const ModifyRequest& request)
      : d_(deps), v_(volume), r_(request) {}

  Result<Planned> Run() {
    SHADOW_TRY(CheckRequest());
    SHADOW_TRY(CheckVolume());
    SHADOW_TRY(ResolveNewSize());
    SHADOW_TRY(ResolveTarget());
    if (p_.kind == Kind::kMove) {
      SHADOW_TRY(CheckMove());
    } else {
      SHADOW_TRY(CheckInPlace());
    }
    SHADOW_TRY(CheckShrink());
    SHADOW_TRY(CheckMetadata());
    Estimate();
    Describe();
    return p_;
  }

 private:
  [[nodiscard]] std::uint64_t BlockBytes() const { return v_.block_sectors * kSectorBytes; }
  [[nodiscard]] std::uint64_t OldBytes() const { return p_.old_sectors * kSectorBytes; }
  [[nodiscard]] std::uint64_t NewBytes() const { return p_.new_sectors * kSectorBytes; }

  Status CheckRequest() const {
    if (r_.size_bytes != 0 && !r_.size_spec.empty()) {
      return Invalid("The new size is given twice.", "give it in bytes or as text, not both");
    }
    if (r_.grace_ms < -1) return Invalid("The grace period cannot be negative.");
    constexpr std::int64_t kYearMs = 366LL * 24 * 3600 * 1000;
    if (r_.grace_ms > kYearMs) {
      return Invalid("The grace period is longer than a year.", "give a shorter one");
    }
    return Ok();
  }

  Status CheckVolume() {
    SHADOW_ASSIGN(status_, ReadStatus(*d_.dm, v_.name));
    if (status_.kernel.mode != "rw") {
      return NotNow("The volume " + v_.name + " is in mode " + status_.kernel.mode + ".",
                    "look at the kernel's log, and run shadow_check on " + v_.metadata.device);
    }
    if (status_.kernel.phase != "steady") {
      return NotNow("The volume " + v_.name + " is " + status_.kernel.phase +
                        " in the kernel without a modification of shadowd's.",
                    "finish it with the message commit or abort (docs/dm-shadow.rst)");
    }
    p_.origin = v_.origin;
    const auto known = d_.legs->Describe(v_.origin.device);
    if (known.ok()) p_.origin = *known;
    p_.origin.id = v_.origin.id;
    p_.origin.made_here = v_.origin.made_here;
    p_.origin.given = v_.origin.given;
    p_.origin.by_name = v_.origin.by_name;
    p_.old_sectors = v_.sectors;
    return Ok();
  }

  Status ResolveNewSize() {
    std::uint64_t bytes = OldBytes();
    if (r_.size_bytes != 0) bytes = r_.size_bytes;
    if (!r_.size_spec.empty()) {
      SHADOW_ASSIGN(bytes, ResolveSize(r_.size_spec, OldBytes()));
    }
    constexpr std::uint64_t kMost = std::uint64_t{1} << 60;
    if (bytes == 0 || bytes > kMost) {
      return Invalid("A volume can have 1 block to 1 EiB, not " + FormatSize(bytes) + ".");
    }
    if (bytes != OldBytes()) bytes = RoundUp(bytes, BlockBytes());
    p_.new_sectors = bytes / kSectorBytes;
    return Ok();
  }

  Status ResolveTarget() {
    const bool resize = p_.new_sectors != p_.old_sectors;
    p_.plan.from = Place(p_.origin);
    p_.plan.to = r_.to.empty() ? p_.plan.from : r_.to;
    const bool stays =
        r_.to.empty() || (!p_.origin.storage_class.empty() && r_.to == p_.origin.storage_class);
    if (stays) {
      if (!resize) {
        return Invalid(
            "There is nothing to do: neither size nor place of " + v_.name + " would change.",
            "give another size, or another class or device; within its class a volume moves to a "
            "device that is named");
      }
      p_.kind = p_.new_sectors > p_.old_sectors ? Kind::kGrow : Kind::kShrink;
      return Ok();
    }
    p_.kind = Kind::kMove;
    if (r_.to[0] == '/') return ResolveDevice();
    return ResolveClass();
  }

  [[nodiscard]] Result<Admission> TargetAdmission() const {
    SHADOW_ASSIGN(const BlockInfo origin, d_.blocks->Describe(p_.origin.device));
    Admission how;
    how.role = "target";
    how.volume = v_.name;
    how.volume_uuid = v_.uuid;
    how.least_bytes = NewBytes();
    how.most_sector = origin.logical_block;
    how.allowed = {r_.overwrite, r_.unstable_names};
    return how;
  }

  Status ResolveDevice() {
    if (r_.to == DevicePath(v_.name)) {
      return Invalid("A volume cannot be its own target.",
                     "name another device or a storage class");
    }
    SHADOW_ASSIGN(const Admission how, TargetAdmission());
    SHADOW_ASSIGN(p_.target, Admit(d_, r_.to, how));
    return Ok();
  }

  // Devices of a class are alike in this: LVM refuses to mix sector sizes in a group.
  Status CheckSectorOf(const std::string& device) const {
    SHADOW_ASSIGN(const BlockInfo origin, d_.blocks->Describe(p_.origin.device));
    const auto info = d_.blocks->Describe(device);
    if (!info.ok() || info->logical_block <= origin.logical_block) return Ok();
    return Invalid("The sectors of class " + r_.to + " are larger than the origin's (" +
                       std::to_string(info->logical_block) + " and " +
                       std::to_string(origin.logical_block) + " bytes).",
                   "name a class of devices with the same sector size");
  }

  Status ResolveClass() {
    SHADOW_ASSIGN(const std::vector<ClassInfo> classes, d_.legs->ListClasses());
    const auto it = std::find_if(classes.begin(), classes.end(),
                                 [&](const ClassInfo& c) { return c.name == r_.to; });
    if (it == classes.end()) {
      std::string known;
      for (const ClassInfo& c : classes) known += (known.empty() ? "" : ", ") + c.name;
      return MakeError(Code::kNotFound, "There is no storage class " + r_.to + ".",
                       known.empty()
                           ? "name one in shadowd.toml, or give the path of a device"
                           : "known classes: " + known + "; a device is given by its full path");
    }
    if (it->volume_group.empty()) {
      SHADOW_ASSIGN(const Admission how, TargetAdmission());
      SHADOW_ASSIGN(p_.target, AdmitFromClass(d_, r_.to, how));
      return Ok();
    }
    if (it->free_bytes < NewBytes()) {
      return MakeError(
          Code::kOutOfSpace,
          "Class " + r_.to + " has only " + FormatSize(it->free_bytes) +
              " free, the volume needs " + FormatSize(NewBytes()) + ".",
          "add a device to volume group " + it->volume_group + ", or name another class");
    }
    const auto sample = d_.legs->SampleDevice(r_.to);
    return sample.ok() ? CheckSectorOf(*sample) : Ok();
  }

  Status CheckMove() const {
    // The block at the shorter end would have two lengths; the kernel refuses it, too.
    if (p_.new_sectors > p_.old_sectors && p_.old_sectors % v_.block_sectors != 0) {
      return NotNow("The volume's size is not a multiple of its blocks (" +
                        FormatSize(BlockBytes()) + "), so it cannot grow and move in one step.",
                    "move it first, then grow it");
    }
    if (p_.new_sectors < p_.old_sectors && p_.new_sectors % v_.block_sectors != 0) {
      return NotNow("The new size is not a multiple of the volume's blocks (" +
                        FormatSize(BlockBytes()) + "), so it cannot shrink and move in one step.",
                    "round the size up to a multiple of " + FormatSize(BlockBytes()) +
                        ", or move it first, then shrink it");
    }
    return Ok();
  }

  Status CheckInPlace() const {
    if (p_.kind == Kind::kShrink) return Ok();
    SHADOW_ASSIGN(const BlockInfo info, d_.blocks->Describe(p_.origin.device));
    if (info.size_bytes >= NewBytes()) return Ok();
    if (!p_.origin.logical_volume) {
      return NotNow(p_.origin.device + " has " + FormatSize(info.size_bytes) +
                        " and is no logical volume, so it cannot be extended to " +
                        FormatSize(NewBytes()) + ".",
                    "move the volume to a larger device or to a storage class (--to)");
    }
    SHADOW_ASSIGN(const std::vector<ClassInfo> classes, d_.legs->ListClasses());
    for (const ClassInfo& c : classes) {
      if (c.name != p_.origin.storage_class || c.free_bytes >= NewBytes() - info.size_bytes)
        continue;
      return MakeError(
          Code::kOutOfSpace,
          "Class " + c.name + " has only " + FormatSize(c.free_bytes) + " free, " +
              FormatSize(NewBytes() - info.size_bytes) + " more are needed.",
          "add a device to volume group " + c.volume_group + ", or move to another class");
    }
    return Ok();
  }

  Status CheckShrink() {
    if (p_.new_sectors >= p_.old_sectors) return Ok();
    const std::uint64_t keep = (p_.new_sectors + v_.block_sectors - 1) / v_.block_sectors;
    if (keep < status_.kernel.blocks && (status_.kernel.tiers[0] || status_.kernel.tiers[1])) {
      SHADOW_ASSIGN(const std::vector<TierRun> beyond,
                    ReadTiers(*d_.dm, v_.name, BlockRange{keep, status_.kernel.blocks - keep}));
      SHADOW_TRY(CheckDrain(status_, beyond, v_.name));
    }
    SHADOW_TRY(GuardShrink(d_, v_.name, NewBytes(), r_.force_shrink));
    if (!r_.force_shrink) return Ok();
    const ShrinkVerdict verdict = LookBeyond(d_, v_.name, NewBytes());
    if (!verdict.fits) {
      p_.plan.warnings.push_back("The shrink is forced: what lies beyond the new end is lost. " +
                                 verdict.why);
    }
    return Ok();
  }

  Status CheckMetadata() const {
    const std::uint64_t blocks = (p_.new_sectors + v_.block_sectors - 1) / v_.block_sectors;
    SHADOW_ASSIGN(const TiersRecord tiers, d_.store->Tiers(v_.name));
    if (tiers.Any() && tiers.metadata_end != 0) {
      return GrowMetadata(d_, v_, tiers, p_.new_sectors);  // only looks: its end does not move
    }
    SHADOW_ASSIGN(const BlockInfo info, d_.blocks->Describe(v_.metadata.device));
    if (info.size_bytes >= MetadataBytes(blocks) || v_.metadata.logical_volume) return Ok();
    return MakeError(Code::kOutOfSpace,
                     "The metadata device " + v_.metadata.device + " is too small for " +
                         FormatSize(NewBytes()) + ": it needs " +
                         FormatSize(MetadataBytes(blocks)) + ".",
                     "export the volume and import it with a larger metadata device");
  }

  [[nodiscard]] DeviceSpeed KnownSpeed(const std::string& storage_class,
                                       const std::string& id) const {
    const auto speed =
        d_.store->FindSpeed(storage_class.empty() ? "leg:" + id : "class:" + storage_class);
    return speed.ok() && speed->has_value() ? **speed : DeviceSpeed{};
  }

  // What the last copy between these places came to with this impact, bytes/s: what the devices can
  // do in a probe says little about what an application leaves. 0: there was none that tells.
  [[nodiscard]] std::uint64_t RealRate() const {
    constexpr std::size_t kLookBack = 100;
    constexpr std::int64_t kTellingMs = 1000;
    const auto last = d_.store->NewestModifications("", kLookBack);
    if (!last.ok()) return 0;
    for (const ModificationRecord& m : *last) {
      const bool same = m.state.kind == Kind::kMove && m.state.step == Step::kEnd &&
                        m.plan.from == p_.plan.from && m.plan.to == p_.plan.to &&
                        m.request.rate == 0 && m.request.impact == r_.impact;
      if (!same) continue;
      const auto history = d_.store->History(m.id);
      if (!history.ok()) continue;
      // From the first block to the end of the copy, if it was not paused or turned back.
      for (std::size_t i = 0; i + 1 < history->size(); ++i) {
        const HistoryEntry& next = history->at(i + 1);
        const std::int64_t ms = next.at_ms - history->at(i).at_ms;
        if (history->at(i).phase != Phase::kCopying || ms < kTellingMs) continue;
        if (next.phase != Phase::kCatchingUp && next.phase != Phase::kCuttingOver) continue;
        return static_cast<std::uint64_t>(static_cast<double>(m.bytes_copied) * 1000 /
                                          static_cast<double>(ms));
      }
    }
    return 0;
  }

  void Estimate() {
    const std::uint64_t block = status_.kernel.block_bytes;
    p_.plan.holes_bytes = status_.kernel.hole * block;
    if (p_.kind != Kind::kMove) return;
    p_.plan.bytes_to_copy = (status_.kernel.blocks - status_.kernel.hole) * block;
    const bool by_class = p_.target.device.empty();
    const DeviceSpeed from = KnownSpeed(p_.origin.storage_class, p_.origin.id);
    const DeviceSpeed to =
        by_class ? KnownSpeed(p_.plan.to, "") : KnownSpeed(p_.target.storage_class, p_.target.id);
    std::uint64_t rate = from.read_bandwidth;
    if (to.write_bandwidth != 0)
      rate = rate == 0 ? to.write_bandwidth : std::min(rate, to.write_bandwidth);
    if (r_.rate != 0) {
      rate = rate == 0 ? r_.rate : std::min(rate, r_.rate);
    } else if (const std::uint64_t real = RealRate(); real != 0) {
      rate = real;
    } else if (r_.impact != Impact::kFull) {
      rate = rate / (r_.impact == Impact::kLow ? 4 : 2);
    }
    if (rate != 0) {
      p_.plan.expected_ms = static_cast<std::uint64_t>(static_cast<double>(p_.plan.bytes_to_copy) *
                                                       1000 / static_cast<double>(rate));
    }
    const auto pause = d_.store->FindSpeed("pause");
    if (pause.ok() && pause->has_value()) p_.plan.expected_pause_us = (*pause)->read_latency_us;
  }

  void Describe() {
    Plan& plan = p_.plan;
    plan.volume = v_.name;
    plan.old_size = OldBytes();
    plan.new_size = NewBytes();
    plan.target_device = p_.target.device;
    const bool grow = p_.new_sectors > p_.old_sectors;
    // A file system that was grown lies beyond the old end: none can be taken back while mounted.
    plan.reversible = p_.kind == Kind::kMove && !(grow && r_.grow_filesystem && r_.grow_now);
    const bool shrink = p_.new_sectors < p_.old_sectors;
    const auto say = [&](const std::string& step) { plan.steps.push_back(step); };
    if (p_.kind == Kind::kMove) {
      say(p_.target.device.empty()
              ? "Make a logical volume of " + FormatSize(NewBytes()) + " in class " + plan.to + "."
              : "Use " + p_.target.device + " as the target; what is on it is overwritten.");
      say("Attach the target" +
          std::string(grow ? "; the new capacity can be used from then on" : "") + ".");
      if (grow && r_.grow_filesystem && r_.grow_now) say("Grow the file system.");
      say("Copy " + FormatSize(plan.bytes_to_copy) + " while the volume is in use.");
      say("Cut over, and keep both legs mirrored for the grace period.");
      if (grow && r_.grow_filesystem && !r_.grow_now) {
        say("Drop the way back, then grow the file system.");
      }
      say("Drop the origin " + p_.origin.device +
          (p_.origin.made_here ? " and remove it."
           : r_.keep_signature ? "; it is left as it is, signatures and all."
                               : "; its data stay, its signatures are wiped (op restore-origin "
                                 "brings them back)."));
      if (!p_.origin.made_here && r_.keep_signature) {
        plan.warnings.push_back(p_.origin.device +
                                " keeps the file system's UUID: nothing may mount it by that.");
      }
      if (p_.target.by_name) {
        plan.warnings.push_back(p_.target.device +
                                " has nothing but its name to be known by: after a reboot another "
                                "device may have it.");
      }
      if (grow && plan.reversible) {
        plan.warnings.push_back(
            "Once the new capacity holds data, turning back is refused until it is freed.");
      }
    } else if (grow) {
      say("Extend " + p_.origin.device + " to " + FormatSize(NewBytes()) + ".");
      say("Put the new size in place.");
      if (r_.grow_filesystem) say("Grow the file system.");
    } else {
      say("Put the new size in place.");
      say("Reduce " + p_.origin.device + " to " + FormatSize(NewBytes()) + ".");
    }
    if (grow && r_.grow_filesystem) WarnOfGrowth();
    if (grow && r_.grow_filesystem && r_.grow_now && p_.kind == Kind::kMove) {
      plan.warnings.push_back(
          "Growing the file system at once closes the way back; without \"now\" it grows at the "
          "end.");
    }
    if (shrink && p_.kind == Kind::kShrink)
      plan.warnings.push_back("A shrink in place cannot be undone.");
  }

  // It may be mounted until then, so this is no refusal.
  void WarnOfGrowth() {
    const auto fs = d_.fs->Inspect(DevicePath(v_.name));
    if (fs.ok() && fs->cannot_grow.empty()) return;
    p_.plan.warnings.push_back("The file system cannot be grown as it is now: " +
                               (fs.ok() ? fs->cannot_grow : fs.error().message));
  }

  const Deps& d_;
  const VolumeRecord& v_;
  const ModifyRequest& r_;
  TargetStatus status_;
  Planned p_;
};

}  // namespace

Result<Planned> MakePlan(const Deps& deps, const VolumeRecord& volume,
                         const ModifyRequest& request) {
  return Planner(deps, volume, request).Run();
}

}  // namespace shadow
