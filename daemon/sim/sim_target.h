// SPDX-License-Identifier: Apache-2.0
// A model of the kernel target, as docs/dm-shadow.rst describes it: phases, block states, messages,
// refusals, copy progress, tiers and their shadows, and the data of every block.
//
// Single-threaded; owned by SimWorld, which also moves its time. Written from the document, not
// from the module: where they differ, one of them has a bug.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/dm/blocks.h"
#include "daemon/dm/device_guard.h"
#include "daemon/dm/status.h"
#include "daemon/dm/table.h"

namespace shadow::sim {

/// A block device. Its content is one number per 64 KiB.
struct Disk {
  std::string path;
  std::string id;
  std::uint64_t size_bytes = 0;
  std::uint32_t logical_block = 512;
  std::uint32_t minor = 0;
  std::string used_by;    // by somebody else than us, who claims it
  std::string opened_by;  // by somebody else, without a claim
  int held = 0;           // by us, before a table has it
  std::vector<Signature> signatures;
  std::vector<std::string> below;  // what it lies on: paths of disks, /dev/mapper/<volume>
  bool read_only = false;
  bool lasts = true;        // false: nothing but its name identifies it
  bool blank_start = true;  // the first 64 KiB are zero
  bool fail_reads = false;
  bool fail_writes = false;
  std::vector<std::uint64_t> content;
};

/// A shadow of a block: where it is, and whether home has the same data.
struct SimShadow {
  TierLevel tier = TierLevel::kTier1;
  std::uint64_t slot = 0;
  bool dirty = false;
};

/// What the metadata device holds: survives crashes and reboots.
struct Metadata {
  bool formatted = false;
  std::string name, uuid;  // of the dm device that formatted it
  std::string phase = "steady";
  std::string origin_id, target_id;
  std::uint64_t sectors = 0, old_sectors = 0;
  std::uint32_t block_sectors = 0;
  std::vector<BlockState> states;
  std::array<std::string, kTiers> tier_ids;  // "" when there is no such tier
  std::array<std::uint64_t, kTiers> slots{};
  std::map<std::uint64_t, SimShadow> shadows;  // by block
  std::vector<BlockState> cut_off;  // states beyond the new end of a shrink, until it is committed
};

using DiskMap = std::map<std::string, Disk>;
using MetadataMap = std::map<std::string, Metadata>;

/// One live shadow target.
class SimTarget {
 public:
  SimTarget(DiskMap* disks, MetadataMap* metadata) : disks_(disks), metadata_(metadata) {}

  /// What ctr checks: changes nothing.
  [[nodiscard]] Status CheckTable(const ShadowTable& table) const;
  /// What preresume does with a table.
  [[nodiscard]] Status Resume(const ShadowTable& table);
  void Suspend() { suspended_ = true; }

  [[nodiscard]] Result<std::string> Message(const std::string& text);
  [[nodiscard]] std::string StatusLine() const;
  [[nodiscard]] const ShadowTable& table() const { return table_; }
  [[nodiscard]] const Metadata& metadata() const { return metadata_->at(table_.metadata); }

  /// Moves blocks for `ms` milliseconds at the limited rate, at most `device_kib_per_s`.
  void Advance(std::int64_t ms, std::uint64_t device_kib_per_s);

  /// The application: one value for a whole block. False: I/O error.
  bool Write(std::uint64_t block, std::uint64_t value);
  std::optional<std::uint64_t> Read(std::uint64_t block);
  void DiscardBlock(std::uint64_t block);

  bool raised_event = false;

 private:
  struct Job {
    std::uint64_t block;
    char kind;  // 'c' copy, 'r' remirror, 'f' fill
  };
  struct TierJob {
    std::uint64_t block;
    char kind;  // 'p' promote, 'd' demote, 'w' write back
    TierLevel tier = TierLevel::kTier1;
  };

  Metadata& meta() { return metadata_->at(table_.metadata); }
  Disk* LegDisk(bool target);
  const std::string& HomeDevice() const;
  std::uint64_t& Cell(Disk* disk, std::uint64_t block);
  Status Attach(const ShadowTable& table, Metadata* m);
  static void SetLength(Metadata* m, std::uint64_t sectors);
  [[nodiscard]] std::uint64_t Count(BlockState state) const;
  [[nodiscard]] std::uint64_t Tail() const;
  [[nodiscard]] std::uint64_t OldBlocks() const;
  void RunJob(const Job& job);
  // sim_tiers.cc
  [[nodiscard]] Status CheckTiers(const ShadowTable& table) const;
  [[nodiscard]] Status CheckTierChange(const ShadowTable& table) const;
  void TakeTiers(const ShadowTable& table);
  [[nodiscard]] Disk* TierDisk(TierLevel tier);
  [[nodiscard]] std::uint64_t& SlotCell(Disk* disk, std::uint64_t slot);
  [[nodiscard]] std::optional<std::uint64_t> FreeSlot(TierLevel tier) const;
  [[nodiscard]] std::uint64_t TierBlocks(TierLevel tier, bool only_dirty) const;
  void RunTierJob(const TierJob& job);
  bool WriteBack(std::uint64_t block, SimShadow* shadow);
  void DropShadow(std::uint64_t block);
  void AdvanceTiers(std::int64_t ms, std::uint64_t device_kib_per_s);
  bool WriteHome(std::uint64_t block, std::uint64_t value);
  std::optional<std::uint64_t> ReadHome(std::uint64_t block);
  Result<std::string> TierMessage(const std::vector<std::string_view>& words);
  Result<std::string> Forget(const std::vector<std::string_view>& words);
  [[nodiscard]] std::string Tiers(std::uint64_t first, std::uint64_t count) const;
  [[nodiscard]] std::string TierStatus() const;
  Result<std::string> RangeMessage(const std::vector<std::string_view>& words);
  Result<std::string> PhaseMessage(std::string_view verb);
  [[nodiscard]] std::string Map(std::uint64_t first, std::uint64_t count) const;

  DiskMap* disks_;
  MetadataMap* metadata_;
  ShadowTable table_;
  bool suspended_ = true;
  bool paused_ = false;
  std::uint64_t rate_kib_ = 0, inflight_kib_ = 4096;
  std::uint64_t copied_ = 0, copy_errors_ = 0, mirrored_writes_ = 0;
  std::string last_error_ = "-", read_ = "target";
  std::deque<Job> queue_;
  double budget_kib_ = 0;
  std::array<bool, kTiers> write_back_{}, failed_{};
  std::array<std::uint64_t, kTiers> tier_reads_{}, tier_writes_{};
  std::uint64_t promoted_ = 0, demoted_ = 0, written_back_ = 0, tier_failures_ = 0;
  std::uint64_t tier_rate_kib_ = 0, tier_inflight_kib_ = 2048;
  std::string fetch_ = "off";  // kept, but nothing is fetched
  std::deque<TierJob> tier_queue_;
  double tier_budget_kib_ = 0;
  std::map<std::uint64_t, int> accessed_;  // bit 0 read, bit 1 write
};

}  // namespace shadow::sim
