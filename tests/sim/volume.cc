// SPDX-License-Identifier: GPL-2.0-only
// A volume's devices and users, and accidents that happen to it.
#include "tests/sim/volume.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/sim/world.h"

namespace sim {

namespace {
const char* const kNames[] = {"A", "B", "T", "U", "M"};
constexpr u32 kMetaSectors = 64 * 8;

std::string Words(Value v) {
  if (v == kZero) return "zeroes";
  if (IdOf(v) == kGarbageId) return "what the device held before";
  if (IdOf(v) == 1) return "the imported data";
  return "write #" + std::to_string(IdOf(v)) +
         (CellOf(v) < kCells ? " of cell " + std::to_string(CellOf(v) % 4) : "");
}
}  // namespace

// ---------------------------------------------------------------------- devices

u32 Device::ContentOf(void* device, u32 at) {
  const auto* d = static_cast<const Device*>(device);
  if (d->content == kZeroed) return kZero;
  const u32 cell = d->home ? d->geometry->FromLeg(at) : at % 64;
  return ValueOf(d->content == kImported ? 1 : kGarbageId, cell);
}

void Device::Refill(Content with) {
  content = with;
  sim_disk_clear(disk);
}

void Volume::Begin(Random& r) {
  geometry_ = Geometry(r.OneIn(4));
  tiers_ = !r.OneIn(3) && !world_.without_tiers();
  import_ = !geometry_.wide() && !r.OneIn(3);
  max_in_flight_ = 1 + r.Below(8);
  hot_ = 1 + r.Below(3);
  focus_ = r.OneIn(3);
  first_len_ = r.OneIn(2) ? (2 + r.Below(kBlocks - 1)) * kCellsPerBlock : 1 + r.Below(kCells);
  if (r.OneIn(4)) first_len_ = std::min(first_len_, 1 + r.Below(3 * kCellsPerBlock));
  if (world_.theme()) first_len_ = std::min(first_len_, 1 + r.Below(3 * kCellsPerBlock));
  if (world_.blips()) first_len_ = std::min(first_len_, (1 + r.Below(4)) * kCellsPerBlock);
  fetch_ = tiers_ && r.OneIn(2) ? static_cast<u8>(SHADOW_LEG_TIER1 + r.Below(2)) : 0;
  next_identity_ = 2;
  last_read_ = 0;
  md_ = nullptr;
  turned_ = 0;
  formatted_ = false;
  resizes_ = 0;
  in_flight_ = flushes_ = messages_ = statuses_ = aborts_ = turning_ = turns_ = 0;
  sure_len_ = kCells;
  lives_ = compares_ = chases_ = 0;
  up_ = accept_ = busy_ = forgetting_ = hung_ = tail_lost_ = false;
  away_ = kNone;
  blipping_ = false;
  steady_ = true;
  len_ = 0;
  for (auto& q : requests_) q.used = false;

  for (u32 d = 0; d <= kMeta; d++)
    std::snprintf(names_[d].data(), names_[d].size(), "%s%u", kNames[d], index_);
  for (u32 d = 0; d < SHADOW_NR_LEGS; d++) {
    Device& dev = devices_[d];
    const bool home = d < kHomes;
    const u32 cells = home ? geometry_.AllBlocks() * kCellsPerBlock
                           : (1 + r.Below(r.OneIn(2) ? 2 : 5)) * kCellsPerBlock;
    dev.geometry = &geometry_;
    dev.home = home;
    dev.content = d || !import_ ? Device::kGarbage : Device::kImported;
    dev.identity = d ? 0 : 1;
    dev.disk = sim_disk_create(Name(d), cells, Device::ContentOf, &dev);
    if (r.OneIn(8)) sim_disk_set_zeroes(dev.disk, r.OneIn(2) ? SIM_NO : SIM_REJECTS);
    if (r.OneIn(8)) sim_disk_set_discards(dev.disk, r.OneIn(2) ? SIM_NO : SIM_REJECTS);
  }
  meta_ = sim_disk_create_bytes(Name(kMeta), kMetaSectors);
  truth_.Reset(import_ ? [](u32 cell) { return ValueOf(1, cell); } : [](u32) { return kZero; });
}

void Volume::PowerCut() {
  md_ = nullptr;
  in_flight_ = flushes_ = messages_ = statuses_ = aborts_ = turning_ = 0;
  up_ = accept_ = busy_ = forgetting_ = hung_ = false;
  for (auto& q : requests_) q.used = false;
  Repair();
  if (away_ != kNone) sim_disk_set_dead(devices_[away_].disk, false);
  away_ = kNone;
  blipping_ = false;
  compares_ = chases_ = 0;
  truth_.PowerCut();
  for (auto& d : devices_)
    if (sim_disk_dead(d.disk) && (machine.calm || sim_one_in(2))) sim_disk_set_dead(d.disk, false);
  sim_disk_set_dead(meta_, false);
}

// ------------------------------------------------------------------------- users

u32 Volume::PickBlock() {
  const u32 n = Blocks(), hot = std::min(hot_, n);
  // the hot ones lie at the end as often as at the beginning
  if (only_ != kNone) return std::min(only_, n - 1);
  if (focus_ && !sim_one_in(8)) return std::min(hot_, n - 1);
  if (sim_one_in(2)) return sim_below(n);
  const u32 i = sim_below(hot);
  return sim_one_in(3) ? n - 1 - i : i;
}

Request* Volume::NewRequest(Action what, sim_io_op op) {
  for (auto& r : requests_) {
    if (r.used) continue;
    r.used = true;
    r.what = what;
    r.block = r.id = 0;
    r.cells = r.punched = r.short_end = 0;
    r.resizes = resizes_;
    r.faults = machine.faults;
    r.io = {};
    r.io.md = md_;
    r.io.op = op;
    r.io.data = r.data.data();
    r.volume = this;
    r.io.who = &r;
    r.io.done = [](sim_io* io) {
      auto* q = static_cast<Request*>(io->who);
      q->volume->Answer(q);
    };
    return &r;
  }
  std::abort();
}

void Volume::Send(Request* r) {
  r->homeless = MayBeRefused(*r);
  in_flight_++;
  sim_spawn(
      "a request", [](void* p) { sim_dm_submit(&static_cast<Request*>(p)->io); }, r, false);
}

bool Volume::UserIo(Action what) {
  if (!accept_ || !md_ || forgetting_ || in_flight_ >= max_in_flight_) return false;
  const u32 b = PickBlock();
  Request* r;
  switch (what) {
    case kRead:
      r = NewRequest(what, SIM_IO_READ);
      // again and again: by policy "balance" the other copy answers
      r->block =
          last_read_ < Blocks() && (fetch_ ? !sim_one_in(3) : sim_one_in(2)) ? last_read_ : b;
      last_read_ = r->block;
      r->cells = BlockCells(r->block) & CellsBelow(len_);
      r->io.first = geometry_.OnLeg(r->block * kCellsPerBlock);
      r->io.cells = static_cast<u32>(__builtin_popcount(r->cells));
      truth_.StartRead(r->block, r->read);
      world_.Note("user reads block %u", geometry_.Number(r->block));
      break;
    case kFlush:
      if (flushes_ >= 2) return false;
      flushes_++;
      r = NewRequest(what, SIM_IO_WRITE);
      r->io.preflush = true;
      // an empty bio has no position: what stands there means nothing
      r->io.first = sim_one_in(2) ? geometry_.OnLeg(b * kCellsPerBlock) + sim_below(4) : 0;
      truth_.StartFlush(r->flush);
      world_.Note("user flushes");
      break;
    case kDiscard:
    case kDiscardPart: {
      const u32 first = what == kDiscard ? b * kCellsPerBlock : b * kCellsPerBlock + sim_below(4);
      u32 end = (b + 1) * kCellsPerBlock, last = b;
      if (what == kDiscardPart && sim_one_in(2)) end = first + 1 + sim_below(4);
      while (end % kCellsPerBlock == 0 && last + 1 < Blocks() && geometry_.Adjoins(last) &&
             sim_one_in(3)) {
        last++;
        end = (last + 1) * kCellsPerBlock;
      }
      end = std::min(end, std::min(len_, (last + 1) * kCellsPerBlock));
      if (first >= end) return false;
      r = NewRequest(what, SIM_IO_DISCARD);
      r->block = b;
      r->cells = Run(first, end - first);
      for (u32 i = b; i <= last; i++) {
        const CellMask whole = BlockCells(i) & CellsBelow(len_);
        if ((r->cells & whole) != whole) continue;
        r->punched |= whole;
        if (whole != BlockCells(i)) r->short_end |= whole;
      }
      r->io.first = geometry_.OnLeg(first);
      r->io.cells = end - first;
      r->io.data = nullptr;
      r->id = truth_.NextId();
      truth_.Issue(r->cells, r->id, true, true, steady_);
      world_.Note("user discards cells %u to %u of block %u on", first % 4, end - 1,
                  geometry_.Number(b));
      break;
    }
    default:
      return UserWrite(what, b);
  }
  Send(r);
  return true;
}

bool Volume::Start(Action what, u32 block) {
  const u32 usual = max_in_flight_;
  max_in_flight_ = 10;
  only_ = block;
  const bool done = what <= kDiscardPart ? UserIo(what) : Message(what);
  only_ = kNone;
  max_in_flight_ = usual;
  return done;
}

/// Something that is on its way to the block, or to a tier, takes very long.
bool Volume::Stick(u32 block) {
  const u32 d = sim_below(tiers_ ? u32{SHADOW_NR_LEGS} : kHomes);
  if (d >= kHomes) return sim_disk_stick(devices_[d].disk, 0, 64);
  return sim_disk_stick(devices_[d].disk, geometry_.OnLeg(block * kCellsPerBlock), kCellsPerBlock);
}

/// One thing after the other happens to a block, while what began before is still on its way.
void Volume::Chase(u32 block) {
  static constexpr Action kWhat[] = {kWrite, kWrite,   kWrite,   kDiscard,  kRead,     kCopy,
                                     kCopy,  kWrite,   kDiscard, kRetire,   kRemirror, kPromote,
                                     kRead,  kPromote, kDemote,  kWriteback};
  const u32 kinds = tiers_ ? static_cast<u32>(std::size(kWhat)) : 11;
  u32 stuck = 0;
  for (u32 n = 4 + sim_below(12); n && accept_ && md_ && !forgetting_; n--) {
    const u64 before = answers_;
    if (!Start(kWhat[sim_below(kinds)], block)) continue;
    for (u32 k = 2 + sim_below(30); k && (answers_ == before || sim_one_in(2)); k--) {
      if (stuck < 2 && sim_one_in(3)) stuck += Stick(block);
      sim_yield();
    }
    if (sim_one_in(8) && Blocks() > 1) block = PickBlock();
  }
}

/// Several at once to one block, with a discard among them, and perhaps a copy of it.
bool Volume::Burst() {
  static constexpr Action kWhat[] = {kWrite, kWrite,   kWriteBlock, kZeroes,
                                     kRead,  kDiscard, kDiscard};
  if (!accept_ || !md_ || forgetting_) return false;
  if (sim_one_in(2) && chases_ < 2) {
    chases_++;
    const u32 block = PickBlock();
    world_.Spawn("a chase", [this, block] {
      Chase(block);
      chases_--;
    });
    return true;
  }
  const u32 usual = max_in_flight_;
  bool any = false;
  max_in_flight_ = 10;
  only_ = PickBlock();
  if (!steady_ && sim_one_in(2)) Message(sim_one_in(2) ? kCopy : kRemirror);
  for (u32 n = 2 + sim_below(4); n; n--) any |= UserIo(kWhat[sim_below(std::size(kWhat))]);
  only_ = kNone;
  max_in_flight_ = usual;
  return any;
}

bool Volume::UserWrite(Action what, u32 b) {
  u32 first = b * kCellsPerBlock, end = std::min(first + kCellsPerBlock, len_);
  if (what == kJournal && flushes_ >= 2) return false;
  if (what != kWriteBlock) {
    first += sim_below(end - first);
    u32 limit = end;
    if (geometry_.Adjoins(b) && end < len_ && sim_one_in(3))
      limit = std::min(end + kCellsPerBlock, len_);
    end = first + 1 + sim_below(limit - first);
  }
  const CellMask cells = Run(first, end - first);
  if ((cells & truth_.Writable()) != cells) return false;
  const bool zero = what == kZeroes;
  Request* r = NewRequest(what, zero ? SIM_IO_ZEROES : SIM_IO_WRITE);
  r->block = b;
  r->cells = cells;
  r->io.first = geometry_.OnLeg(first);
  r->io.cells = end - first;
  r->io.fua = what == kFua || what == kJournal;
  r->io.preflush = what == kJournal;
  if (r->io.preflush) {
    flushes_++;
    truth_.StartFlush(r->flush);
  }
  r->id = truth_.NextId();
  for (u32 c = first; c < end; c++) r->data[c - first] = ValueOf(r->id, c);
  if (zero) r->io.data = nullptr;
  truth_.Issue(cells, r->id, zero, false, steady_);
  world_.Note("user %s cells %u to %u of block %u as #%u%s%s", zero ? "zeroes" : "writes",
              first % 4, first % 4 + end - first - 1, geometry_.Number(b), r->id,
              r->io.preflush ? ", preflush" : "", r->io.fua ? ", FUA" : "");
  Send(r);
  return true;
}

/// It, or a part of it, may have no place any longer.
bool Volume::MayBeRefused(const Request& r) const {
  return (tail_lost_ || aborts_) && (r.cells & ~CellsBelow(sure_len_));
}

void Volume::Answer(Request* r) {
  const bool ok = r->io.status == SIM_OK;
  in_flight_--;
  answers_++;
  r->used = false;
  sim_wake(&in_flight_);
  world_.counts().operations++;
  if (r->what == kFlush || r->what == kJournal) flushes_--;
  // what a leg does not know the submitter does in another way
  const bool unknown = (r->io.op == SIM_IO_DISCARD || r->io.op == SIM_IO_ZEROES) &&
                       (r->io.status == SIM_NOTSUPP || r->io.status == SIM_TARGET);
  if (!ok && !unknown && !world_.ErrorsExpected() && !MayBeRefused(*r) && !r->homeless)
    world_.Fail(index_, "a request failed although nothing was wrong (kind %u, status %u)", r->what,
                r->io.status);
  // a failure may come out either way, more than once, if the metadata could not be written
  constexpr bool kStuck = true;
  if (!ok && r->cells && r->what != kRead) AskWhatBecameOf(r->cells, r->id);
  switch (r->what) {
    case kRead: {
      world_.Note("  the read of block %u %s", geometry_.Number(r->block),
                  ok ? "is answered" : "fails");
      for (u32 i = 0; ok && i < r->io.cells; i++)
        if (!truth_.EndRead(r->read, r->block * kCellsPerBlock + i, r->data[i]))
          return world_.Fail(index_, "a read of block %u, cell %u found %s",
                             geometry_.Number(r->block), i, Words(r->data[i]).c_str());
      return;
    }
    case kFlush:
      world_.Note("  the flush %s", ok ? "is acknowledged" : "fails");
      if (!ok) return;
      truth_.EndFlush(r->flush);
      world_.Acknowledged(r->faults != machine.faults);
      return;
    case kDiscard:
    case kDiscardPart:
      world_.Note("  the discard of block %u %s", geometry_.Number(r->block),
                  ok ? "is acknowledged" : "fails");
      // put off by a suspend it may have met a longer table, for which it is a part of a block
      if (r->resizes != resizes_ || resizes_ % 2) r->punched &= ~r->short_end;
      truth_.Answer(r->punched, r->id, true, true, ok, true, false, steady_, kStuck);
      truth_.Answer(r->cells & ~r->punched, r->id, true, true, ok, false, false, steady_, kStuck);
      return;
    default:
      world_.Note("  #%u %s", r->id, ok ? "is acknowledged" : "fails");
      if (ok && r->what == kJournal) truth_.EndFlush(r->flush);
      truth_.Answer(r->cells, r->id, r->what == kZeroes, false, ok, true, r->io.fua, steady_,
                    kStuck);
      if (ok && r->io.fua) world_.Acknowledged(r->faults != machine.faults);
      return;
  }
}

/// A write failed. As long as the volume is not read-only one content is left, and it stays: the
/// first read decides.
void Volume::AskWhatBecameOf(CellMask cells, u32 id) {
  if (!up_ || !md_) return;
  world_.Spawn("status", [this, cells, id] {
    char info[kRoom];
    if (md_ && sim_dm_status(md_, 0, false, info, kRoom) && !std::strncmp(info, "rw ", 3))
      truth_.Decided(cells, id);
  });
}

/// All copies that a read may come from have to agree with the truth.
void Volume::ReadAll() {
  static constexpr const char* kPolicies[] = {"origin", "target", "balance", "balance", "mirror"};
  char answer[kRoom], text[32];
  fetch_ = 0;
  for (const char* policy : kPolicies) {
    if (!up_ || machine.failed) return;
    std::snprintf(text, sizeof(text), "read %s", policy);
    sim_dm_message(md_, text, answer, kRoom);
    for (u32 b = 0; b < Blocks(); b++) {
      Request* r = NewRequest(kRead, SIM_IO_READ);
      r->block = b;
      r->cells = BlockCells(b) & CellsBelow(len_);
      r->io.first = geometry_.OnLeg(b * kCellsPerBlock);
      r->io.cells = static_cast<u32>(__builtin_popcount(r->cells));
      truth_.StartRead(b, r->read);
      in_flight_++;
      sim_dm_submit(&r->io);
      while (in_flight_) sim_block(&in_flight_);
    }
    if (steady_) return;
  }
}

bool Volume::Act(Action what) {
  if (what <= kDiscardPart) return UserIo(what);
  if (what <= kStatus) return Message(what);
  if (what <= kLoadOnly) return Administer(what);
  if (what == kCompare) return StartCompare();
  if (what == kBurst) return Burst();
  return Accidents(what);
}

}  // namespace sim
