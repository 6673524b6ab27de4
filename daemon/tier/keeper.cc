// SPDX-License-Identifier: Apache-2.0
#include "daemon/tier/keeper.h"

#include <algorithm>

#include "daemon/modify/tables.h"

namespace shadow {
namespace {

constexpr int kParts = 12;  // of a window: how often there is a look for blocks touched hard
constexpr std::int64_t kRetryUs = 5'000'000;
constexpr std::int64_t kPromoteTickUs = 100'000;  // a dm event usually comes first
constexpr std::int64_t kLeastTickUs = 1'000;
// What an application may lose to moves, as the share of home's bandwidth that they take.
constexpr std::array<double, 3> kShareOfHome = {0.125, 0.5, 0};  // low, balanced, full: no limit
constexpr std::array<std::uint64_t, 3> kInflightKib = {256, 2048, 8192};
constexpr std::uint64_t kQuietWindows = 60;
// Slots that are kept free for blocks that reads fetch: a burst is of some dozen blocks.
constexpr std::uint64_t kMostReserve = 64;
constexpr std::uint64_t kReserveShare = 16;  // of a tier, at most
constexpr double kMib = 1024.0 * 1024.0;

Place PlaceOf(TierLevel level) {
  return level == TierLevel::kTier1 ? Place::kTier1 : Place::kTier2;
}

std::uint64_t MoveRate(const KeeperView& view) {
  const double share = kShareOfHome.at(std::min<std::size_t>(view.policy.impact, 2));
  return static_cast<std::uint64_t>(share * view.home.read_mib_s * kMib);
}

PlacementSettings SettingsOf(const TierPolicy& policy) {
  PlacementSettings s;
  s.policy = policy.policy;
  s.window_us = policy.window_ms * 1000;
  s.parts = kParts;
  s.budget_per_minute = policy.budget_bytes_per_minute;
  s.plan.tier1_heat = policy.tier1_heat_permille / 1000.0;
  s.plan.tier2_heat = policy.tier2_heat_permille / 1000.0;
  return s;
}

/// The tier that reads may fetch to: the lower one, which has the room, or "off".
const char* FetchTo(const KeeperView& view, const TargetStatus& status) {
  if (view.policy.policy == "off") return "off";
  for (const TierLevel level : {TierLevel::kTier2, TierLevel::kTier1}) {
    const auto& kernel = status.kernel.tiers.at(IndexOf(level));
    if (kernel && kernel->health == "ok" && view.usable.at(IndexOf(level))) return TierName(level);
  }
  return "off";
}

}  // namespace

TierKeeper::TierKeeper(DeviceMapper* dm, const Clock* clock, std::string volume, TierPolicy policy,
                       SayFn say)
    : dm_(*dm),
      clock_(*clock),
      volume_(std::move(volume)),
      say_(std::move(say)),
      epoch_us_(clock->WallMs() * 1000 - clock->MonotonicUs()),
      policy_(std::move(policy)) {}

TierKeeper::~TierKeeper() {
  if (source_ != nullptr) source_->Stop();
}

Result<std::shared_ptr<TierKeeper>> TierKeeper::Make(DeviceMapper* dm, const Clock* clock,
                                                     const KeeperOptions& options,
                                                     const std::string& volume,
                                                     std::uint64_t block_bytes,
                                                     const KeeperView& view, SayFn say) {
  std::shared_ptr<TierKeeper> keeper(
      new TierKeeper(dm, clock, volume, view.policy, std::move(say)));
  SourceOptions source = options.source;
  source.volume = volume;
  source.block_bytes = block_bytes;
  source.window_us = view.policy.window_ms * 1000;
  source.on_event = [k = keeper.get()](const std::string& text) { k->say_("info", text); };
  SHADOW_ASSIGN(keeper->source_, MakeAccessSource(dm, source));
  PamVolume pam;
  pam.client = options.pam;
  pam.volume = volume;
  pam.identity = view.uuid;
  // A window that is not a minute long is a minute of a replay: the model knows minutes.
  pam.wall_clock = source.window_us == pam.window_us;
  SHADOW_ASSIGN(keeper->placement_,
                Placement::Make(SettingsOf(view.policy), view.blocks, block_bytes, pam, *clock));
  keeper->blocks_ = view.blocks;
  return keeper;
}

std::int64_t TierKeeper::NowUs() const { return epoch_us_ + clock_.MonotonicUs(); }

std::int64_t TierKeeper::Tick(const KeeperView& view) {
  Adapt(view);
  const std::int64_t part_us = std::max<std::int64_t>(1, policy_.window_ms * 1000 / kParts);
  std::int64_t now = NowUs();
  if (!started_) {
    if (now < poll_at_us_) return poll_at_us_ - now;
    const Status begun = source_->Start(now);
    if (!begun.ok()) {
      Remember(begun);
      poll_at_us_ = now + kRetryUs;
      return kRetryUs;
    }
    started_ = true;
    part_at_us_ = now + part_us;
    poll_at_us_ = now + source_->PollUs();
    Remember(Ok());
  }
  if (now >= part_at_us_) {
    EndPart(view, now);
    now = NowUs();
    // A part that took too long moves the next one: it is never cut short.
    part_at_us_ = std::max(part_at_us_ + part_us, now + part_us / 2);
    poll_at_us_ = now + source_->PollUs();
  } else if (now >= poll_at_us_) {
    const Status polled = source_->Poll(now);
    if (!polled.ok()) Remember(polled);
    poll_at_us_ = now + source_->PollUs();
  }
  if (!promotes_.empty()) SendPromotes();
  std::int64_t next = std::min(part_at_us_, poll_at_us_);
  if (!promotes_.empty()) next = std::min(next, now + kPromoteTickUs);
  return std::max(kLeastTickUs, next - NowUs());
}

// Settings and size as they are now.
void TierKeeper::Adapt(const KeeperView& view) {
  if (view.policy == policy_ && view.blocks == blocks_) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  const Status done = placement_->Configure(SettingsOf(view.policy), view.blocks);
  if (!done.ok()) Remember(done);
  policy_ = view.policy;
  blocks_ = view.blocks;
}

void TierKeeper::EndPart(const KeeperView& view, std::int64_t now) {
  const auto part = source_->CloseWindow(now);
  ++part_;
  if (!part.ok()) {
    // A whole part of which nothing is known; the window goes on without it.
    Remember(part.error());
  } else {
    const std::lock_guard<std::mutex> lock(mutex_);
    placement_->AddPart(*part);
  }
  const bool round = part_ >= kParts;
  if (round) part_ = 0;
  if (part.ok() || round) Plan(view, round);
}

Result<TierWorld> TierKeeper::World(const KeeperView& view, const TargetStatus& status) {
  TierWorld world;
  world.home = view.home;
  world.rate = MoveRate(view);
  for (const TierLevel level : kTierLevels) {
    const auto& kernel = status.kernel.tiers.at(IndexOf(level));
    if (!kernel) continue;
    TierState& tier = level == TierLevel::kTier1 ? world.tier1 : world.tier2;
    tier.slots = kernel->slots;
    tier.used = kernel->used;
    tier.write_back = kernel->write_back;
    tier.usable = kernel->health == "ok" && view.usable.at(IndexOf(level));
    tier.speed = view.speeds.at(IndexOf(level));
    if (status.kernel.fetch == TierName(level)) {
      tier.reserve = std::min(kMostReserve, tier.slots / kReserveShare);
    }
  }
  if (world.tier1.slots == 0 && world.tier2.slots == 0) return world;
  SHADOW_ASSIGN(const std::vector<TierRun> runs, ReadTiers(dm_, volume_));
  for (const TierRun& run : runs) {
    const bool dirty = run.state == ShadowState::kDirty;
    const bool busy = !dirty && run.state != ShadowState::kClean;
    for (std::uint64_t i = 0; i < run.range.count; ++i) {
      world.shadows.push_back(
          {static_cast<std::uint32_t>(run.range.first + i), PlaceOf(run.tier), dirty, busy, 0});
    }
  }
  return world;
}

void TierKeeper::Plan(const KeeperView& view, bool round) {
  auto status = ReadStatus(dm_, volume_);
  TierWorld world;
  bool may_move = false;
  if (status.ok()) {
    const bool tiers = status->kernel.tiers[0] || status->kernel.tiers[1];
    // What is queued would be planned twice: a reaction waits, a round begins anew.
    if (!round && tiers && (!TiersIdle(*status) || !promotes_.empty())) return;
    if (tiers && status->tier_queue > 0) {
      const auto cleared = dm_.Message(volume_, "clear tiers");
      if (!cleared.ok()) Remember(cleared.error());
    }
    if (tiers) SendLimits(view, &*status);
    auto found = World(view, *status);
    may_move = found.ok() && status->kernel.mode == "rw";
    if (found.ok()) world = std::move(*found);
    if (!found.ok()) Remember(found.error());
  } else {
    Remember(status.error());
  }
  if (!may_move) world = {};  // the window counts all the same
  promotes_.clear();
  TierPlan plan;
  PlacementStatus placed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    plan = round ? placement_->Round(world) : placement_->React(world);
    placed = placement_->GetStatus();
  }
  if (!plan.moves.empty()) {
    Status sent = Send(plan.moves, MoveKind::kWriteback);
    if (sent.ok()) sent = Send(plan.moves, MoveKind::kDemote);
    Remember(sent);
    for (const Move& move : plan.moves) {
      if (sent.ok() && move.kind == MoveKind::kPromote) promotes_.push_back(move);
    }
  } else if (status.ok() && may_move) {
    Remember(Ok());
  }
  PlacementInfo now;
  now.ruling = placed.policy.ruling;
  now.source = source_->State().ruling;
  for (const std::string& note : {placed.policy.reason, placed.note, source_->State().reason}) {
    const bool told = std::find(now.notes.begin(), now.notes.end(), note) != now.notes.end();
    if (!note.empty() && !told) now.notes.push_back(note);
  }
  now.windows = placed.rounds;
  now.lost = placed.lost;
  now.known_blocks = placed.policy.known_blocks;
  now.state_bytes = placed.policy.state_bytes;
  now.budget_left_bytes = placed.budget_left;
  now.moved_bytes = placed.moved_bytes;
  now.served_bytes = placed.served_bytes;
  now.round_us = placed.round_us;
  if (round && (world.tier1.slots != 0 || world.tier2.slots != 0)) Tell(now, placed.plan);
  const std::lock_guard<std::mutex> lock(info_mutex_);
  info_ = std::move(now);
}

