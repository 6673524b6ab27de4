// SPDX-License-Identifier: Apache-2.0
#include "tools/metadata/check.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "kernel/core/shadow_args.h"

namespace shadow::metadata {
namespace {

using Kind = Finding::Kind;

std::string N(std::uint64_t n) { return std::to_string(n); }

std::string BitName(const FlippedBit& f) { return "bit " + N(f.bit) + " of byte " + N(f.byte); }

class Checker {
 public:
  Checker(const Image& image, std::uint64_t device_bytes, Assume assume)
      : image_(image), device_bytes_(device_bytes), assume_(assume) {}

  Report Run() {
    if (image_.blank()) {
      Note("The device is blank: there is no volume here.");
      return std::move(report_);
    }
    if (!image_.newest()) {
      for (unsigned place = 0; place < 2; place++)
        Add(Kind::kFatal, Super(place) + " is damaged (" +
                              shadow_format_strerror(image_.superblock(place).error) + ").");
      Add(Kind::kFatal, "There is no valid superblock: restore a dump with shadow_restore.");
      return std::move(report_);
    }
    sb_ = *image_.newest();
    CheckFields();
    for (std::uint32_t n = 0; n < image_.nr_pages(); n++) CheckPage(n);
    for (std::uint32_t n = 0; n < image_.nr_slot_pages(); n++) CheckSlotPage(n);
    CheckSuperblocks();  // last: what may be rewritten there depends on the pages
    // all or nothing: a volume repaired by half might be used
    if (report_.Has(Kind::kFatal) || report_.Has(Kind::kUncertain)) report_.repairs.clear();
    return std::move(report_);
  }

 private:
  static std::string Super(unsigned place) { return "Superblock " + N(place); }
  void Note(const std::string& s) { report_.findings.push_back({Kind::kNote, s}); }
  void Add(Kind kind, const std::string& s, std::int64_t page = -1) {
    report_.findings.push_back({kind, s, page});
  }
  void Uncertain(std::uint32_t n, const std::string& s, bool assumed) {
    Finding f{assumed ? Kind::kRepair : Kind::kUncertain, s, n};
    f.first = static_cast<std::uint64_t>(n) * SHADOW_BLOCKS_PER_PAGE;
    f.blocks = std::min<std::uint64_t>(SHADOW_BLOCKS_PER_PAGE, image_.nr_blocks() - f.first);
    f.what += " Uncertain: blocks " + N(f.first) + " to " + N(f.first + f.blocks - 1) + ".";
    report_.findings.push_back(std::move(f));
  }
  [[nodiscard]] bool clean() const { return sb_.flags & SHADOW_SB_CLEAN; }
  [[nodiscard]] bool steady() const { return sb_.phase == SHADOW_STEADY; }

  void CheckFields() {
    const auto& origin = sb_.legs[SHADOW_LEG_ORIGIN];
    const auto& target = sb_.legs[SHADOW_LEG_TARGET];
    if (sb_.tracked_sectors != std::max(sb_.nr_sectors, sb_.old_sectors))
      Add(Kind::kFatal, "The tracked length is not the longer one of the lengths.");
    if (steady() && sb_.nr_sectors != sb_.old_sectors)
      Add(Kind::kFatal, "There is no modification, but the old length differs from the length.");
    if (origin.sectors < std::min(sb_.nr_sectors, sb_.old_sectors))
      Add(Kind::kFatal, "The origin was smaller than the volume when it was attached.");
    if (!steady() && target.sectors < sb_.nr_sectors)
      Add(Kind::kFatal, "The target was smaller than the volume when it was attached.");
    if (!steady() && (!origin.id[0] || !target.id[0] || !strcmp(origin.id, target.id)))
      Add(Kind::kFatal, "Two legs are attached, but their identities are empty or the same.");
    if (device_bytes_ < image_.needed_bytes())
      Add(Kind::kFatal, "The device has " + N(device_bytes_) + " bytes; the volume's states need " +
                            N(image_.needed_bytes()) + ".");
    const std::uint8_t* p = image_.head().data() + image_.newest_place() * kPage;
    const auto zero = [&](std::size_t from, std::size_t to) {
      return std::all_of(p + from, p + to, [](std::uint8_t b) { return b == 0; });
    };
    if (image_.superblock(image_.newest_place()).ok() &&
        (!zero(80, 96) || !zero(550, 560) || !zero(688, kPage)))
      Add(Kind::kFatal, "Reserved fields of the superblock are not zero: a newer tool is needed.");
  }

