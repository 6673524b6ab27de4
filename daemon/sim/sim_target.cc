// SPDX-License-Identifier: Apache-2.0
#include "daemon/sim/sim_target.h"

#include <algorithm>

#include "daemon/sim/sim_parts.h"

namespace shadow::sim {

Error Refuse(const std::string& why) {
  return MakeError(Code::kFailedPrecondition, "shadow: " + why);
}

std::optional<BlockRange> MessageRange(std::string_view word) {
  const std::size_t plus = word.find('+');
  const auto first = ParseNumber(word.substr(0, plus));
  std::optional<std::uint64_t> count = 1;
  if (plus != std::string_view::npos) count = ParseNumber(word.substr(plus + 1));
  if (!first || !count || *count == 0) return std::nullopt;
  return BlockRange{*first, *count};
}

Status SimTarget::CheckTable(const ShadowTable& table) const {
  const auto disk = [&](const std::string& path) -> const Disk* {
    const auto it = disks_->find(path);
    return it == disks_->end() ? nullptr : &it->second;
  };
  const Disk* meta = disk(table.metadata);
  const Disk* origin = disk(table.origin.device);
  if (meta == nullptr || (origin == nullptr && table.origin.device != "-")) {
    return Refuse("device lookup failed");
  }
  if (meta == origin) return Refuse("the origin is the metadata device");
  for (const Disk* held : {meta, origin, table.target ? disk(table.target->device) : nullptr}) {
    if (held != nullptr && held->held > 0) return Refuse("Device or resource busy");
  }
  if (origin != nullptr && !table.target && origin->size_bytes < table.sectors * kSectorBytes) {
    return Refuse("the origin is too small");
  }
  if (table.target) {
    const Disk* target = disk(table.target->device);
    if (target == nullptr && table.target->device != "-") return Refuse("device lookup failed");
    if (target != nullptr && (target == origin || target == meta)) {
      return Refuse("the target is the origin or the metadata device");
    }
    if (target != nullptr && target->size_bytes < table.sectors * kSectorBytes) {
      return Refuse("the target is too small");
    }
  }
  return CheckTiers(table);
}

void SimTarget::SetLength(Metadata* m, std::uint64_t sectors) {
  m->sectors = sectors;
  m->states.resize((sectors + m->block_sectors - 1) / m->block_sectors, BlockState::kHole);
  m->shadows.erase(m->shadows.lower_bound(m->states.size()), m->shadows.end());
}

Status SimTarget::Attach(const ShadowTable& table, Metadata* m) {
  if (table.sectors > m->sectors && m->sectors % m->block_sectors != 0) {
    return Refuse("cannot grow: the volume does not end at a block");
  }
  if (table.sectors < m->sectors && !table.shrink) return Refuse("shorter without 'shrink'");
  m->phase = "migrating";
  m->old_sectors = m->sectors;
  m->target_id = table.target->id;
  m->cut_off.clear();
  if (table.sectors < m->sectors) {
    const std::uint64_t keep = (table.sectors + m->block_sectors - 1) / m->block_sectors;
    m->cut_off.assign(m->states.begin() + static_cast<std::ptrdiff_t>(keep), m->states.end());
  }
  SetLength(m, table.sectors);
  return Ok();
}

Status SimTarget::Resume(const ShadowTable& table) {
  SHADOW_TRY(CheckTable(table));
  Metadata& m = (*metadata_)[table.metadata];
  if (!m.formatted) {
    if (!disks_->at(table.metadata).blank_start) return Refuse("this is no metadata of a volume");
    if (table.target) return Refuse("new metadata cannot start with a target");
    for (const auto& tier : table.tiers) {
      if (tier && tier->leg.device == "-") return Refuse("a new tier cannot be missing");
    }
    m = Metadata{};
    m.formatted = true;
    m.block_sectors = table.block_sectors;
    m.origin_id = table.origin.id;
    m.sectors = table.sectors;
    m.states.assign((table.sectors + m.block_sectors - 1) / m.block_sectors,
                    table.fresh ? BlockState::kHole : BlockState::kOrigin);
  } else if (m.block_sectors != table.block_sectors) {
    return Refuse("the block size differs from the metadata's");
  } else if (table.origin.id != m.origin_id) {
    return Refuse("the origin is not the recorded one");
  } else if (const Status tiers = CheckTierChange(table); !tiers.ok()) {
    return tiers;
  } else if (m.phase == "steady") {
    if (table.target) {
      SHADOW_TRY(Attach(table, &m));
    } else {
      if (table.sectors < m.sectors && !table.shrink) return Refuse("shorter without 'shrink'");
      SetLength(&m, table.sectors);
    }
  } else {
    if (!table.target || table.target->id != m.target_id) {
      return Refuse("finish the modification with commit or abort");
    }
    if (table.sectors != m.sectors) return Refuse("the length cannot change during a modification");
  }
  table_ = table;
  suspended_ = false;
  TakeTiers(table);
  return Ok();
}

const std::string& SimTarget::HomeDevice() const {
  // After "commit" the two-leg table still lives: the recorded origin is the target's device then.
  const Metadata& m = metadata();
  if (table_.target && m.phase == "steady" && m.origin_id == table_.target->id) {
    return table_.target->device;
  }
  return table_.origin.device;
}

Disk* SimTarget::LegDisk(bool target) {
  const std::string& path =
      target && table_.target && meta().phase != "steady" ? table_.target->device : HomeDevice();
  const auto it = disks_->find(path);
  return it == disks_->end() ? nullptr : &it->second;
}

std::uint64_t& SimTarget::Cell(Disk* disk, std::uint64_t block) {
  const std::uint64_t at = block * (meta().block_sectors * kSectorBytes / kSimCellBytes);
  if (disk->content.size() <= at) disk->content.resize(at + 1, 0xdead);
  return disk->content[at];
}

std::uint64_t SimTarget::Count(BlockState state) const {
  const auto& s = metadata().states;
  return static_cast<std::uint64_t>(std::count(s.begin(), s.end(), state));
}

std::uint64_t SimTarget::OldBlocks() const {
  const Metadata& m = metadata();
  if (m.phase == "steady" || m.old_sectors == 0) return m.states.size();
  return m.old_sectors / m.block_sectors;
}

std::uint64_t SimTarget::Tail() const {
  std::uint64_t n = 0;
  const auto& s = metadata().states;
  for (std::uint64_t b = OldBlocks(); b < s.size(); ++b) n += s[b] != BlockState::kHole ? 1 : 0;
  return n;
}

std::string SimTarget::StatusLine() const {
  const Metadata& m = metadata();
  std::string out = "rw " + m.phase + " " + std::to_string(m.states.size()) + " " +
                    std::to_string(m.block_sectors);
  const auto add = [&](const char* key, std::uint64_t value) {
    out += std::string(" ") + key + "=" + std::to_string(value);
  };
  for (int i = 0; i < kBlockStates; ++i) {
    add(BlockStateName(static_cast<BlockState>(i)), Count(static_cast<BlockState>(i)));
  }
  add("tail", Tail());
  add("old_sectors", m.phase == "steady" ? 0 : m.old_sectors);
  add("queue", queue_.size());
  add("inflight", 0);
  add("copied", copied_);
  add("recopied", 0);
  add("filled", 0);
  add("copy_errors", copy_errors_);
  out += " last_error=" + last_error_;
  add("mirrored_writes", mirrored_writes_);
  add("failovers", 0);
  add("stale", 0);
  add("dirty_regions", 0);
  add("rate", rate_kib_);
  add("inflight_limit", inflight_kib_);
  add("paused", paused_ ? 1 : 0);
  out += " read=" + read_;
  add("commits", 0);
  add("generation", 1);
  add("needs_check", 0);
  add("mem", m.states.size());
  return out + TierStatus();
}

std::string SimTarget::Map(std::uint64_t first, std::uint64_t count) const {
  const auto& s = metadata().states;
  const std::uint64_t end = std::min<std::uint64_t>(s.size(), first + count);
  std::string out;
  std::size_t runs = 0;
  for (std::uint64_t at = first; at < end;) {
    if (++runs > kSimAnswerRuns) return out + "next=" + std::to_string(at);
    std::uint64_t stop = at;
    while (stop < end && s[stop] == s[at]) ++stop;
    out += std::to_string(at) + "+" + std::to_string(stop - at) + ":" + BlockStateName(s[at]) + " ";
    at = stop;
  }
  return out + "end";
}

Result<std::string> SimTarget::RangeMessage(const std::vector<std::string_view>& words) {
  Metadata& m = meta();
  const char kind = words[0] == "copy"       ? 'c'
                    : words[0] == "remirror" ? 'r'
                    : words[0] == "fill"     ? 'f'
                                             : 't';
  if (m.phase == "steady" && kind != 'f') return Refuse("there is no target");
  std::vector<BlockRange> ranges;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto r = MessageRange(words[i]);
    if (!r || r->first + r->count > m.states.size()) return Refuse("bad range");
    ranges.push_back(*r);
  }
  if (kind != 't' && queue_.size() + ranges.size() > kSimQueueRanges * 64) {
    return MakeError(Code::kOutOfSpace, "shadow: the queue is full");
  }
  for (const BlockRange& r : ranges) {
    for (std::uint64_t b = r.first; b < r.first + r.count; ++b) {
      if (kind != 't') {
        queue_.push_back({b, kind});
      } else if (m.states[b] == BlockState::kMirrored) {
        m.states[b] = BlockState::kTarget;
      }
    }
  }
  return std::string();
}