// Only what changes is an event: who rules and why, and what holds moves back.
void TierKeeper::Tell(const PlacementInfo& now, const PlanState& plan) {
  const std::string held = plan.budget_exhausted                ? "the budget of bytes is used up"
                           : plan.tier1_full || plan.tier2_full ? "a tier is full"
                                                                : "";
  // What comes and goes is told when it comes, and again after a quiet hour of windows.
  if (!held.empty() && (held != held_ || now.windows > held_at_ + kQuietWindows)) {
    say_("info",
         "Moves that would pay wait: " + held + " (" + std::to_string(plan.left_out) + " blocks).");
    held_ = held;
  }
  if (!held.empty()) held_at_ = now.windows;
  const bool as_asked = now.ruling == policy_.policy;
  // At the start it is no news that the one who was asked rules, and no fault that he cannot yet.
  const bool fell_back = told_ == policy_.policy;
  if (now.ruling == (told_.empty() ? policy_.policy : told_)) {
    told_ = now.ruling;
    return;
  }
  told_ = now.ruling;
  say_(fell_back ? "warning" : "info",
       "Placement is decided by " + now.ruling + " now" +
           (as_asked || now.notes.empty() ? "." : ": " + now.notes.front()));
}

void TierKeeper::SendLimits(const KeeperView& view, TargetStatus* status) {
  // The kernel forgets it with a reload of the module, so it is compared.
  if (const std::string fetch = FetchTo(view, *status);
      !status->kernel.fetch.empty() && fetch != status->kernel.fetch) {
    const auto sent = dm_.Message(volume_, "fetch " + fetch);
    if (!sent.ok()) return Remember(sent.error());
    status->kernel.fetch = fetch;
  }
  const std::string rate = "limit tier_rate " + std::to_string(MoveRate(view) / 1024);
  const std::string inflight =
      "limit tier_inflight " +
      std::to_string(kInflightKib.at(std::min<std::size_t>(view.policy.impact, 2)));
  if (limits_ == rate + inflight) return;
  for (const std::string& message : {rate, inflight}) {
    const auto sent = dm_.Message(volume_, message);
    if (!sent.ok()) return Remember(sent.error());
  }
  limits_ = rate + inflight;
}