  void CheckSuperblocks() {
    const unsigned newest = image_.newest_place(), other = 1 - newest;
    const auto& a = image_.superblock(newest);
    const auto& b = image_.superblock(other);
    bool rewrite = false;
    if ((sb_.generation & 1) != newest)
      Add(Kind::kFatal, Super(newest) + " has generation " + N(sb_.generation) +
                            ", which belongs to the other place.");
    for (unsigned place = 0; place < 2; place++)
      if (const auto& s = image_.superblock(place); s.flip) {
        Add(Kind::kRepair, Super(place) + " is damaged: " + BitName(*s.flip) + " is flipped.");
        const auto first = image_.head().begin() + static_cast<std::ptrdiff_t>(place * kPage);
        Bytes fixed(first, first + kPage);
        fixed[s.flip->byte] ^= static_cast<std::uint8_t>(1u << s.flip->bit);
        report_.repairs.push_back({place * kPage, std::move(fixed)});
      }
    if (a.known() && b.known()) {
      if (sb_.generation != b.header.generation + 1)
        Add(Kind::kFatal, "The superblocks' generations " + N(b.header.generation) + " and " +
                              N(sb_.generation) + " do not follow each other.");
      if (strcmp(sb_.uuid, b.header.uuid) != 0 || sb_.block_sectors != b.header.block_sectors)
        Add(Kind::kFatal, "The superblocks belong to different volumes.");
    } else if (b.error == SHADOW_FORMAT_BLANK) {
      if (sb_.generation != 1) {
        Add(Kind::kRepair, Super(other) + " is blank, but generation " + N(sb_.generation - 1) +
                               " was written there.");
        rewrite = true;
      }
    } else {
      Add(Kind::kRepair,
          Super(other) + " is damaged (" + shadow_format_strerror(b.error) +
              "). The valid one says generation " + N(sb_.generation) + ", phase " +
              shadow_phase_name(static_cast<shadow_phase>(sb_.phase)) +
              ": if a later phase was reached, restore a dump instead of repairing.");
      rewrite = true;
    }
    const bool broken = report_.Has(Kind::kFatal) || report_.Has(Kind::kUncertain);
    if (sb_.flags & SHADOW_SB_NEEDS_CHECK)
      Add(broken ? Kind::kFatal : Kind::kRepair,
          std::string("The kernel had trouble with the metadata and asked for this check.") +
              (broken ? " The flag stays until the rest is repaired." : ""));
    if (!rewrite && !(sb_.flags & SHADOW_SB_NEEDS_CHECK)) return;
    if (broken) return;
    shadow_superblock next = sb_;
    next.generation++;
    next.flags &= ~SHADOW_SB_NEEDS_CHECK;
    if (rewrite) next.flags &= ~SHADOW_SB_CLEAN;  // if in doubt, honour the write-intent bits
    Bytes buffer(kPage);
    shadow_sb_encode(&next, buffer.data());
    report_.repairs.push_back({(next.generation & 1) * kPage, std::move(buffer)});
  }

  void CheckPage(std::uint32_t n) {
    for (unsigned copy = 0; copy < 2; copy++)
      if (const auto& c = image_.page(n, copy); c.flip) {
        Add(Kind::kRepair,
            "Copy " + N(copy) + " of page " + N(n) + " is damaged: " + BitName(*c.flip) +
                " is flipped.",
            n);
        report_.repairs.push_back({Image::PageOffset(n, copy), image_.PageBytes(n, copy)});
      }
    const auto pick = image_.Pick(n);
    if (!pick) return BothDamaged(n);
    if (!image_.page(n, 1 - *pick).known()) OneDamaged(n, *pick);
    CheckContents(n, *pick);
  }

  void BothDamaged(std::uint32_t n) {
    const std::string what = "Both copies of page " + N(n) + " are damaged (" +
                             shadow_format_strerror(image_.page(n, 0).error) + "; " +
                             shadow_format_strerror(image_.page(n, 1).error) + ").";
    const bool target = assume_ == Assume::kTarget && !steady();
    const bool assumed = target || assume_ == Assume::kOrigin;
    Uncertain(n, what, assumed);
    if (!assumed) return;
    Bytes page(kPage);
    const std::uint64_t first = static_cast<std::uint64_t>(n) * SHADOW_BLOCKS_PER_PAGE;
    const std::uint64_t old_blocks = shadow_nr_blocks(sb_.old_sectors, sb_.block_sectors);
    for (std::uint32_t i = 0; i < SHADOW_BLOCKS_PER_PAGE; i++) {
      const bool inside = first + i < image_.nr_blocks();
      const bool tail = !steady() && first + i >= old_blocks;  // no place on the origin
      const std::uint8_t home = target ? SHADOW_TARGET : tail ? SHADOW_HOLE : SHADOW_ORIGIN;
      shadow_page_homes(page.data())[i] = inside ? home : static_cast<std::uint8_t>(SHADOW_HOLE);
    }
    const shadow_page_header h{1, shadow_uuid_tag(sb_.uuid), n, sb_.epoch};
    shadow_page_seal(page.data(), &h);
    for (unsigned copy = 0; copy < 2; copy++)
      report_.repairs.push_back({Image::PageOffset(n, copy), page});
  }