Result<std::string> SimTarget::PhaseMessage(std::string_view verb) {
  Metadata& m = meta();
  const std::uint64_t on_origin = Count(BlockState::kOrigin) + Count(BlockState::kCopying);
  const std::uint64_t on_target = Count(BlockState::kTarget) + Count(BlockState::kRemirroring);
  if (verb == "cutover") {
    if (m.phase != "migrating") return Refuse("cutover only while migrating");
    if (on_origin > 0) return Refuse("blocks are only on the origin: copy them first");
    m.phase = "grace";
  } else if (verb == "rollback") {
    if (m.phase != "grace") return Refuse("rollback only in grace");
    if (on_target > 0) return Refuse("blocks are only on the target: remirror them first");
    m.phase = "migrating";
  } else if (verb == "commit") {
    if (m.phase != "grace") return Refuse("commit only in grace");
    if (on_origin > 0) return Refuse("blocks are only on the origin: copy them first");
    m.phase = "steady";
    m.origin_id = m.target_id;
    for (BlockState& s : m.states) s = s == BlockState::kHole ? s : BlockState::kOrigin;
  } else {
    if (m.phase != "migrating") return Refuse("abort only while migrating");
    if (Tail() > 0) return Refuse("blocks beyond the old end hold data: discard them first");
    if (on_target > 0) return Refuse("blocks are only on the target: remirror them first");
    m.phase = "steady";
    m.states.insert(m.states.end(), m.cut_off.begin(), m.cut_off.end());
    SetLength(&m, m.old_sectors);
    for (BlockState& s : m.states) s = s == BlockState::kHole ? s : BlockState::kOrigin;
  }
  if (m.phase == "steady") {
    m.target_id.clear();
    m.old_sectors = 0;
    queue_.clear();
  }
  raised_event = true;
  return std::string();
}