// A promote may need the slot of a demote before it.
void TierKeeper::SendPromotes() {
  const auto status = ReadStatus(dm_, volume_);
  if (!status.ok()) {
    promotes_.clear();
    return Remember(status.error());
  }
  if (!TiersIdle(*status)) return;
  const std::vector<Move> moves = std::exchange(promotes_, {});
  Remember(Send(moves, MoveKind::kPromote));
}

Status TierKeeper::Send(const std::vector<Move>& moves, MoveKind kind) {
  // Only a promote names its tier.
  std::array<std::vector<BlockRange>, kPlaces> ranges;
  for (const Move& move : moves) {
    if (move.kind != kind) continue;
    const Place place = kind == MoveKind::kPromote ? move.tier : Place::kHome;
    AppendRange(move.block, 1, &ranges.at(static_cast<std::size_t>(place)));
  }
  for (const Place place : {Place::kHome, Place::kTier1, Place::kTier2}) {
    std::string verb = MoveName(kind);
    if (place != Place::kHome) verb += std::string(" ") + PlaceName(place);
    for (const std::string& message :
         RangeMessages(verb, ranges.at(static_cast<std::size_t>(place)))) {
      const auto sent = dm_.Message(volume_, message);
      if (!sent.ok()) return sent.error();
    }
  }
  return Ok();
}

