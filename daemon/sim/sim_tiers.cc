// SPDX-License-Identifier: Apache-2.0
// The model's tiers: slots, shadows, and the messages about them (docs/dm-shadow.rst, "Tiers").
//
// Copies are instantaneous once their turn comes, so `promoting`, `cleaning` and `dropping` are
// never seen; what the metadata says is durable at once.
#include <algorithm>
#include <set>

#include "daemon/sim/sim_parts.h"
#include "daemon/sim/sim_target.h"

namespace shadow::sim {
Status SimTarget::CheckTiers(const ShadowTable& table) const {
  std::vector<std::string> others = {table.metadata, table.origin.device};
  if (table.target) others.push_back(table.target->device);
  for (const auto& tier : table.tiers) {
    if (!tier || tier->leg.device == "-") continue;
    const auto it = disks_->find(tier->leg.device);
    if (it == disks_->end()) return Refuse("device lookup failed");
    if (std::count(others.begin(), others.end(), tier->leg.device) > 0) {
      return Refuse("a tier is another leg or the metadata device");
    }
    if (it->second.size_bytes < table.block_sectors * kSectorBytes) {
      return Refuse("a tier is smaller than a block");
    }
    others.push_back(tier->leg.device);
  }
  return Ok();
}

// May the tiers of the metadata become those of the table?
Status SimTarget::CheckTierChange(const ShadowTable& table) const {
  const Metadata& m = metadata_->at(table.metadata);
  for (TierLevel level : kTierLevels) {
    const std::string name = TierName(level);
    const auto& tier = table.tiers.at(IndexOf(level));
    const std::string& known = m.tier_ids.at(IndexOf(level));
    if (tier && known.empty() && tier->leg.device == "-") {
      return Refuse(name + " is not known and cannot be missing");
    }
    if (tier && !known.empty() && tier->leg.id != known) {
      return Refuse(name + " is not the recorded one");
    }
    if (tier || known.empty()) continue;
    for (const auto& [block, shadow] : m.shadows) {
      if (shadow.tier == level) return Refuse(name + " has shadows: demote or forget them");
    }
  }
  const std::uint64_t blocks = (table.sectors + m.block_sectors - 1) / m.block_sectors;
  if (table.sectors < m.sectors && m.shadows.lower_bound(blocks) != m.shadows.end()) {
    return Refuse("blocks beyond the new end have shadows: demote them");
  }
  return Ok();
}

// The table is live: its tiers are the volume's.
void SimTarget::TakeTiers(const ShadowTable& table) {
  Metadata& m = meta();
  for (TierLevel level : kTierLevels) {
    const std::size_t i = IndexOf(level);
    const auto& tier = table.tiers.at(i);
    failed_.at(i) = false;
    write_back_.at(i) = tier && tier->write_back;
    m.tier_ids.at(i) = tier ? tier->leg.id : "";
    if (!tier) {
      m.slots.at(i) = 0;
    } else if (tier->leg.device != "-") {
      m.slots.at(i) = disks_->at(tier->leg.device).size_bytes / (m.block_sectors * kSectorBytes);
    } else {
      std::erase_if(m.shadows, [&](const auto& entry) {
        return entry.second.tier == level && !entry.second.dirty;
      });
    }
  }
}

Disk* SimTarget::TierDisk(TierLevel tier) {
  const auto& leg = table_.tiers.at(IndexOf(tier));
  const auto it = leg ? disks_->find(leg->leg.device) : disks_->end();
  return it == disks_->end() ? nullptr : &it->second;
}

std::uint64_t& SimTarget::SlotCell(Disk* disk, std::uint64_t slot) {
  const std::uint64_t at = slot * (meta().block_sectors * kSectorBytes / kSimCellBytes);
  if (disk->content.size() <= at) disk->content.resize(at + 1, 0xdead);
  return disk->content[at];
}

std::optional<std::uint64_t> SimTarget::FreeSlot(TierLevel tier) const {
  std::set<std::uint64_t> used;
  for (const auto& [block, shadow] : metadata().shadows) {
    if (shadow.tier == tier) used.insert(shadow.slot);
  }
  for (std::uint64_t slot = 0; slot < metadata().slots.at(IndexOf(tier)); ++slot) {
    if (used.count(slot) == 0) return slot;
  }
  return std::nullopt;
}

std::uint64_t SimTarget::TierBlocks(TierLevel tier, bool only_dirty) const {
  const auto& all = metadata().shadows;
  return static_cast<std::uint64_t>(std::count_if(all.begin(), all.end(), [&](const auto& entry) {
    return entry.second.tier == tier && (entry.second.dirty || !only_dirty);
  }));
}

void SimTarget::DropShadow(std::uint64_t block) { meta().shadows.erase(block); }

bool SimTarget::WriteBack(std::uint64_t block, SimShadow* shadow) {
  if (!shadow->dirty) return true;
  Disk* disk = TierDisk(shadow->tier);
  if (disk == nullptr || disk->fail_reads || !WriteHome(block, SlotCell(disk, shadow->slot))) {
    ++tier_failures_;
    raised_event = true;
    return false;
  }
  shadow->dirty = false;
  ++written_back_;
  return true;
}

void SimTarget::RunTierJob(const TierJob& job) {
  auto& shadows = meta().shadows;
  const auto it = shadows.find(job.block);
  if (job.kind == 'p') {
    if (it != shadows.end() || job.block >= meta().states.size()) return;
    if (meta().states[job.block] == BlockState::kHole) return;
    const auto slot = FreeSlot(job.tier);
    Disk* disk = TierDisk(job.tier);
    if (!slot || disk == nullptr || failed_.at(IndexOf(job.tier))) return;
    const auto value = ReadHome(job.block);
    if (!value || disk->fail_writes) {
      ++tier_failures_;
      raised_event = true;
      return;
    }
    SlotCell(disk, *slot) = *value;
    shadows[job.block] = {job.tier, *slot, false};
    ++promoted_;
    return;
  }
  if (it == shadows.end() || !WriteBack(job.block, &it->second)) return;
  if (job.kind == 'd') {
    shadows.erase(it);
    ++demoted_;
  }
}

void SimTarget::AdvanceTiers(std::int64_t ms, std::uint64_t device_kib_per_s) {
  if (suspended_ || tier_queue_.empty()) return;
  const std::uint64_t rate =
      tier_rate_kib_ == 0 ? device_kib_per_s : std::min(tier_rate_kib_, device_kib_per_s);
  const double block_kib = meta().block_sectors / 2.0;
  tier_budget_kib_ =
      std::min(tier_budget_kib_ + static_cast<double>(rate) * static_cast<double>(ms) / 1000,
               static_cast<double>(rate) + block_kib);
  while (!tier_queue_.empty() && tier_budget_kib_ >= block_kib) {
    const TierJob job = tier_queue_.front();
    tier_queue_.pop_front();
    tier_budget_kib_ -= block_kib;
    RunTierJob(job);
  }
  if (tier_queue_.empty()) raised_event = true;
}

bool SimTarget::Write(std::uint64_t block, std::uint64_t value) {
  if (suspended_) return false;
  accessed_[block] |= 2;
  const auto it = meta().shadows.find(block);
  if (it == meta().shadows.end()) return WriteHome(block, value);
  SimShadow& shadow = it->second;
  const std::size_t i = IndexOf(shadow.tier);
  Disk* disk = TierDisk(shadow.tier);
  ++tier_writes_.at(i);
  const bool lost = disk == nullptr || disk->fail_writes;
  if (lost) {
    ++tier_failures_;
    failed_.at(i) = disk != nullptr;
    raised_event = true;
  }
  if (shadow.dirty) {
    if (!lost) SlotCell(disk, shadow.slot) = value;
    return !lost;
  }
  if (lost) {
    meta().shadows.erase(it);
    return WriteHome(block, value);
  }
  SlotCell(disk, shadow.slot) = value;
  if (write_back_.at(i)) {
    shadow.dirty = true;
    return true;
  }
  if (WriteHome(block, value)) return true;
  meta().shadows.erase(it);  // it has what home has not
  return false;
}

std::optional<std::uint64_t> SimTarget::Read(std::uint64_t block) {
  if (suspended_) return std::nullopt;
  accessed_[block] |= 1;
  const auto it = meta().shadows.find(block);
  if (it == meta().shadows.end()) return ReadHome(block);
  Disk* disk = TierDisk(it->second.tier);
  ++tier_reads_.at(IndexOf(it->second.tier));
  if (disk != nullptr && !disk->fail_reads) return SlotCell(disk, it->second.slot);
  ++tier_failures_;
  raised_event = true;
  if (it->second.dirty) return std::nullopt;
  failed_.at(IndexOf(it->second.tier)) = true;
  meta().shadows.erase(it);
  return ReadHome(block);
}

Result<std::string> SimTarget::TierMessage(const std::vector<std::string_view>& words) {
  const std::string_view verb = words[0];
  if (verb == "fetch" && words.size() == 2 && words[1] == "off") {
    fetch_ = "off";
    return std::string();
  }
  const bool names_tier =
      verb == "promote" || verb == "fetch" || verb == "mode" || verb == "forget";
  TierJob job{0, verb == "promote" ? 'p' : verb == "demote" ? 'd' : 'w', TierLevel::kTier1};
  if (names_tier) {
    const auto tier = words.size() > 1 ? ParseTierName(words[1]) : std::nullopt;
    if (!tier || metadata().tier_ids.at(IndexOf(*tier)).empty())
      return Refuse("there is no such tier");
    job.tier = *tier;
  }
  if (verb == "mode") {
    if (words.size() != 3 || (words[2] != "writeback" && words[2] != "writethrough")) {
      return Refuse("bad mode");
    }
    write_back_.at(IndexOf(job.tier)) = words[2] == "writeback";
    return std::string();
  }
  if (verb == "fetch") {
    if (words.size() != 2) return Refuse("use: fetch tier1|tier2|off");
    fetch_ = words[1];
    return std::string();
  }
  if (verb == "forget") return Forget(words);
  const std::size_t from = names_tier ? 2 : 1;
  std::vector<BlockRange> ranges;
  for (std::size_t i = from; i < words.size(); ++i) {
    const auto r = MessageRange(words[i]);
    if (!r || r->first + r->count > metadata().states.size()) return Refuse("bad range");
    ranges.push_back(*r);
  }
  if (ranges.empty()) return Refuse("which blocks?");
  if (tier_queue_.size() + ranges.size() > kSimQueueRanges * 64) {
    return MakeError(Code::kOutOfSpace, "shadow: the queue is full");
  }
  for (const BlockRange& r : ranges) {
    for (job.block = r.first; job.block < r.first + r.count; ++job.block) {
      // Only shadows can be demoted or written back: what has none is skipped at once.
      if (job.kind == 'p' || metadata().shadows.count(job.block) > 0) tier_queue_.push_back(job);
    }
  }
  return std::string();
}

Result<std::string> SimTarget::Forget(const std::vector<std::string_view>& words) {
  const TierLevel tier = *ParseTierName(words[1]);
  const bool lost = words.size() == 3 && words[2] == "lost";
  if (words.size() > 3 || (words.size() == 3 && !lost)) return Refuse("bad forget");
  if (!lost && TierBlocks(tier, true) > 0) {
    return Refuse(std::string(words[1]) + " has dirty shadows: write them back, or give 'lost'");
  }
  std::erase_if(meta().shadows, [&](const auto& e) { return e.second.tier == tier; });
  std::erase_if(tier_queue_, [&](const TierJob& j) { return j.kind == 'p' && j.tier == tier; });
  meta().tier_ids.at(IndexOf(tier)).clear();
  meta().slots.at(IndexOf(tier)) = 0;
  raised_event = true;
  return std::string();
}

std::string SimTarget::Tiers(std::uint64_t first, std::uint64_t count) const {
  const auto& all = metadata().shadows;
  std::string out;
  std::size_t runs = 0;
  for (auto it = all.lower_bound(first); it != all.end() && it->first < first + count;) {
    if (++runs > kSimAnswerRuns) return out + "next=" + std::to_string(it->first);
    const auto from = it;
    std::uint64_t n = 0;
    while (it != all.end() && it->first == from->first + n && it->first < first + count &&
           it->second.tier == from->second.tier && it->second.dirty == from->second.dirty) {
      ++n;
      ++it;
    }
    out += std::to_string(from->first) + "+" + std::to_string(n) + ":" +
           TierName(from->second.tier) + (from->second.dirty ? "-dirty " : "-clean ");
  }
  return out + "end";
}

std::string SimTarget::TierStatus() const {
  std::string out;
  const auto add = [&](const std::string& key, std::uint64_t value) {
    out += " " + key + "=" + std::to_string(value);
  };
  bool any = false;
  for (TierLevel level : kTierLevels) {
    const std::size_t i = IndexOf(level);
    const std::string name = TierName(level);
    if (metadata().tier_ids.at(i).empty()) continue;
    any = true;
    const auto& leg = table_.tiers.at(i);
    const bool missing = !leg || leg->leg.device == "-";
    out += " " + name + "=" +
           (missing         ? "missing"
            : failed_.at(i) ? "failed"
                            : "ok") +
           ":" + (write_back_.at(i) ? "writeback" : "writethrough") + ":" +
           std::to_string(metadata().slots.at(i)) + ":" + std::to_string(TierBlocks(level, false)) +
           ":" + std::to_string(TierBlocks(level, true));
    add(name + "_reads", tier_reads_.at(i));
    add(name + "_writes", tier_writes_.at(i));
  }
  if (!any) return out;
  add("promoted", promoted_);
  add("demoted", demoted_);
  add("written_back", written_back_);
  add("tier_failures", tier_failures_);
  out += " fetch=" + fetch_;
  add("fetched", 0);
  add("tier_queue", tier_queue_.size());
  add("tier_inflight", 0);
  add("tier_rate", tier_rate_kib_);
  add("tier_inflight_limit", tier_inflight_kib_);
  return out;
}

}  // namespace shadow::sim
