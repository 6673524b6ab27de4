// SPDX-License-Identifier: GPL-2.0-only
// Looks at what two legs hold of a block that the volume calls mirrored, at any moment.
//
// Reads find one copy at a time, and a difference may be written over before they do. What is
// called current is asked for before and after the look; what could have changed it in between,
// and back, is counted in the status.
#include <cstring>

#include "tests/sim/world.h"

namespace sim {

/// Which copies of a block are called current, in words of the answers to "map" and "tiers", and
/// what makes copies, or ends them, counted. Empty: it may change, or nobody knows.
std::string Volume::CalledCurrent(u32 block) {
  char text[40], home[kRoom], shadow[kRoom], info[kRoom];
  if (!md_ || !up_ || busy_ || turning_) return "";
  // which leg a modification that is over has left as the only one the next table says
  if (steady_ && homes_[SHADOW_LEG_TARGET] >= 0) return "";
  std::snprintf(text, sizeof(text), "map %u+1", geometry_.Number(block));
  if (sim_dm_message(md_, text, home, kRoom) != 1 || !md_ || !up_) return "";
  std::snprintf(text, sizeof(text), "tiers %u+1", geometry_.Number(block));
  if (sim_dm_message(md_, text, shadow, kRoom) != 1) std::snprintf(shadow, kRoom, "end");
  if (!md_ || !sim_dm_status(md_, 0, false, info, kRoom) || std::strncmp(info, "rw ", 3) != 0)
    return "";
  std::string words = std::string(home) + " " + shadow;
  for (const char* name : {"stale", "copied", "recopied", "filled", "written_back", "promoted",
                           "demoted", "fetched", "generation"}) {
    u64 n = 0;
    Field(info, name, &n);
    words += " " + std::to_string(n);
  }
  return words;
}

/// The slot of a clean shadow, as the metadata has it: it changes only after an older one of the
/// block has gone from there. SHADOW_NO_SLOT: it is not there yet.
u32 Volume::SlotOf(u32 block, u8 leg) const {
  shadow_superblock sb;
  bool blank;
  if (!Superblock(&sb, &blank) || !sb.slot_end) return SHADOW_NO_SLOT;
  const u32 number = geometry_.Number(block), page = number / SHADOW_WORDS_PER_PAGE;
  u32 word = 0;
  u64 newest = 0;
  for (u32 copy = 0; copy < 2; copy++) {
    std::array<u8, SHADOW_PAGE_SIZE> bytes;
    shadow_page_header header;
    sim_disk_read(meta_, static_cast<u32>(shadow_slot_page_sector(sb.slot_end, page, copy)),
                  SHADOW_PAGE_SIZE / 512, bytes.data());
    if (shadow_slot_page_decode(bytes.data(), shadow_uuid_tag(sb.uuid), page, &header) !=
            SHADOW_FORMAT_OK ||
        header.generation < newest)
      continue;
    newest = header.generation;
    word = shadow_slot_page_word(bytes.data(), number % SHADOW_WORDS_PER_PAGE);
  }
  return shadow_life(word) == SHADOW_CLEAN && shadow_word_leg(word) == leg ? shadow_slot(word)
                                                                           : SHADOW_NO_SLOT;
}

void Volume::Compare(u32 block) {
  const u32 lives = lives_, turns = turns_;
  const std::string before = CalledCurrent(block);
  if (before.empty() || before.find("-dirty") != std::string::npos ||
      before.find("-cleaning") != std::string::npos || before.find("-holding") != std::string::npos)
    return;
  struct {
    const sim_disk* disk;
    u32 first;
  } copies[3];
  u32 n = 0, wrong = kCells, which = 0;
  const auto home = [&](u32 leg) {
    if (homes_[leg] < 0) return;
    const Device& d = devices_[static_cast<u32>(homes_[leg])];
    if (!sim_disk_dead(d.disk)) copies[n++] = {d.disk, geometry_.OnLeg(block * kCellsPerBlock)};
  };
  const bool mirrored = !steady_ && before.find(":mirrored ") != std::string::npos;
  if (mirrored || before.find(":origin ") != std::string::npos) home(SHADOW_LEG_ORIGIN);
  if (mirrored || before.find(":target ") != std::string::npos) home(SHADOW_LEG_TARGET);
  for (u8 leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
    char clean[16];
    std::snprintf(clean, sizeof(clean), ":tier%u-clean ", leg - SHADOW_LEG_TIER1 + 1U);
    if (before.find(clean) == std::string::npos || sim_disk_dead(devices_[leg].disk)) continue;
    const u32 slot = SlotOf(block, leg);
    if (slot != SHADOW_NO_SLOT) copies[n++] = {devices_[leg].disk, slot * kCellsPerBlock};
  }
  for (u32 i = 0; i < kCellsPerBlock && block * kCellsPerBlock + i < len_; i++) {
    if (!truth_.Settled(block * kCellsPerBlock + i)) continue;
    for (u32 k = 1; k < n; k++)
      if (sim_disk_cell(copies[k].disk, copies[k].first + i) !=
          sim_disk_cell(copies[0].disk, copies[0].first + i)) {
        wrong = i;
        which = k;
      }
  }
  if (wrong == kCells) return;
  const u32 one = sim_disk_cell(copies[0].disk, copies[0].first + wrong);
  const u32 other = sim_disk_cell(copies[which].disk, copies[which].first + wrong);
  if (CalledCurrent(block) != before || lives != lives_ || turns != turns_) return;
  world_.Fail(index_,
              "two copies of block %u that are called current differ: cell %u, write #%u and #%u",
              geometry_.Number(block), wrong, IdOf(one), IdOf(other));
}

bool Volume::StartCompare() {
  if (!up_ || busy_ || !md_ || (steady_ && !tiers_) || compares_ >= 2 || world_.blips())
    return false;
  compares_++;
  const u32 block = PickBlock();
  world_.Spawn("who compares", [this, block] {
    Compare(block);
    compares_--;
  });
  return true;
}

}  // namespace sim
