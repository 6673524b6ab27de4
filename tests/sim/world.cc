// SPDX-License-Identifier: GPL-2.0-only
// A run: its beginning, its steps, its checks, its end. Users and accidents.
#include "tests/sim/world.h"

#include <algorithm>

namespace sim {

namespace {
Value Imported(u32 cell) { return ValueOf(1, cell); }
Value Garbage(u32 cell) { return ValueOf(kGarbageId, cell); }
}  // namespace

World::World() = default;

// ------------------------------------------------------------------------ runs

/// How often what is begun, the one compared with the other.
const u8 World::kUsual[kActions] = {
    12, 24, 8, 3, 4, 5, 4, 2,     // users
    14, 6,  4, 6, 1, 1, 3, 1, 1,  // the mover's messages
    4,  3,  4, 3, 1, 1, 1,        // phases
    14, 4,  6, 2, 1, 1,           // tiers
    4,  4,  2, 4, 1,              // time and tables
    1,  1,  1, 1,                 // accidents
};

/// Two homes alone: in two runs of three phases change, power is cut, and flushes or writes fail
/// often.
void World::OftenChangePhase(Random& r) {
  const bool phases = !r.OneIn(3);
  total_weight_ = 0;
  for (u32 i = 0; i < kActions; i++) {
    const bool often = i == kFlush || i == kSweepTimer || i == kCrash || i == kRestart ||
                       i == kReload || (i >= kCutover && i <= kAbort);
    if (phases && often) weight_[i] = static_cast<u8>(kUsual[i] * (2 + r.Below(5)));
    if (i == kCopy && !weight_[i]) weight_[i] = 12;
    total_weight_ += weight_[i];
  }
  if (!phases) return;
  const OpKind fails = r.OneIn(2) ? OpKind::kFlush : OpKind::kWrite;
  m_.fault_kinds = static_cast<u8>(1u << static_cast<int>(fails));
  m_.fault = 2 + r.Below(12);
}

/// Whatever a seed decides about a run as a whole: what happens in it, how often, how fast.
void World::Begin(u64 seed) {
  Random r(seed);
  v_.reset();
  m_.Reset();
  m_.BeginStep({~0u >> 7, 0, seed, false});
  for (auto& io : ios_) io.used = false;
  in_flight_ = flushes_ = messages_ = 0;
  preflushes_out_ = 0;
  accept_ = up_ = suspended_ = admin_busy_ = trouble_ = false;

  tiers_ = !r.OneIn(3) && !without_tiers_;
  for (auto& n : tier_slots_) n = 1 + r.Below(5);
  total_weight_ = 0;
  const bool narrow = r.OneIn(3);  // few kinds of events on few blocks, but those often
  for (u32 i = 0; i < kActions; i++) {
    static constexpr u8 kFactor[] = {0, 1, 1, 2, 6};
    weight_[i] = static_cast<u8>(kUsual[i] * kFactor[i < kFlush ? 1 + r.Below(3) : r.Below(5)]);
    if (i == kResume && !weight_[i]) weight_[i] = 1;
    // faults are for half of the runs: the others must do without a single error
    if (i >= kLegDies && r.OneIn(2)) weight_[i] = 0;
    if (narrow && i != kWrite && i != kCopy && i != kReload && r.OneIn(2)) weight_[i] = 0;
    if (!tiers_ && ((i >= kPromote && i <= kClearTiers) || i == kTierDies)) weight_[i] = 0;
    total_weight_ += weight_[i];
  }
  m_.preempt = 1 + r.Below(6);
  m_.fault = r.OneIn(2) ? 20 + r.Below(300) : 0;
  m_.fault_kinds = 0xff;
  if (r.OneIn(2)) {  // one kind only, but often
    m_.fault_kinds = static_cast<u8>(1u << r.Below(5));
    if (m_.fault) m_.fault = 3 + r.Below(40);
    // two in a row are a case of its own
    if (m_.fault_kinds == 1u << static_cast<int>(OpKind::kFlush))
      m_.fault = m_.fault / 8 + 2 * !!m_.fault;
  }
  if (without_tiers_) OftenChangePhase(r);
  m_.lazy = r.OneIn(2) ? 2 + r.Below(10) : 0;
  m_.patience = 4u << (2 * r.Below(4));
  max_in_flight_ = 1 + r.Below(8);
  hot_ = 1 + r.Below(3);
  action_odds_ = 2 + r.Below(8);
  next_identity_ = 2;
  import_ = !r.OneIn(3);
  first_len_ = r.OneIn(2) ? (2 + r.Below(kBlocks - 1)) * kCellsPerBlock : 1 + r.Below(kCells);
  if (narrow) first_len_ = std::min(first_len_, 1 + r.Below(3 * kCellsPerBlock));
  // last, so that what a seed decided before there was fetching is the same
  fetch_ = tiers_ && r.OneIn(2) ? static_cast<u8>(SHADOW_LEG_TIER1 + r.Below(2)) : 0;
  last_read_ = 0;
  if (fetch_) {  // many reads, several at a time
    const u32 more = 40 + r.Below(80);
    weight_[kRead] = static_cast<u8>(weight_[kRead] + more);
    total_weight_ += more;
    max_in_flight_ = std::max(max_in_flight_, 4U);
  }
  preflushes_ = r.OneIn(3);
  for (auto& d : m_.data) d.no_zeroes = r.OneIn(8);

  for (u32 d = 0; d < kDevices; d++) {
    m_.data[d].Fill(d || !import_ ? Garbage : Imported);
    m_.data[d].dead = false;
    m_.data[d].identity = d < kHomeLegs ? d + 1 : 0;
  }
  m_.meta.Clear();
  m_.meta.dead = false;
  truth_.Reset(import_ ? Imported : [](u32) { return kZero; });
  table_ = {};
  admin_busy_ = true;
  m_.Spawn("administrator", [this] { return Boot(); });
  figures_.runs++;
}

void World::Execute(const Step& step) {
  m_.BeginStep(step);
  figures_.steps++;
  if (step.id == kNewAction)
    Act();
  else
    m_.Go(step.id);
  Check();
}

bool World::Run(u64 seed, u32 steps, std::vector<Step>* record) {
  Begin(seed);
  Random choice(~seed);
  for (u32 i = 0; i < steps && !m_.failed; i++) {
    Step step{i, kNewAction, 0, false};
    if (!choice.OneIn(action_odds_)) step.id = m_.PickReady(choice);
    if (step.id == kNoStep) step.id = kNewAction;
    step.seed = choice.Next();
    if (record) record->push_back(step);
    Execute(step);
  }
  Settle(seed);
  return !m_.failed;
}

bool World::Replay(u64 seed, const std::vector<Step>& steps, std::vector<std::string>* told) {
  m_.told = told;
  Begin(seed);
  for (const Step& s : steps) {
    if (m_.failed) break;
    Execute(s);
  }
  Settle(seed);
  m_.told = nullptr;
  return !m_.failed;
}

/// Nothing new, no faults: everything under way ends. Then a last power cut.
void World::Settle(u64 seed) {
  Random choice(seed ^ 0x5e771e);
  u32 index = 1u << 24;
  for (int round = 0; round < 2 && !m_.failed; round++) {
    m_.calm = true;
    for (u32 n = 0; !m_.failed; n++) {
      const u32 id = m_.PickReady(choice);
      if (id == kNoStep) break;
      Execute({index++, id, choice.Next(), false});
      if (n > 100000) m_.Fail("does not come to rest: %s", m_.Waiting().c_str());
    }
    if (!m_.failed && !Quiet())
      m_.Fail("stuck: %u requests, %u messages%s; %s", in_flight_, messages_,
              admin_busy_ ? ", the administrator" : "", m_.Waiting().c_str());
    if (m_.failed || round) break;
    m_.BeginStep({index++, kNewAction, choice.Next(), false});
    Crash();
  }
  DropVolume();
}

// ---------------------------------------------------------------------- checks

/// What a read of the block would find now, by every route it may take.
void World::CheckBlock(u32 block) {
  const shadow_ctx ctx = v_->Ctx(block);
  const shadow_tier_ctx tctx = v_->tier_ctx();
  const u32 word = v_->map[block] & SHADOW_SHADOW ? v_->words[block] : 0;
  const struct shadow_route r =
      shadow_tier_route(v_->map[block], word, SHADOW_OP_READ, &ctx, &tctx).r;
  const u8 legs = r.legs | r.fallback;
  const u32 end = std::min((block + 1) * kCellsPerBlock, v_->len());
  for (u32 c = block * kCellsPerBlock; c < end; c++) {
    Value seen[kLegs];
    u32 n = 0;
    if (r.kind == SHADOW_ROUTE_ZERO) seen[n++] = kZero;
    for (u8 leg = 0; leg < kLegs; leg++)
      if ((legs >> leg & 1) && v_->dev(leg) >= 0 && !m_.data[static_cast<u32>(v_->dev(leg))].dead)
        seen[n++] = m_.data[static_cast<u32>(v_->dev(leg))].Read(
            leg < kHomeLegs ? c : shadow_slot(word) * kCellsPerBlock + c % kCellsPerBlock);
    if (truth_.DiscardOut(c)) continue;
    for (u32 i = 0; i < n; i++)
      if (!truth_.Allows(c, seen[i]))
        return m_.Fail("block %u (%s, shadow %s), cell %u: a read would find %s", kNumber[block],
                       shadow_home_name(shadow_home(v_->map[block])),
                       shadow_life_name(shadow_life(word)), c % kCellsPerBlock,
                       Words(seen[i]).c_str());
    for (u32 i = 1; i < n; i++)
      if (seen[i] != seen[0] && truth_.Settled(c))
        return m_.Fail("block %u (%s, shadow %s), cell %u: the copies differ: %s, %s",
                       kNumber[block], shadow_home_name(shadow_home(v_->map[block])),
                       shadow_life_name(shadow_life(word)), c % kCellsPerBlock,
                       Words(seen[0]).c_str(), Words(seen[i]).c_str());
    if (n && truth_.ToBeFound(c)) truth_.Found(c, seen, n);
  }
}

/// No two blocks have the same slot.
void World::CheckSlots() {
  std::array<u8, SHADOW_NR_TIERS> seen{};
  for (u32 b = 0; b < v_->nr_blocks(); b++) {
    const u32 word = v_->words[b];
    if (!word) continue;
    u8& slots = seen[shadow_word_leg(word) - SHADOW_LEG_TIER1];
    if (slots >> shadow_slot(word) & 1) m_.Fail("two blocks share a slot");
    slots |= static_cast<u8>(1u << shadow_slot(word));
  }
}

void World::Check() {
  if (m_.failed || !v_) return;
  if (flushes_) KeepFlushDevices();
  if (!accept_) return;
  u32 blocks = v_->touched;
  for (CellMask m = m_.stored; m; m &= m - 1)
    blocks |= 1u << BlockOfCell(static_cast<u32>(__builtin_ctz(m)));
  for (u32 b = 0; b < v_->nr_blocks() && v_->tiered(); b++) {
    const u32 word = v_->words[b];
    if (word && m_.stored_tier[shadow_word_leg(word) - SHADOW_LEG_TIER1] >>
                        (shadow_slot(word) * kCellsPerBlock) &
                    0xf)
      blocks |= 1u << b;
  }
  if (v_->tiered() && v_->touched) CheckSlots();
  v_->touched = 0;
  m_.stored = 0;
  m_.stored_tier = {};
  for (u32 b = 0; b < v_->nr_blocks() && !m_.failed; b++)
    if (blocks >> b & 1) CheckBlock(b);
}

std::string World::Words(Value v) {
  if (v == kZero) return "zeroes";
  if (IdOf(v) == kGarbageId) return "what the device held before";
  if (IdOf(v) == 1) return "the imported data";
  return "write #" + std::to_string(IdOf(v)) +
         (CellOf(v) < kCells ? " of cell " + std::to_string(CellOf(v) % kCellsPerBlock) : "");
}

// ----------------------------------------------------------------------- users

Io* World::NewIo(IoKind kind) {
  for (auto& io : ios_) {
    if (io.used) continue;
    io.used = true;
    io.kind = kind;
    io.count = 0;
    io.cells = io.punched = 0;
    io.id = 0;
    io.fua = io.preflush = io.flushed = io.part_failed = false;
    io.parent = nullptr;
    return &io;
  }
  std::abort();
}

Io* World::CloneIo(void* self) { return static_cast<World*>(self)->NewIo(IoKind::kFlush); }
void World::FreeIo(void*, Io* io) { io->used = false; }
void World::Forgotten(void* self, u32 block) {
  static_cast<World*>(self)->truth_.Forgotten(BlockCells(block));
}

u32 World::PickBlock() {
  const u32 n = v_->nr_blocks();
  const u32 hot = std::min(hot_, n);
  // the hot ones lie at the end as often as at the beginning
  if (m_.random.OneIn(2)) return m_.random.Below(n);
  const u32 i = m_.random.Below(hot);
  return m_.random.OneIn(3) ? n - 1 - i : i;
}

bool World::UserIo(Action what) {
  if (!accept_ || !v_ || in_flight_ >= max_in_flight_) return false;
  const u32 b = PickBlock();
  const CellMask block = BlockCells(b) & CellsBelow(v_->len());
  Io* io;
  switch (what) {
    case kRead:
      io = NewIo(IoKind::kRead);
      io->block = b;
      if (fetch_ && last_read_ < v_->nr_blocks() && !m_.random.OneIn(3)) io->block = last_read_;
      last_read_ = io->block;
      io->cells = BlockCells(io->block) & CellsBelow(v_->len());
      truth_.StartRead(io->block, io->read);
      m_.Note("user reads block %u", kNumber[io->block]);
      break;
    case kFlush:
      if (flushes_ >= 2) return false;
      flushes_++;
      io = NewIo(IoKind::kFlush);
      io->block = b;  // from a device above; it means nothing
      StartFlush(io->flush);
      m_.Note("user flushes");
      break;
    case kDiscard: {
      u32 n = 1;
      while (b + n < v_->nr_blocks() && Adjoins(b + n - 1) && m_.random.OneIn(3)) n++;
      io = NewIo(IoKind::kDiscard);
      io->block = b;
      io->count = n;
      for (u32 i = 0; i < n; i++) io->cells |= BlockCells(b + i) & CellsBelow(v_->len());
      io->id = truth_.NextId();
      truth_.Issue(io->cells, io->id, true, true, Steady());
      m_.Note("user discards %u block%s from block %u", n, n > 1 ? "s" : "", kNumber[b]);
      break;
    }
    default: {
      CellMask cells = block & truth_.Writable();
      if (what == kWriteBlock && cells != block) return false;
      if (what != kWriteBlock)
        cells &= m_.random.OneIn(2)
                     ? BlockCells(0) << (b * kCellsPerBlock + m_.random.Below(kCellsPerBlock))
                     : static_cast<CellMask>(m_.random.Next());
      if (!cells) return false;
      const bool discard = what == kDiscardPart, zero = discard || what == kZeroes;
      io = NewIo(discard ? IoKind::kDiscard : zero ? IoKind::kZeroes : IoKind::kWrite);
      io->block = b;
      io->cells = cells;
      io->fua = what == kFua;
      io->id = truth_.NextId();
      truth_.Issue(cells, io->id, zero, discard, Steady());
      m_.Note("user %s %s of block %u (cells %x) as #%u%s",
              discard ? "discards"
              : zero  ? "zeroes"
                      : "writes",
              cells == block ? "all" : "a part", kNumber[b], cells >> (b * kCellsPerBlock) & 0xf,
              io->id, io->fua ? ", FUA" : "");
      if (preflushes_ && io->kind == IoKind::kWrite && flushes_ < 2 && io->id % 3 == 0) {
        flushes_++;
        preflushes_out_++;
        io->preflush = true;
        StartFlush(io->flush);
        m_.Note("  with a flush before it");
      }
      break;
    }
  }
  in_flight_++;
  m_.Spawn("a request", [this, io] { return v_->Submit(io); });
  return true;
}

void World::StartFlush(FlushStart& f) {
  truth_.StartFlush(f);
  f.devices = v_->FlushDevices();
  for (u32 d = 0; d < kLegs; d++) f.begun[d] = m_.flushes_begun[d];
}

/// A leg that held nothing that counts for a moment may have been passed over then. What it has
/// got to hold since was not there when the flush began.
void World::KeepFlushDevices() {
  const u32 devices = v_->FlushDevices();
  for (auto& io : ios_)
    if (io.used) io.flush.devices &= devices;
}

/// Acknowledged: what had to be flushed all the time got one of its own.
void World::EndFlush(const Io& io) {
  truth_.EndFlush(io.flush);
  const u32 devices = v_ ? io.flush.devices & v_->FlushDevices() : 0;
  for (u32 d = 0; d < kLegs; d++)
    if ((devices >> d & 1) && m_.flush_over[d] <= io.flush.begun[d])
      m_.Fail("device %s got no flush for one that was acknowledged", DeviceName(d));
}

/// dm_io_complete: the data goes on.
void World::DataAfterFlush(void* self, Io* io) {
  World& w = *static_cast<World*>(self);
  w.m_.Note("  the flush before #%u %s", io->id, io->part_failed ? "fails" : "is over");
  w.flushes_--;
  w.preflushes_out_--;
  io->preflush = false;
  io->flushed = !io->part_failed;
  if (io->flushed) w.EndFlush(*io);
  w.m_.Spawn("data after a flush", [&w, io] { return w.v_->Submit(io); });
}

void World::Answer(void* self, Io* io, Status status) {
  World& w = *static_cast<World*>(self);
  const bool ok = status == Status::kOk;
  w.in_flight_--;
  w.figures_.operations++;
  if (!ok && !w.trouble_ && !w.m_.faults) {
    // beyond the old end there is no place any longer once the target is given up
    const bool no_zeroes =
        io->kind == IoKind::kZeroes && std::any_of(w.m_.data.begin(), w.m_.data.end(),
                                                   [](const DataDevice& d) { return d.no_zeroes; });
    const bool no_place = w.v_->Ctx(io->block).tail && w.v_->phase() == SHADOW_STEADY;
    if (!no_place && !no_zeroes) w.m_.Fail("a request failed although nothing was wrong");
  }
  const bool stuck = w.v_ && w.v_->mode() != Mode::kRw;
  switch (io->kind) {
    case IoKind::kRead:
      w.m_.Note("  the read of block %u %s", kNumber[io->block], ok ? "is answered" : "fails");
      for (u32 i = 0; ok && i < kCellsPerBlock; i++) {
        const u32 c = io->block * kCellsPerBlock + i;
        if (!(io->cells >> c & 1) || w.truth_.EndRead(io->read, c, io->got[i])) continue;
        return w.m_.Fail("a read of block %u, cell %u found %s", kNumber[io->block], i,
                         Words(io->got[i]).c_str());
      }
      return;
    case IoKind::kFlush:
      w.flushes_--;
      w.m_.Note("  the flush %s", ok ? "is acknowledged" : "fails");
      if (ok) w.EndFlush(*io);
      return;
    case IoKind::kDiscard:
      w.m_.Note("  the discard of block %u %s", kNumber[io->block],
                ok ? "is acknowledged" : "fails");
      if (w.v_)
        for (u32 i = 0; i < io->count; i++) w.v_->touched |= 1u << (io->block + i);
      w.truth_.Answer(io->punched, io->id, true, true, ok, true, false, w.Steady(), stuck);
      w.truth_.Answer(io->cells & ~io->punched, io->id, true, true, ok, false, false, w.Steady(),
                      stuck);
      return;
    default:
      w.m_.Note("  #%u %s", io->id, ok ? "is acknowledged" : "fails");
      w.truth_.Answer(io->cells, io->id, io->kind == IoKind::kZeroes, false, ok, true, io->fua,
                      w.Steady(), stuck);
      return;
  }
}

// --------------------------------------------------------------------- actions

void World::Act() {
  u32 n = m_.random.Below(total_weight_), what = 0;
  while (n >= weight_[what]) n -= weight_[what++];
  const auto action = static_cast<Action>(what);
  bool done;
  if (action <= kDiscardPart)
    done = UserIo(action);
  else if (action <= kClearTiers)
    done = Message(action);
  else if (action <= kRestart)
    done = Administer(action);
  else
    done = Accident(action);
  if (done && action > kDiscardPart) figures_.operations++;
}

bool World::Accident(Action what) {
  switch (what) {
    case kCrash:
      Crash();
      return true;
    case kLegDies: {
      const u32 d = m_.random.Below(kHomeLegs);
      if (m_.data[d].dead || m_.data[!d].dead || !m_.random.OneIn(4)) return false;
      if (!v_ || v_->phase() == SHADOW_STEADY) return false;
      m_.data[d].dead = trouble_ = true;
      m_.Note("device %s disappears", d ? "B" : "A");
      return true;
    }
    case kTierDies: {
      const u32 d = kHomeLegs + m_.random.Below(SHADOW_NR_TIERS);
      if (m_.data[d].dead || !m_.data[d].identity || !m_.random.OneIn(4)) return false;
      m_.data[d].dead = trouble_ = true;
      m_.Note("device %s disappears", DeviceName(d));
      return true;
    }
    case kMetadataDies:
      if (m_.meta.dead || !m_.random.OneIn(8)) return false;
      m_.meta.dead = trouble_ = true;
      m_.Note("the metadata device disappears");
      return true;
    default:
      return false;
  }
}

}  // namespace sim
