// SPDX-License-Identifier: Apache-2.0
// The engine: everything shadowd can do, as one interface in domain types.
//
// The RPC layer (daemon/rpc) translates protobuf to and from these types and nothing more; the real
// engine (daemon/engine/engine_impl.h) drives device mapper, LVM and the store. Tests of the RPC
// layer use a scripted engine; tests of the engine use a simulated device mapper.
//
// Threading: every method may be called from any thread at once; calls may block on ioctls and LVM
// commands (seconds), never on a copy. Methods fail with an Error whose hint says what to do, and
// then have changed nothing. Sizes are bytes, times are milliseconds since the epoch, rates
// bytes/s.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/dm/blocks.h"
#include "daemon/dm/latency.h"
#include "daemon/tier/types.h"

namespace shadow {

/// A place where legs can be made: an LVM volume group, or a list of plain devices.
struct ClassInfo {
  std::string name;
  std::string volume_group;          // "" for a list of plain devices
  std::vector<std::string> devices;  // plain devices of the class
  std::uint64_t size_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::uint64_t read_bandwidth = 0;   // bytes/s, measured by a probe; 0: not measured yet
  std::uint64_t write_bandwidth = 0;  // bytes/s
  std::uint64_t read_latency_us = 0;  // 4 KiB random read, mean
};

/// What the kernel says of one tier of a volume.
struct KernelTier {
  std::string health;  // "ok", "missing", "failed"
  bool write_back = false;
  std::uint64_t slots = 0, used = 0, dirty = 0;  // blocks
};

/// What the kernel says of a volume (status line of the target).
struct KernelStatus {
  std::string mode;   // "rw", "ro", "fail", or "" when the device is not active
  std::string phase;  // "steady", "migrating", "grace"
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;
  std::uint64_t origin = 0, copying = 0, mirrored = 0, retiring = 0, target = 0, remirroring = 0;
  std::uint64_t hole = 0, filling = 0, tail = 0;  // blocks
  std::uint64_t copied = 0, recopied = 0, mirrored_writes = 0, failovers = 0, stale = 0;
  std::uint64_t copy_errors = 0;
  std::string last_error;  // "" when none
  bool needs_check = false;
  std::array<std::optional<KernelTier>, 2> tiers;             // tier1, tier2
  std::array<std::uint64_t, 2> tier_reads{}, tier_writes{};   // bios sent to shadows
  std::uint64_t promoted = 0, demoted = 0, written_back = 0;  // blocks
  std::uint64_t fetched = 0;                                  // blocks that reads waited for
  std::string fetch;                // tier that reads may fetch to, or "off"; empty without tiers
  std::uint64_t copy_limit = 0;     // of the mover, bytes/s; 0: none
  std::uint64_t tier_failures = 0;  // failed reads, writes, copies and flushes of tiers
};

struct VolumeInfo {
  std::string name;  // device is /dev/mapper/<name>
  std::string uuid;
  std::string device;  // /dev/mapper/<name>
  std::uint64_t size_bytes = 0;
  std::uint64_t block_bytes = 0;
  std::string origin;           // device path of the leg that is the volume's home
  std::string storage_class;    // "" when the leg is a plain device outside every class
  std::string target;           // device path of the target leg, "" outside modifications
  std::string metadata;         // device path
  std::string modification_id;  // running modification, "" when none
  std::int64_t created_ms = 0;
  KernelStatus kernel;
};

struct CreateRequest {
  std::string name;               // 1..64 of A-Za-z0-9_.-, not starting with . or -
  std::uint64_t size_bytes = 0;   // rounded up to whole blocks
  std::string to;                 // storage class or device path
  std::uint64_t block_bytes = 0;  // 0: default 256 KiB
  std::string request_id;         // "" or an idempotency key
  std::string overwrite;          // what may be written over there: "ext4", "gpt,LVM2_member"
  bool unstable_names = false;    // a device with nothing but a name will do
};

struct ImportRequest {
  std::string name;
  std::string device;    // existing block device with data, not in use
  std::string metadata;  // class or device for the metadata; "": the class of the device
  std::uint64_t block_bytes = 0;
  std::string request_id;
  std::string overwrite;  // what may be written over on the metadata's device
  bool unstable_names = false;
};

struct RecoverRequest {
  std::string metadata;  // path of the volume's metadata device
  std::string request_id;
};

enum class Impact : std::uint8_t { kLow, kBalanced, kFull };
enum class Retire : std::uint8_t { kNever, kCold, kEager };

struct ModifyRequest {
  std::string volume;
  std::string request_id;        // same id + same request: same modification
  std::uint64_t size_bytes = 0;  // absolute new size; 0: unchanged (see size_spec)
  std::string size_spec;         // as the user wrote it: "+50%", "+10G", "20G", "-5G"; "" unchanged
  std::string to;                // class or device path; "": stays where it is
  Impact impact = Impact::kBalanced;
  std::uint64_t rate = 0;  // fixed bytes/s instead of impact; 0: by impact
  Retire retire = Retire::kNever;
  std::int64_t grace_ms = -1;    // -1: default (10 min); 0: commit at once
  bool grow_filesystem = false;  // ext4, xfs and btrfs, when there is no way back any more
  bool grow_now = false;         // ... or as soon as the new capacity is there, which closes it
  bool trim_first = true;        // fstrim a mounted file system before copying
  bool discard_origin = false;   // discard the origin when it is decommissioned
  bool force_shrink = false;     // shrink although the file system says no or is unknown
  bool dry_run = false;          // plan only
  std::string overwrite;         // what may be written over on the target
  bool unstable_names = false;   // a target with nothing but a name will do
  bool keep_signature = false;   // the old origin keeps its signatures
};

/// What a modification will do. Times are estimates from the measured bandwidths.
struct Plan {
  std::string volume;
  std::uint64_t old_size = 0, new_size = 0;  // bytes
  std::string from, to;                      // class or device; equal when it does not move
  std::string target_device;                 // existing device, or the LV that will be made
  std::uint64_t bytes_to_copy = 0;
  std::uint64_t holes_bytes = 0;  // not copied
  std::uint64_t expected_ms = 0;  // 0: unknown
  std::uint64_t expected_pause_us = 0;
  bool reversible = true;          // false once committed; a grow in place is not reversible
  std::vector<std::string> steps;  // sentences, in order
  std::vector<std::string> warnings;
};

enum class Phase : std::uint8_t {
  kPlanned,
  kPreparing,
  kCopying,
  kPaused,
  kCatchingUp,
  kCuttingOver,
  kGrace,
  kDecommissioning,
  kCompleted,
  kAborting,
  kRollingBack,
  kAborted,
  kFailed,
};
/// "PLANNED", "PREPARING", ... as in the design.
[[nodiscard]] const char* PhaseName(Phase phase);
/// COMPLETED, ABORTED and FAILED are the end of a modification.
[[nodiscard]] bool IsFinal(Phase phase);

struct HistoryEntry {
  std::int64_t at_ms = 0;
  Phase phase = Phase::kPlanned;
  std::string note;
};

struct ModificationInfo {
  std::string id;
  std::string volume;
  std::string request_id;
  ModifyRequest request;
  Plan plan;
  Phase phase = Phase::kPlanned;
  std::string error;                             // "" unless something went wrong; a sentence
  std::vector<std::string> left_out;             // what was asked for and not done; sentences
  bool limited_by_latency = false;               // the application's; now
  std::uint64_t bytes_total = 0;                 // to be copied (holes left out)
  std::uint64_t bytes_done = 0;                  // current on the destination side
  std::uint64_t bytes_copied = 0;                // copied in all, repeats included
  std::uint64_t rate = 0;                        // bytes/s now
  std::int64_t eta_ms = -1;                      // -1: unknown
  std::uint64_t app_p50_us = 0, app_p99_us = 0;  // application latency, last window; 0: no I/O seen
  std::uint64_t app_baseline_p50_us = 0, app_baseline_p99_us = 0;  // before the copy began
  std::uint64_t mirrored_writes = 0;
  std::uint64_t cutover_pause_us =
      0;  // measured: longest suspend..resume of this modification; 0: none yet
  std::int64_t started_ms = 0, updated_ms = 0, finished_ms = 0;  // 0: not yet
  std::int64_t grace_ends_ms = 0;                                // 0: not in grace
  std::vector<HistoryEntry> history;
};

struct Event {
  std::uint64_t seq = 0;  // grows by one; a client resumes after the last one it saw
  std::int64_t at_ms = 0;
  std::string volume;           // "" for the daemon itself
  std::string modification_id;  // "" when none
  std::string severity;         // "info", "warning", "error"
  std::string what;             // short machine-readable name, e.g. "phase", "copy_error", "mode"
  std::string message;          // a sentence
};

/// One finding of `doctor`: what was looked at, whether it is well, what to do if not.
struct Check {
  std::string name;
  std::string result;  // "ok", "warning", "error"
  std::string detail;
  std::string hint;
};

struct DeleteRequest {
  std::string name;
  bool destroy_data = false;
  bool dry_run = false;  // only say what would go
};

/// What a delete does to one device of the volume.
struct DeletedDevice {
  std::string device;
  std::string id;
  bool removed = false;  // a logical volume is removed, another device wiped
  std::string reason;
};

struct DeleteReport {
  std::vector<DeletedDevice> devices;
};

/// A part of a volume and how many of its blocks are where. The numbers of a cell whose blocks were
/// not all looked at are scaled up.
struct MapCell {
  BlockRange range;
  std::array<std::uint64_t, kBlockStates> blocks{};  // by BlockState
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual Result<VolumeInfo> CreateVolume(const CreateRequest& request) = 0;
  virtual Result<VolumeInfo> ImportVolume(const ImportRequest& request) = 0;
  /// Gives the plain device back: fills holes, removes the shadow device. Returns the device's
  /// path. Refused while the volume is open or being modified.
  virtual Result<std::string> ExportVolume(const std::string& name) = 0;
  /// Removes the volume and the logical volumes shadowd made for it. Refused while it is open, and
  /// then nothing has changed. Data that was imported stays where it lies now unless
  /// `destroy_data`.
  virtual Result<DeleteReport> DeleteVolume(const DeleteRequest& request) = 0;
  virtual Result<std::vector<VolumeInfo>> ListVolumes() = 0;
  virtual Result<VolumeInfo> GetVolume(const std::string& name) = 0;
  /// Puts a volume together now if its devices are there. kUnavailable says what it waits for.
  /// With `unstable_names` the names of legs that have nothing else lead to the right devices: the
  /// user looked.
  virtual Result<VolumeInfo> ActivateVolume(const std::string& name, bool unstable_names) = 0;
  /// Takes a volume whose records are lost into shadowd's state again, from its metadata device.
  virtual Result<VolumeInfo> RecoverVolume(const RecoverRequest& request) = 0;
  virtual Result<std::vector<ClassInfo>> ListClasses() = 0;
  /// Measures how fast a class is now; reads only. What was measured before is forgotten.
  virtual Result<ClassInfo> MeasureClass(const std::string& name) = 0;