  /// A write that was torn by a power cut is harmless: it was never acknowledged. After a stop in
  /// order the damage came later, and may have hit the newer copy.
  void OneDamaged(std::uint32_t n, unsigned good) {
    const std::string what = "Copy " + N(1 - good) + " of page " + N(n) + " is damaged (" +
                             shadow_format_strerror(image_.page(n, 1 - good).error) + ")";
    const bool assumed = assume_ == Assume::kValid;
    if (!clean())
      Add(Kind::kRepair, what + "; the other one is valid.", n);
    else
      Uncertain(n, what + " after a stop in order; the valid one may be the older.", assumed);
    if (!clean() || assumed)
      report_.repairs.push_back({Image::PageOffset(n, 1 - good), image_.PageBytes(n, good)});
  }

  void CheckContents(std::uint32_t n, unsigned pick) {
    const auto& h = image_.page(n, pick).header;
    const Bytes page = image_.PageBytes(n, pick);
    const std::uint8_t* homes = shadow_page_homes_const(page.data());
    const std::uint8_t* intent = shadow_page_intent_const(page.data());
    const std::uint64_t first = static_cast<std::uint64_t>(n) * SHADOW_BLOCKS_PER_PAGE;
    const std::uint64_t old_blocks = shadow_nr_blocks(sb_.old_sectors, sb_.block_sectors);
    const auto& other = image_.page(n, 1 - pick);
    if (other.known() && other.header.generation == h.generation &&
        image_.PageBytes(n, 1 - pick) != page)
      Add(Kind::kFatal, "The copies of page " + N(n) + " have one generation, but differ.", n);
    if (h.epoch > sb_.epoch)
      Add(Kind::kFatal,
          "Page " + N(n) + " was written in modification " + N(h.epoch) +
              ", but the superblock knows only " + N(sb_.epoch) +
              ": a newer superblock was lost. Restore a dump.",
          n);
    std::uint64_t beyond = 0, tail = 0;
    for (std::uint32_t i = 0; i < SHADOW_BLOCKS_PER_PAGE; i++) {
      const std::uint64_t block = first + i;
      if (homes[i] == SHADOW_HOLE) continue;
      beyond += block >= image_.nr_blocks();
      tail += !steady() && h.epoch == sb_.epoch && block >= old_blocks &&
              block < image_.nr_blocks() && homes[i] != SHADOW_TARGET;
    }
    if (beyond)
      Add(Kind::kFatal,
          "Page " + N(n) + " says that " + N(beyond) +
              " blocks beyond the end of the volume hold data.",
          n);
    if (tail)
      Add(Kind::kFatal,
          "Page " + N(n) + " says that " + N(tail) +
              " blocks beyond the old end live on the origin, which ends there.",
          n);
    const bool any = std::any_of(intent, intent + 32, [](std::uint8_t b) { return b != 0; });
    if (any && clean() && !steady() && h.epoch == sb_.epoch)
      Add(Kind::kFatal,
          "Page " + N(n) +
              " says that writes were under way, but the superblock says "
              "that the volume was stopped in order.",
          n);
    if (intent[31] & 0xf0)
      Add(Kind::kFatal, "Page " + N(n) + " has write-intent bits of regions that do not exist.", n);
  }

  // --- shadows ---

  /// What a slot page tells is nowhere else: without it nobody knows which blocks are newer on a
  /// tier.
  void UncertainShadows(std::uint32_t n, const std::string& s) {
    Finding f{Kind::kUncertain, s, -1};
    f.first = static_cast<std::uint64_t>(n) * SHADOW_WORDS_PER_PAGE;
    f.blocks = std::min<std::uint64_t>(SHADOW_WORDS_PER_PAGE, image_.nr_blocks() - f.first);
    f.what += " Uncertain: whether the newest data of blocks " + N(f.first) + " to " +
              N(f.first + f.blocks - 1) + " is on a tier.";
    report_.findings.push_back(std::move(f));
  }