Result<std::string> SimTarget::Message(const std::string& text) {
  const auto words = SplitWords(text);
  if (words.empty()) return Refuse("empty message");
  const std::string_view verb = words[0];
  if (verb == "limit" && words.size() == 3) {
    const std::map<std::string_view, std::uint64_t*> limits = {
        {"rate", &rate_kib_},
        {"inflight", &inflight_kib_},
        {"tier_rate", &tier_rate_kib_},
        {"tier_inflight", &tier_inflight_kib_}};
    const auto n = ParseNumber(words[2]);
    const auto limit = limits.find(words[1]);
    if (!n || limit == limits.end()) return Refuse("bad limit");
    *limit->second = *n;
    return std::string();
  }
  if (verb == "pause" || verb == "resume") {
    paused_ = verb == "pause";
    return std::string();
  }
  if (verb == "map" || verb == "tiers") {
    const auto r = words.size() > 1 ? MessageRange(words[1]) : BlockRange{0, meta().states.size()};
    if (!r) return Refuse("bad range");
    return verb == "map" ? Map(r->first, r->count) : Tiers(r->first, r->count);
  }
  if (verb == "read" && words.size() == 2) {
    read_ = words[1];
    return std::string();
  }
  if (suspended_) return Refuse("the volume is suspended");
  if (verb == "copy" || verb == "remirror" || verb == "fill" || verb == "retire") {
    return RangeMessage(words);
  }
  if (verb == "promote" || verb == "demote" || verb == "writeback" || verb == "mode" ||
      verb == "forget" || verb == "fetch") {
    return TierMessage(words);
  }
  if (verb == "clear" && words.size() == 1) {
    queue_.clear();
    return std::string();
  }
  if (verb == "clear" && words.size() == 2 && words[1] == "tiers") {
    tier_queue_.clear();
    return std::string();
  }
  if (verb == "access") {
    std::string out;
    for (const auto& [block, how] : accessed_) {
      out += std::to_string(block) + "+1:" + (how == 3 ? "rw" : how == 2 ? "w" : "r") + " ";
    }
    accessed_.clear();
    return out + "end";
  }
  if (verb == "sync") return std::string();
  if (verb == "cutover" || verb == "rollback" || verb == "commit" || verb == "abort") {
    return PhaseMessage(verb);
  }
  return Refuse("unknown message");
}

