// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-metadata.c: reading the metadata device, committing changes, formatting.
#include "tests/sim/volume.h"

namespace sim {

namespace {
constexpr int kFailedWrite = -1;
constexpr int kStatesFirst = -2;  // EAGAIN

template <class F>
void ForPages(u32 pages, F f) {
  for (u32 m = pages; m; m &= m - 1) f(static_cast<u32>(__builtin_ctz(m)));
}
}  // namespace

// page_picture. The blocks between the simulated ones are holes for ever.
void Volume::PagePicture(u32 page, void* buf) {
  const shadow_page_header header = {++page_generation_, shadow_uuid_tag(sb_.uuid), page,
                                     sb_.epoch};
  const shadow_ctx ctx = Ctx(0);
  u8* const homes = shadow_page_homes(buf);
  u8* const intent = shadow_page_intent(buf);
  std::memset(buf, 0, SHADOW_PAGE_SIZE);
  std::memset(homes, SHADOW_HOLE, SHADOW_BLOCKS_PER_PAGE);
  for (u32 b = 0; b < nr_tracked_; b++) {
    if (kPageOf[b] != page) continue;
    const u32 at = kNumber[b] - page * SHADOW_BLOCKS_PER_PAGE, region = at >> SHADOW_REGION_SHIFT;
    if (intent_disk_ >> kRegionOf[b] & 1) intent[region / 8] |= static_cast<u8>(1u << (region % 8));
    homes[at] = static_cast<u8>(shadow_disk_home(map[b], &ctx));
  }
  shadow_page_seal(buf, &header);
}

// slot_page_picture
void Volume::SlotPagePicture(u32 page, void* buf) {
  const shadow_page_header header = {++page_generation_, shadow_uuid_tag(sb_.uuid),
                                     kSlotPageNumber[page], 0};
  std::memset(buf, 0, SHADOW_PAGE_SIZE);
  for (u32 b = 0; b < nr_tracked_; b++)
    if (kSlotPageOf[b] == page)
      shadow_slot_page_set(buf, kNumber[b] - kSlotPageNumber[page] * SHADOW_WORDS_PER_PAGE,
                           shadow_tier_disk(words[b]));
  shadow_slot_page_seal(buf, &header);
}

Task<bool> Volume::FlushLeg(u8 leg) {
  DeviceOp& op = m_.NewOp(OpKind::kFlush, static_cast<u8>(legs_[leg]));
  m_.Begin(op);
  const bool ok = co_await m_.Finish(op);
  co_return ok;
}

Task<bool> Volume::FlushMeta() {
  DeviceOp& op = m_.NewOp(OpKind::kFlush, kMetaDev);
  m_.Begin(op);
  const bool ok = co_await m_.Finish(op);
  co_return ok;
}

DeviceOp& Volume::WritePage(u32 slot, const void* buf, bool fua, bool preflush) {
  DeviceOp& op = m_.NewOp(OpKind::kMetaWrite, kMetaDev);
  op.write = m_.meta.Submit(slot, buf);
  op.fua = fua;
  op.preflush = preflush;
  m_.Begin(op);
  return op;
}

// flush_legs
Task<Volume::Flushed> Volume::FlushLegs() {
  const u32 mask = std::exchange(unflushed_, 0), sole = sole_ & mask;
  Flushed result = Flushed::kAll;
  sole_ &= ~mask;
  for (u8 leg = 0; leg < kLegs; leg++) {
    if (!(mask >> leg & 1) || legs_[leg] < 0) continue;
    const bool ok = co_await FlushLeg(leg);
    if (ok) continue;
    if (leg >= kHomeLegs) {
      co_await TierFlushFailed(leg);
      result = Flushed::kDropped;
      continue;
    }
    co_await GateClose();
    dropped_++;
    co_await PhaseWrite();
    const bool only = (sole | sole_) >> leg & 1;
    phase_writer_ = false;
    if (only) co_return Flushed::kFailed;
    co_await DropLeg(leg);
    result = Flushed::kDropped;
  }
  co_return result;
}

// commit_batch
Task<int> Volume::CommitBatch(PageSet& set, u32* from) {
  const u32 pages = set.dirty & ~((1u << *from) - 1);
  if (!pages) co_return 0;
  set.dirty &= ~pages;
  co_await m_.Maybe();
  bool dropped = false;
  const u32 homes = dropped_;
  for (;;) {
    ForPages(pages, [&](u32 p) {
      set.slots ? SlotPagePicture(p, pages_[p].data()) : PagePicture(p, pages_[p].data());
    });
    co_await m_.Maybe();
    const Flushed flushed = co_await FlushLegs();
    if (flushed == Flushed::kAll) break;
    if (flushed == Flushed::kFailed || (set.slots && homes != dropped_)) {
      set.dirty |= pages;
      co_return flushed == Flushed::kFailed ? kFailedWrite : kStatesFirst;
    }
    dropped = true;  // which made other pages dirty, too
  }
  const bool alone = !(pages & (pages - 1));
  std::array<DeviceOp*, kSlotPages> writes{};
  ForPages(pages, [&](u32 p) {
    const u32 copy = set.newest >> p & 1 ? 0 : 1;
    writes[p] = &WritePage(SlotOf(set, p, copy), pages_[p].data(), alone, false);
  });
  bool ok = true;
  for (DeviceOp* op : writes) {
    if (!op) continue;
    const bool written = co_await m_.Finish(*op);
    ok = ok && written;
  }
  if (ok && !alone) ok = co_await FlushMeta();
  if (!ok) {
    set.dirty |= pages;
    co_return kFailedWrite;
  }
  set.newest ^= pages;
  *from = dropped ? 0 : 32 - static_cast<u32>(__builtin_clz(pages));
  co_return 1;
}

// mark_unclean
Task<bool> Volume::MarkUnclean() {
  if (!(sb_.flags & SHADOW_SB_CLEAN)) co_return true;
  shadow_superblock sb = sb_;
  sb.flags &= ~SHADOW_SB_CLEAN;
  const bool ok = co_await WriteSb(sb);
  co_return ok;
}

// commit_pages
Task<int> Volume::CommitPages(PageSet& set) {
  u32 from = 0;
  for (;;) {
    const int r = co_await CommitBatch(set, &from);
    if (r <= 0) co_return r;
  }
}

// __shadow_commit
Task<bool> Volume::CommitLocked() {
  if (mode_ != Mode::kRw) co_return false;
  const bool slots = tiered_ && sb_.slot_end;
  if (!states_.dirty && !(slots && slot_pages_.dirty)) co_return true;
  const bool marked = co_await MarkUnclean();
  int r = marked ? 0 : kFailedWrite;
  bool slots_last;
  do {
    if (!r && slots) r = co_await CommitPages(slot_pages_);
    slots_last = r == kStatesFirst;
    if (!r || slots_last) r = co_await CommitPages(states_);
  } while (!r && slots_last);
  if (r) {
    co_await SetMode(Mode::kRo);
    ReleaseParked();  // to fail
    co_return false;
  }
  commits++;
  if (dropped_) GateOpen(dropped_);
  dropped_ = 0;
  co_return true;
}

// shadow_commit
Task<bool> Volume::Commit() {
  co_await m_.Lock(lock_commit_);
  const bool ok = co_await CommitLocked();
  lock_commit_ = false;
  co_return ok;
}

// shadow_metadata_write_sb
Task<bool> Volume::WriteSb(const shadow_superblock& sb) {
  shadow_superblock next = sb;
  next.generation = sb_.generation + 1;
  shadow_sb_encode(&next, pages_[0].data());
  DeviceOp& op = WritePage(next.generation & 1, pages_[0].data(), true, true);
  const bool ok = co_await m_.Finish(op);
  if (ok) sb_ = next;
  co_return ok;
}

// ----------------------------------------------------------------------- load

// shadow_metadata_peek
bool Volume::Peek(shadow_superblock* sb, bool* blank) {
  bool found = false;
  *blank = true;
  for (u32 i = 0; i < SHADOW_NR_SUPERBLOCKS; i++) {
    MetaDevice::Page page;
    shadow_superblock one;
    m_.meta.Read(i, page.data());
    const shadow_format_error e = shadow_sb_decode(page.data(), &one);
    if (e != SHADOW_FORMAT_BLANK) *blank = false;
    if (e == SHADOW_FORMAT_OK && (!found || one.generation > sb->generation)) {
      *sb = one;
      found = true;
    }
  }
  return found;
}

// page_apply
void Volume::PageApply(u32 page, const void* buf, const shadow_page_header& header) {
  const bool clean = sb_.flags & SHADOW_SB_CLEAN;
  const bool current_epoch = header.epoch == sb_.epoch;
  const u8* const homes = shadow_page_homes_const(buf);
  const u8* const intent = shadow_page_intent_const(buf);
  for (u32 b = 0; b < nr_tracked_; b++) {
    if (kPageOf[b] != page) continue;
    const shadow_ctx ctx = Ctx(b);
    const u32 at = kNumber[b] - page * SHADOW_BLOCKS_PER_PAGE, region = at >> SHADOW_REGION_SHIFT;
    const bool dirty = !clean && (intent[region / 8] >> (region % 8) & 1);
    const auto home =
        shadow_from_disk(static_cast<enum shadow_home>(homes[at]), &ctx, current_epoch, dirty);
    map[b] = static_cast<u8>(home);
    if (map[b] != homes[at]) MarkPageDirty(b);
  }
  for (u32 i = 0; i < 32; i++)
    if (intent[i]) states_.dirty |= 1u << page;      // to clear the bits
  for (u32 b = 0; b < nr_tracked_ && !clean; b++) {  // for the shadows, which are read next
    const u32 region = (kNumber[b] - page * SHADOW_BLOCKS_PER_PAGE) >> SHADOW_REGION_SHIFT;
    if (kPageOf[b] == page && (intent[region / 8] >> (region % 8) & 1))
      intent_recent_ |= 1u << kRegionOf[b];
  }
}

// page_pick
const char* Volume::PagePick(PageSet& set, u32 page, MetaDevice::Page* copies,
                             shadow_page_header* header, u32* picked) {
  const u64 tag = shadow_uuid_tag(sb_.uuid);
  shadow_page_header h[2];
  shadow_format_error e[2];
  for (u32 i = 0; i < 2; i++) {
    m_.meta.Read(SlotOf(set, page, i), copies[i].data());
    e[i] = set.slots ? shadow_slot_page_decode(copies[i].data(), tag, kSlotPageNumber[page], &h[i])
                     : shadow_page_decode(copies[i].data(), tag, page, &h[i]);
  }
  if (e[0] && e[1]) return "both copies of a page are damaged";
  if ((e[0] || e[1]) && (sb_.flags & SHADOW_SB_CLEAN))
    return "a page is damaged after a clean stop";
  const u32 pick = e[0] ? 1 : e[1] ? 0 : h[1].generation > h[0].generation;
  if (h[pick].epoch > sb_.epoch) return "a page is newer than the superblock";
  if (e[0] || e[1]) set.dirty |= 1u << page;
  set.newest = pick ? set.newest | 1u << page : set.newest & ~(1u << page);
  if (h[pick].generation > page_generation_) page_generation_ = h[pick].generation;
  *header = h[pick];
  *picked = pick;
  return nullptr;
}

const char* Volume::PageLoad(u32 page) {
  MetaDevice::Page copies[2];
  shadow_page_header header;
  u32 pick;
  if (const char* error = PagePick(states_, page, copies, &header, &pick)) return error;
  PageApply(page, copies[pick].data(), header);
  return nullptr;
}

// shadow_slot_pages_load
const char* Volume::LoadSlotPages() {
  for (u32 p = 0; p < nr_slot_pages_; p++) {
    MetaDevice::Page copies[2];
    shadow_page_header header;
    u32 pick;
    if (const char* error = PagePick(slot_pages_, p, copies, &header, &pick)) return error;
    for (u32 i = 0; i < SHADOW_WORDS_PER_PAGE; i++) {
      const u32 word = shadow_slot_page_word(copies[pick].data(), i);
      u32 b = 0;
      if (!word) continue;
      while (b < kBlocks && kNumber[b] != kSlotPageNumber[p] * SHADOW_WORDS_PER_PAGE + i) b++;
      if (const char* error = TakeWord(b, word)) return error;
    }
  }
  return nullptr;
}

// shadow_slot_pages_format
Task<bool> Volume::FormatSlotPages(u32 first, u32 end) {
  for (u32 p = first; p < end; p++) {
    for (u32 copy = 0; copy < 2; copy++) {
      const shadow_page_header header = {1, shadow_uuid_tag(sb_.uuid), kSlotPageNumber[p], 0};
      pages_[0].fill(0);
      shadow_slot_page_seal(pages_[0].data(), &header);
      DeviceOp& op = WritePage(SlotOf(slot_pages_, p, copy), pages_[0].data(), false, false);
      const bool ok = co_await m_.Finish(op);
      if (!ok) co_return false;
    }
    slot_pages_.newest &= ~(1u << p);
    slot_pages_.dirty &= ~(1u << p);
  }
  const bool ok = co_await FlushMeta();
  co_return ok;
}

// shadow_metadata_load
const char* Volume::Load() {
  for (u32 p = 0; p < nr_pages_; p++)
    if (const char* error = PageLoad(p)) return error;
  return nullptr;
}

// shadow_metadata_format: whatever is committed later has a higher generation
Task<bool> Volume::FormatPages(u32 first, u32 end) {
  for (u32 p = first; p < end; p++) {
    for (u32 copy = 0; copy < 2; copy++) {
      const u64 generation = std::exchange(page_generation_, 0);
      PagePicture(p, pages_[0].data());
      page_generation_ = generation;
      DeviceOp& op = WritePage(PageSlot(p, copy), pages_[0].data(), false, false);
      const bool ok = co_await m_.Finish(op);
      if (!ok) co_return false;
    }
    states_.newest &= ~(1u << p);
    states_.dirty &= ~(1u << p);
  }
  const bool ok = co_await FlushMeta();
  co_return ok;
}

}  // namespace sim