  virtual Result<Plan> PlanModification(const ModifyRequest& request) = 0;
  virtual Result<ModificationInfo> Modify(const ModifyRequest& request) = 0;
  virtual Result<ModificationInfo> GetModification(const std::string& id) = 0;
  /// Newest first, at most `limit`; "" for every volume.
  virtual Result<std::vector<ModificationInfo>> ListModifications(const std::string& volume,
                                                                  std::size_t limit) = 0;
  virtual Result<ModificationInfo> Pause(const std::string& id) = 0;
  virtual Result<ModificationInfo> Resume(const std::string& id) = 0;
  /// Before cut-over. Retired blocks are copied back first; ends in ABORTED.
  virtual Result<ModificationInfo> Abort(const std::string& id) = 0;
  /// During GRACE: back to the origin; ends in ABORTED.
  virtual Result<ModificationInfo> RollBack(const std::string& id) = 0;
  /// During GRACE: decommission now instead of at the end of the grace period.
  virtual Result<ModificationInfo> Commit(const std::string& id) = 0;
  /// Gives the old origin of a completed modification the signatures back that were wiped from it.
  /// Returns its path. kFailedPrecondition if it is in use, or somebody has written there since.
  virtual Result<std::string> RestoreOrigin(const std::string& id) = 0;
  /// A fixed rate in bytes/s, or (rate == 0) adaptation by `impact` again.
  virtual Result<ModificationInfo> SetRate(const std::string& id, std::uint64_t rate,
                                           Impact impact) = 0;