  void CheckSlotPage(std::uint32_t n) {
    const std::string of_page = " of slot page " + N(n) + " is damaged";
    for (unsigned copy = 0; copy < 2; copy++)
      if (const auto& c = image_.slot_page(n, copy); c.flip) {
        Add(Kind::kRepair, "Copy " + N(copy) + of_page + ": " + BitName(*c.flip) + " is flipped.");
        report_.repairs.push_back({image_.SlotPageOffset(n, copy), image_.SlotPageBytes(n, copy)});
      }
    const auto pick = image_.PickSlotPage(n);
    if (!pick)
      return UncertainShadows(n, "Both copies of slot page " + N(n) + " are damaged (" +
                                     shadow_format_strerror(image_.slot_page(n, 0).error) + "; " +
                                     shadow_format_strerror(image_.slot_page(n, 1).error) + ").");
    const auto& other = image_.slot_page(n, 1 - *pick);
    if (!other.known()) {
      const std::string what =
          "Copy " + N(1 - *pick) + of_page + " (" + shadow_format_strerror(other.error) + ")";
      if (clean() && assume_ != Assume::kValid)
        return UncertainShadows(n,
                                what + " after a stop in order; the valid one may be the older.");
      Add(Kind::kRepair, what + "; the other one is valid.");
      report_.repairs.push_back(
          {image_.SlotPageOffset(n, 1 - *pick), image_.SlotPageBytes(n, *pick)});
    } else if (other.header.generation == image_.slot_page(n, *pick).header.generation &&
               image_.SlotPageBytes(n, 0) != image_.SlotPageBytes(n, 1)) {
      Add(Kind::kFatal, "The copies of slot page " + N(n) + " have one generation, but differ.");
    }
    const Bytes page = image_.SlotPageBytes(n, *pick);
    for (std::uint32_t i = 0; i < SHADOW_WORDS_PER_PAGE; i++)
      if (const std::uint32_t word = shadow_slot_page_word(page.data(), i); word != 0)
        CheckShadow(static_cast<std::uint64_t>(n) * SHADOW_WORDS_PER_PAGE + i, word);
  }

  void CheckShadow(std::uint64_t block, std::uint32_t word) {
    const shadow_leg tier = shadow_word_leg(word);
    const std::string name = "The shadow of block " + N(block);
    if (block >= image_.nr_blocks())
      return Add(Kind::kFatal, name + " lies beyond the end of the volume.");
    if (!sb_.legs[tier].present)
      return Add(Kind::kFatal,
                 name + " is on " + shadow_leg_name(tier) + ", which is not attached.");
    if (shadow_slot(word) >= sb_.legs[tier].sectors / sb_.block_sectors)
      return Add(Kind::kFatal, name + " is in slot " + N(shadow_slot(word)) + ", which " +
                                   shadow_leg_name(tier) + " does not have.");
    if (Home(block) == SHADOW_HOLE)
      return Note(name + " is left over from a discard: the next start drops it.");
    const auto [at, first] = slots_.emplace(std::pair(tier, shadow_slot(word)), block);
    if (!first)
      Add(Kind::kFatal, "Blocks " + N(at->second) + " and " + N(block) + " share slot " +
                            N(shadow_slot(word)) + " of " + shadow_leg_name(tier) + ".");
  }

  /// As the page says; of a page that is damaged: data on the origin.
  [[nodiscard]] std::uint8_t Home(std::uint64_t block) const {
    const auto n = static_cast<std::uint32_t>(block / SHADOW_BLOCKS_PER_PAGE);
    const auto pick = n < image_.nr_pages() ? image_.Pick(n) : std::nullopt;
    if (!pick) return SHADOW_ORIGIN;
    return image_.head()[Image::PageOffset(n, *pick) + 64 + block % SHADOW_BLOCKS_PER_PAGE];
  }

  std::map<std::pair<shadow_leg, std::uint32_t>, std::uint64_t> slots_;  // -> block
  const Image& image_;
  std::uint64_t device_bytes_;
  Assume assume_;
  shadow_superblock sb_{};
  Report report_;
};

}  // namespace

bool Report::Has(Finding::Kind kind) const {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const Finding& f) { return f.kind == kind; });
}

bool Report::Clean() const {
  return !Has(Kind::kRepair) && !Has(Kind::kUncertain) && !Has(Kind::kFatal);
}

Report Check(const Image& image, std::uint64_t device_bytes, Assume assume) {
  return Checker(image, device_bytes, assume).Run();
}

}  // namespace shadow::metadata