void SimTarget::RunJob(const Job& job) {
  Metadata& m = meta();
  BlockState& state = m.states.at(job.block);
  Disk* origin = LegDisk(false);
  Disk* target = LegDisk(true);
  const auto fail = [&](const char* what) {
    ++copy_errors_;
    last_error_ = std::string(what) + ":" + std::to_string(job.block);
    raised_event = true;
  };
  if (job.kind == 'c' && state == BlockState::kOrigin) {
    if (origin == nullptr || origin->fail_reads) return fail("read:origin");
    if (target == nullptr || target->fail_writes) return fail("write:target");
    Cell(target, job.block) = Cell(origin, job.block);
    state = BlockState::kMirrored;
    ++copied_;
  } else if (job.kind == 'r' && state == BlockState::kTarget && job.block < OldBlocks()) {
    if (target == nullptr || target->fail_reads) return fail("read:target");
    if (origin == nullptr || origin->fail_writes) return fail("write:origin");
    Cell(origin, job.block) = Cell(target, job.block);
    state = BlockState::kMirrored;
    ++copied_;
  } else if (job.kind == 'f' && state == BlockState::kHole) {
    Write(job.block, 0);
  }
}

void SimTarget::Advance(std::int64_t ms, std::uint64_t device_kib_per_s) {
  AdvanceTiers(ms, device_kib_per_s);
  if (suspended_ || paused_ || queue_.empty()) return;
  const std::uint64_t rate =
      rate_kib_ == 0 ? device_kib_per_s : std::min(rate_kib_, device_kib_per_s);
  const double block_kib = meta().block_sectors / 2.0;
  budget_kib_ = std::min(budget_kib_ + static_cast<double>(rate) * static_cast<double>(ms) / 1000,
                         static_cast<double>(rate) + block_kib);
  while (!queue_.empty() && budget_kib_ >= block_kib) {
    const Job job = queue_.front();
    queue_.pop_front();
    budget_kib_ -= block_kib;
    RunJob(job);
  }
  if (queue_.empty()) raised_event = true;
}

bool SimTarget::WriteHome(std::uint64_t block, std::uint64_t value) {
  BlockState& state = meta().states.at(block);
  Disk* origin = LegDisk(false);
  Disk* target = LegDisk(true);
  const bool moving = meta().phase != "steady";
  if (state == BlockState::kHole) {
    const bool tail = moving && block >= OldBlocks();
    const bool no_origin = origin == nullptr || origin->fail_writes;
    const bool no_target = moving && (target == nullptr || target->fail_writes);
    // A hole that cannot be written on every leg that it needs stays one.
    if (no_target || (!tail && no_origin)) return false;
    state = !moving ? BlockState::kOrigin : tail ? BlockState::kTarget : BlockState::kMirrored;
  }
  if (state == BlockState::kOrigin) {
    if (origin == nullptr || origin->fail_writes) return false;
    Cell(origin, block) = value;
  } else if (state == BlockState::kTarget) {
    if (target == nullptr || target->fail_writes) return false;
    Cell(target, block) = value;
  } else if (origin == nullptr && target == nullptr) {
    return false;
  } else {
    ++mirrored_writes_;
    // A copy on a leg that is missing is stale from now on.
    if (target == nullptr) state = BlockState::kOrigin;
    if (origin == nullptr) state = BlockState::kTarget;
    if (target != nullptr) Cell(target, block) = value;
    if (origin != nullptr) Cell(origin, block) = value;
  }
  return true;
}

std::optional<std::uint64_t> SimTarget::ReadHome(std::uint64_t block) {
  const BlockState state = meta().states.at(block);
  if (state == BlockState::kHole) return 0;
  Disk* disk = LegDisk(state != BlockState::kOrigin);
  if (disk == nullptr && state == BlockState::kMirrored) disk = LegDisk(false);
  if (disk == nullptr || disk->fail_reads) return std::nullopt;
  return Cell(disk, block);
}

void SimTarget::DiscardBlock(std::uint64_t block) {
  meta().states.at(block) = BlockState::kHole;
  DropShadow(block);
}

}  // namespace shadow::sim