  /// Gives the volume a tier: makes the leg, extends the metadata if it must, puts the table in
  /// place. Refused during a modification. The answer to a repeated request id is the tier.
  virtual Result<TierInfo> AddTier(const AddTierRequest& request) = 0;
  /// Begins to take a tier away: its shadows go home in the background, then the table and the leg
  /// go. With `forget` it is done when this returns. kFailedPrecondition when data would be lost.
  virtual Result<TierInfo> RemoveTier(const RemoveTierRequest& request) = 0;
  virtual Result<TierInfo> SetTierMode(const std::string& volume, TierLevel level,
                                       bool write_back) = 0;
  virtual Result<PlacementInfo> SetTierPolicy(const std::string& volume,
                                              const TierPolicy& policy) = 0;
  virtual Result<TiersInfo> ListTiers(const std::string& volume) = 0;
  /// The heat of the volume in `ranges` equal ranges, ascending, without gaps.
  virtual Result<std::vector<HeatCell>> GetHeatMap(const std::string& volume,
                                                   std::uint32_t ranges) = 0;
  /// Blocks that have a shadow, as runs, ascending.
  virtual Result<std::vector<TierRun>> GetTierMap(const std::string& volume) = 0;
  virtual Result<BlockExplanation> ExplainBlock(const std::string& volume, std::uint64_t block) = 0;
  /// What each volume ("": all) did since the last look at it, of anybody; counting begins with the
  /// first look and ends when nobody looked for a minute.
  virtual Result<std::vector<VolumeTop>> Top(const std::string& volume) = 0;

