// SPDX-License-Identifier: GPL-2.0-only
// A run: its beginning, its steps, its end.
#include "tests/sim/world.h"

#include <cstdarg>

namespace sim {

namespace {
std::vector<std::string>* listener = nullptr;

u64 FromRandom(void* r) { return static_cast<Random*>(r)->Next(); }
}  // namespace

World::World() : volumes_{Volume(*this, 0), Volume(*this, 1), Volume(*this, 2)} {}

/// How often what is begun, the one compared with the other.
const u8 World::kUsual[kActions] = {
    12, 24, 8, 3, 4, 3, 4, 4, 2,  // users
    14, 6,  4, 6, 1, 1, 3, 1, 2,  // the mover's messages
    4,  3,  4, 3, 1, 1, 1,        // phases
    14, 4,  6, 2, 2, 1, 1, 1,     // tiers
    3,                            // status
    2,  6,  1, 1,                 // tables
    4,  1,  1, 1, 1, 4,           // accidents
    8,                            // the judge
    3,                            // bursts
};

void World::Note(const char* format, ...) {
  if (!listener) return;
  char text[400];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  listener->emplace_back(text);
}

void World::Fail(u32 volume, const char* format, ...) {
  char text[350];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  if (nr_volumes_ > 1)
    sim_fail("%s (volume %u)", text, volume);
  else
    sim_fail("%s", text);
}

// ------------------------------------------------------------------------ fibers

void World::Spawn(const char* name, std::function<void()> f) {
  jobs_.push_back({this, std::move(f), false});
  sim_spawn(
      name,
      [](void* arg) {
        auto* job = static_cast<Job*>(arg);
        job->f();
        job->over = true;
      },
      &jobs_.back(), false);
}

void World::Collect() {
  jobs_.remove_if([](const Job& j) { return j.over; });
}

// ------------------------------------------------------------------------- runs

/// How often, in runs in which legs lose their caches: all of a volume has to be mirrored for some
/// time, and what was written not to be flushed at once.
u32 World::BlipWeight(Action what, u32 usual, Random& r) {
  switch (what) {
    case kRetire:
    case kFinish:
    case kAbort:
    case kCrash:
    case kRestart:
    case kPause:
      return r.OneIn(2) ? usual / 8 : 0;
    case kFlush:
    case kFua:
    case kJournal:
      return r.OneIn(2) ? usual / 4 : 0;
    case kCopy:
    case kRemirror:
    case kReload:
      return 60;
    case kResume:
      return 20;
    case kBlip:
      return 40;
    default:
      return usual;
  }
}

/// How often, in runs about a few things only: what takes six events in a row to go wrong does not
/// happen among forty kinds of them.
u32 World::Theme(Action what, Random& r) {
  switch (what) {
    case kWrite:
    case kCopy:
    case kReload:
      return 40;
    case kCrash:
    case kCompare:
      return 4;
    default:
      return r.OneIn(4) ? 4u << r.Below(5) : 0;
  }
}

void World::Weights(Random& r, bool narrow, bool theme) {
  const bool faults = r.OneIn(2);
  total_weight_ = 0;
  for (u32 i = 0; i < kActions; i++) {
    static constexpr u8 kFactor[] = {0, 1, 1, 2, 6};
    u32 w = kUsual[i] * kFactor[i < kFlush || i == kBurst ? 1 + r.Below(3) : r.Below(5)];
    if (i == kResume && !w) w = 1;
    // faults are for half of the runs: the others must do without a single error
    if (i >= kLegDies && i <= kBlip && (!faults || blips_ || r.OneIn(2))) w = 0;
    if (i == kBlip) w = 0;
    if (blips_) w = BlipWeight(static_cast<Action>(i), w, r);
    if (narrow && i != kWrite && i != kCopy && i != kReload && r.OneIn(2)) w = 0;
    if (theme && w) w = Theme(static_cast<Action>(i), r);
    weight_[i] = static_cast<u8>(w > 255 ? 255 : w);
    total_weight_ += weight_[i];
  }
}

/// Whatever a seed decides about a run as a whole: what happens in it, how often, how fast.
void World::Begin(u64 seed) {
  Random r(seed);
  sim_reset();
  jobs_.clear();
  machine.note = listener ? +[](const char* line) { listener->emplace_back(line); } : nullptr;
  sim_begin_step(~0u >> 7, seed, false);
  trouble = false;
  crash_again_ = 0;
  cut_soon_ = false;
  copies_seen_ = 0;

  // legs lose their caches while the volume runs, and nothing else fails
  blips_ = all_blips_ || Random(seed ^ 0xb11b5).OneIn(6);
  const bool narrow = r.OneIn(3);  // few kinds of events on few blocks, but those often
  theme_ = !blips_ && r.OneIn(4);
  Weights(r, narrow && !theme_, theme_);
  static constexpr u32 kPreempt[] = {2, 4, 8, 16, 30, 60, 120};
  machine.preempt = kPreempt[r.Below(7)];
  machine.rescuer = r.OneIn(3);
  machine.split = r.OneIn(3);
  machine.fault = r.OneIn(2) ? 20 + r.Below(300) : 0;
  machine.fault_kinds = 0xff;
  if (r.OneIn(2)) {  // one kind only, but often
    machine.fault_kinds = 1u << r.Below(SIM_NR_OPS);
    if (machine.fault) machine.fault = 3 + r.Below(40);
    // two in a row are a case of its own
    if (machine.fault_kinds == 1u << SIM_FLUSH)
      machine.fault = machine.fault / 8 + 2 * !!machine.fault;
  }
  if (r.OneIn(3)) machine.fault = 0;
  if (blips_) machine.fault = 0;
  machine.full = r.OneIn(6);
  machine.medium = r.OneIn(4);
  machine.dry = r.OneIn(5) ? 1 + r.Below(6) * r.Below(6) : 0;
  machine.lazy = r.OneIn(2) ? 2 + r.Below(10) : 0;
  machine.patience = 4u << (2 * r.Below(6));
  static constexpr u32 kStall[] = {0, 0, 10, 40, 160};
  machine.stall = kStall[r.Below(5)];
  cuts_ = r.OneIn(4);
  static constexpr u32 kHurry[] = {0, 64, 400, 3000};
  machine.hurry = kHurry[r.Below(4)];
  action_odds_ = 8 + r.Below(40);
  nr_volumes_ = r.OneIn(5) ? 2 + r.Below(kVolumes - 1) : 1;
  for (u32 i = 0; i < nr_volumes_; i++) volumes_[i].Begin(r);
  sim_boot();
  for (u32 i = 0; i < nr_volumes_; i++) volumes_[i].Boot();
  figures_.runs++;
}

void World::Execute(const Step& step) {
  sim_begin_step(step.index, step.seed, step.plain);
  figures_.steps++;
  if (step.id == kNewAction)
    Act();
  else
    sim_go(step.id);
}

bool World::Run(u64 seed, u32 steps, std::vector<Step>* record) {
  Begin(seed);
  Random choice(~seed);
  for (u32 i = 0; i < steps && !machine.failed; i++) {
    Step step{i, kNewAction, 0, false};
    if (!cut_soon_ && !choice.OneIn(action_odds_)) step.id = sim_pick_ready(FromRandom, &choice);
    if (step.id == SIM_NO_STEP) step.id = kNewAction;
    step.seed = choice.Next();
    if (record) record->push_back(step);
    Execute(step);
    if (i % 512 == 0) Collect();
  }
  Settle(seed);
  error_ = machine.what;
  return !machine.failed;
}

bool World::Replay(u64 seed, const std::vector<Step>& steps, std::vector<std::string>* told) {
  listener = told;
  Begin(seed);
  for (const Step& s : steps) {
    if (machine.failed) break;
    Execute(s);
  }
  Settle(seed);
  listener = nullptr;
  machine.note = nullptr;
  error_ = machine.what;
  return !machine.failed;
}

bool World::Quiet() const {
  for (u32 i = 0; i < nr_volumes_; i++)
    if (!volumes_[i].Quiet()) return false;
  return true;
}

/// Until nothing can go on, or only works that come again for ever.
bool World::RunToRest(Random& choice, u32* index) {
  u32 ticks = 0;
  for (u32 n = 0; !machine.failed; n++) {
    const u32 id = sim_pick_ready(FromRandom, &choice);
    if (id == SIM_NO_STEP) break;
    if (machine.only_time && ++ticks > 30 && Quiet()) break;
    if (ticks > 3000) break;
    Execute({(*index)++, id, choice.Next(), false});
    if (n > 400000) {
      sim_fail("does not come to rest: %s", sim_who_waits());
      break;
    }
  }
  return !machine.failed;
}

void World::InFiber(Random& choice, u32* index, const char* name, std::function<void()> f) {
  bool over = false;
  sim_begin_step((*index)++, choice.Next(), true);
  Spawn(name, [&over, f = std::move(f)] {
    f();
    over = true;
  });
  for (u32 n = 0; !over && !machine.failed; n++) {
    const u32 id = sim_pick_ready(FromRandom, &choice);
    if (id == SIM_NO_STEP || n > 400000) {
      sim_fail("%s: stuck: %s", name, sim_who_waits());
      break;
    }
    Execute({(*index)++, id, choice.Next(), false});
  }
}

/// A device of one volume hangs: the others come to their rest all the same.
bool World::OthersGoOn(Random& choice, u32* index) {
  u32 hung = 0;
  for (u32 i = 0; i < nr_volumes_; i++) hung += volumes_[i].hung();
  if (!hung || hung == nr_volumes_) return true;
  if (!RunToRest(choice, index)) return false;
  for (u32 i = 0; i < nr_volumes_; i++) {
    const Volume& v = volumes_[i];
    if (v.hung() || v.Quiet()) continue;
    const std::string who = sim_who_waits();
    sim_fail(
        "volume %u waits, although only devices of others hang: %u requests, %u messages%s; %s", i,
        v.in_flight(), v.messages(), v.admin() ? ", the administrator" : "", who.c_str());
    return false;
  }
  return true;
}

/// Nothing new, no faults: everything under way ends, everything is read. Then a last power cut,
/// and everything is read again.
void World::Settle(u64 seed) {
  Random choice(seed ^ 0x5e771e);
  u32 index = 1u << 24;
  for (int round = 0; round < 2 && !machine.failed; round++) {
    machine.calm = true;
    if (!round && !OthersGoOn(choice, &index)) break;
    for (u32 i = 0; i < nr_volumes_; i++) volumes_[i].set_hung(false);
    if (!RunToRest(choice, &index)) break;
    if (!Quiet()) {
      u32 stuck = 0;
      while (volumes_[stuck].Quiet()) stuck++;
      const Volume& v = volumes_[stuck];
      const std::string who = sim_who_waits();
      const char* lost = sim_lost_wakeup();
      sim_fail("stuck: %u requests, %u messages%s; %s%s%s", v.in_flight(), v.messages(),
               v.admin() ? ", the administrator" : "", who.c_str(),
               lost ? "; never woken although it might go on: " : "", lost ? lost : "");
      break;
    }
    for (u32 i = 0; i < nr_volumes_ && !machine.failed; i++) {
      Volume* v = &volumes_[i];
      if (!v->up()) continue;
      if (v->away()) {
        InFiber(choice, &index, "who flushes", [v] { v->TellBlip(); });
        if (!RunToRest(choice, &index)) break;
        v->EndBlip();
      }
      InFiber(choice, &index, "who looks at the mover", [v] { v->CheckMover(); });
      if (!machine.failed) InFiber(choice, &index, "who reads all", [v] { v->ReadAll(); });
    }
    if (machine.failed || round) break;
    sim_begin_step(index++, choice.Next(), false);
    Crash();
  }
  for (u32 i = 0; i < nr_volumes_ && !machine.failed; i++) {
    Volume* v = &volumes_[i];
    InFiber(choice, &index, "who removes all", [v] { v->Remove(); });
  }
  if (!machine.failed && machine.allocated)
    sim_fail("%ld pieces of memory are left, one from %s", machine.allocated, sim_leak());
  figures_.points += machine.points;
  figures_.device_ops += machine.device_ops;
  figures_.copies += machine.copies;
  figures_.operations += machine.copies;
  jobs_.clear();
}

void World::Acknowledged(bool failed) {
  cut_soon_ |= cuts_ && !machine.calm && sim_one_in(failed ? 3 : 24);
}

void World::Act() {
  if (cut_soon_) return Crash();
  if (crash_again_) {  // during recovery, and at what follows at once
    crash_again_--;
    if (sim_one_in(4)) return Crash();
  }
  Volume& v = volumes_[nr_volumes_ > 1 ? sim_below(nr_volumes_) : 0];
  u32 n = sim_below(total_weight_), what = 0;
  while (n >= weight_[what]) n -= weight_[what++];
  const auto action = static_cast<Action>(what);
  if (action == kCrash) {
    if (!sim_below(2)) Crash();
    return;
  }
  if (v.Act(action) && action > kDiscardPart) figures_.operations++;
}

void World::Crash() {
  const auto how = static_cast<sim_cut>(sim_below(4));
  static constexpr const char* kWords[] = {
      "the machine stops, the devices keep their power", "power cut: the caches are lost",
      "power cut: any part of the caches survives", "power cut: the older writes survive"};
  Note("CRASH: %s", kWords[how]);
  crash_again_ = sim_one_in(3) ? 6 : 0;
  cut_soon_ = false;
  sim_power_cut(how);
  jobs_.clear();
  sim_boot();
  figures_.crashes++;
  for (u32 i = 0; i < nr_volumes_; i++) {
    volumes_[i].PowerCut();
    volumes_[i].Boot();
  }
}

}  // namespace sim