void TierKeeper::Remember(Status trouble) {
  const std::lock_guard<std::mutex> lock(info_mutex_);
  trouble_ = trouble.ok() ? "" : trouble.error().message;
}

PlacementInfo TierKeeper::Info() const {
  const std::lock_guard<std::mutex> lock(info_mutex_);
  PlacementInfo info = info_;
  if (!trouble_.empty()) info.notes.insert(info.notes.begin(), trouble_);
  return info;
}

BlockExplanation TierKeeper::Explain(std::uint64_t block) const {
  Explanation e;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    e = placement_->Explain(static_cast<std::uint32_t>(block));
  }
  BlockExplanation b;
  b.block = block;
  b.place = PlaceName(e.place);
  b.belongs = PlaceName(e.belongs);
  b.best = PlaceName(e.best);
  b.dirty = e.dirty;
  b.busy = e.busy;
  b.heat = static_cast<double>(e.heat);
  b.accesses = e.accesses;
  b.writes = e.writes;
  b.benefit_ms = e.benefit_ms;
  b.cost_ms = e.best_cost_ms;
  b.margin = e.margin;
  b.transfer_ms = e.transfer_ms;
  b.interference_ms = e.interference_ms;
  b.wear_ms = e.wear_ms;
  b.writeback_ms = e.writeback_ms + e.evict_ms;
  b.tier1_saves_ms = e.saved_ms.at(static_cast<std::size_t>(Place::kTier1));
  b.tier2_saves_ms = e.saved_ms.at(static_cast<std::size_t>(Place::kTier2));
  b.victim_saves_ms = e.victim_ms;
  b.decision = e.decision;
  b.why = e.why;
  return b;
}

std::vector<WarmBlock> TierKeeper::Warm() const { return placement_->Warm(); }
std::uint64_t TierKeeper::Version() const { return placement_->Version(); }

bool TierKeeper::Watching() const {
  const std::lock_guard<std::mutex> lock(info_mutex_);
  return info_.windows > 0 && !info_.source.empty();
}

}  // namespace shadow