  /// What the application did on the volume since its counting began. Changes nothing for other
  /// readers, of this or of Top(), and reads no access bits.
  virtual Result<AppTotals> ReadCounters(const std::string& volume) = 0;
  /// Where the blocks of `range` are, in at most `cells` equal parts (1..4096), ascending, without
  /// gaps. Costs a bounded number of messages to the kernel, whatever the map looks like.
  virtual Result<std::vector<MapCell>> GetBlockMap(const std::string& volume, BlockRange range,
                                                   std::uint32_t cells) = 0;

  /// Blocks until the modification differs from `seen_updated_ms`, or `timeout_ms` has passed;
  /// returns its state then. The RPC layer's watch streams are loops over this.
  virtual Result<ModificationInfo> WaitModification(const std::string& id,
                                                    std::int64_t seen_updated_ms,
                                                    std::int64_t timeout_ms) = 0;
  /// Events after `after_seq`, at most `limit`; waits up to `timeout_ms` when there are none.
  virtual Result<std::vector<Event>> WaitEvents(std::uint64_t after_seq, std::size_t limit,
                                                std::int64_t timeout_ms) = 0;
  virtual Result<std::vector<Check>> Doctor() = 0;
  /// What shadowd knows of its volumes, as text for ImportState().
  virtual Result<std::string> ExportState() = 0;
  /// Takes in what ExportState() said of volumes that are not known here. A volume that has changed
  /// since is taken in from its metadata. Returns a sentence for each volume.
  virtual Result<std::vector<std::string>> ImportState(const std::string& text) = 0;
};

}  // namespace shadow
