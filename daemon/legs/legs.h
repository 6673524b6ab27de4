// SPDX-License-Identifier: Apache-2.0
// Where legs come from: storage classes, and the logical volumes shadowd makes in them.
//
// LvmLegs (lvm_legs.h) drives LVM's commands; SimLegs (daemon/sim) a model. Everything made here
// carries tags that name its volume and modification: they help a record find what it ordered just
// before a crash, and people see what it is for. Tags prove nothing: only a record says what may be
// removed, and it says it by LVM's UUID (docs/daemon.md, "Who may remove what").
// Thread safe; calls take as long as LVM takes (seconds at worst). Sizes in bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/engine/engine.h"

namespace shadow {

/// A block device that can be a leg.
struct Leg {
  std::string device;         // path
  std::string id;             // identity for the metadata: LV UUID, or the device's own
  std::string storage_class;  // "" outside every class
  std::uint64_t size_bytes = 0;
  bool logical_volume = false;  // of any volume group; can be extended and reduced
  bool made_here = false;       // Make() returned it for the record that holds it
  bool given = false;    // shadowd was given it to write over; what it leaves there is its own
  bool by_name = false;  // nothing but its name is known, and the user said that this will do
};

/// What to make. `role` is "origin", "target", "metadata", "tier1" or "tier2".
struct LegOrder {
  std::string storage_class;
  std::uint64_t size_bytes = 0;
  std::string volume;        // name, for the LV's name
  std::string volume_uuid;   // tag
  std::string modification;  // tag; "" for legs made with the volume
  std::string role;
};

/// A logical volume with our tags.
struct MadeLeg {
  Leg leg;
  std::string volume_uuid;
  std::string modification;
  std::string role;
  bool open = false;
};

class LegProvider {
 public:
  virtual ~LegProvider() = default;

  /// The configured classes, with sizes; speeds are filled in by the engine.
  virtual Result<std::vector<ClassInfo>> ListClasses() = 0;
  /// Makes a logical volume; the same order again gives the same one. kNotFound: no such class;
  /// kOutOfSpace; kUnimplemented for a class of plain devices (AdmitFromClass()).
  virtual Result<Leg> Make(const LegOrder& order) = 0;
  /// What is known of a device.
  virtual Result<Leg> Describe(const std::string& device) = 0;
  /// What Make() made of exactly this order, if it is there. Changes nothing.
  virtual Result<std::optional<Leg>> FindMade(const LegOrder& order) = 0;
  /// Makes the logical volume at least as long. Already that long is fine. These take the leg by
  /// its id, whatever it is called now; kFailedPrecondition: it is no logical volume.
  virtual Status Extend(const Leg& leg, std::uint64_t size_bytes) = 0;
  /// Makes the logical volume as short as whole extents allow. Already that short is fine.
  virtual Status Reduce(const Leg& leg, std::uint64_t size_bytes) = 0;
  /// Removes the logical volume of this UUID; was it there? Open it is not removed
  /// (kFailedPrecondition). Called by RemoveLeg() (daemon/modify/removal.h) alone.
  virtual Result<bool> Remove(const Leg& leg) = 0;
  /// Takes our tags from a logical volume and, if it has a name that Make() gave, gives it the
  /// plain name `name`, or one that is near it. Returns it as it is now. Can be repeated.
  virtual Result<Leg> Release(const Leg& leg, const std::string& name) = 0;
  /// Makes the device node of a logical volume appear, e.g. after a reboot. Fine for other devices.
  virtual Status Activate(const Leg& leg) = 0;
  /// The same for the legs of many volumes, with one look at LVM and one change, whatever their
  /// number. What was not activated is left to Activate(), which says why. Returns the ids of those
  /// that carry activation skip.
  virtual Result<std::vector<std::string>> ActivateAll(const std::vector<Leg>& legs) = 0;
  /// Those of the legs that are suspended logical volumes: a command of LVM's is at work on them,
  /// or was killed. Asks the kernel only.
  virtual std::vector<Leg> Suspended(const std::vector<Leg>& legs) = 0;
  /// Resumes one. It waits for a command that is at work, and does no harm to what is not
  /// suspended.
  virtual Status Resume(const Leg& leg) = 0;
  /// Every logical volume with our tags.
  virtual Result<std::vector<MadeLeg>> ListMade() = 0;
  /// A device of the class whose speed stands for the class; it is only read.
  virtual Result<std::string> SampleDevice(const std::string& storage_class) = 0;
  /// Are the commands we need there? For doctor.
  virtual Status CheckTools() = 0;
};

/// Bytes a metadata device needs for `blocks` blocks: two superblocks and two 4 KiB pages for every
/// 4032 blocks from 64 KiB on (docs/on-disk-format.md).
[[nodiscard]] std::uint64_t MetadataBytes(std::uint64_t blocks);
/// What to allocate for a new volume: room to grow to four times the blocks, at least 1 MiB.
[[nodiscard]] std::uint64_t MetadataAllocation(std::uint64_t blocks);
/// The same with tiers: beside the pages, a slot area that ends with the device and grows downward,
/// 8 KiB for every 1008 blocks.
[[nodiscard]] std::uint64_t TieredMetadataBytes(std::uint64_t blocks);
[[nodiscard]] std::uint64_t TieredMetadataAllocation(std::uint64_t blocks);
/// What the end of the slot area is rounded down to.
inline constexpr std::uint64_t kSlotAreaAlign = 8 * 1024;
/// How much of a metadata device must be zero before its first use.
inline constexpr std::uint64_t kMetadataZeroBytes = std::uint64_t{64} << 10;

}  // namespace shadow
