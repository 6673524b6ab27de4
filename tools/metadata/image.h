// SPDX-License-Identifier: Apache-2.0
// A metadata device or file in memory, decoded by the kernel's own decoder, and written back.
//
// What the offline tools share. Nothing here decides anything: check.h judges, repair.h changes.
// A device that is in use is refused (O_EXCL); a file is locked. Single-threaded.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "kernel/core/shadow_format.h"

namespace shadow::metadata {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::size_t kPage = SHADOW_PAGE_SIZE;

/// One bit that, flipped back, makes a 4 KiB buffer valid.
struct FlippedBit {
  unsigned byte;  // in the buffer
  unsigned bit;   // 0..7
};

/// One of the two places of the superblock, a state page or a slot page.
template <typename Header>
struct Place {
  shadow_format_error error = SHADOW_FORMAT_BLANK;
  Header header{};                 // if error is OK, or the bit below is flipped back
  std::optional<FlippedBit> flip;  // damaged by exactly one bit
  [[nodiscard]] bool ok() const { return error == SHADOW_FORMAT_OK; }
  /// Its contents are known for sure.
  [[nodiscard]] bool known() const { return ok() || flip.has_value(); }
};

using SuperblockPlace = Place<shadow_superblock>;
using PagePlace = Place<shadow_page_header>;

/// Slot pages end where the device did when it got its first tier, however far that is behind the
/// state pages: the bytes between, which nobody uses, are not in memory.
class Image {
 public:
  /// @device: its first bytes. @slots: what lies from slots_at() to the end of the slot pages;
  /// empty: it is taken from `device` if that reaches so far, or the volume has no tiers.
  explicit Image(Bytes device, Bytes slots = {})
      : head_(std::move(device)), slots_(std::move(slots)) {
    Decode();
  }

  /// From the start to the end of the state pages, or less if the device ends before.
  [[nodiscard]] const Bytes& head() const { return head_; }
  /// The slot pages, if there are any and they lie on the device.
  [[nodiscard]] const Bytes& slots() const { return slots_; }
  [[nodiscard]] bool blank() const;
  [[nodiscard]] const SuperblockPlace& superblock(unsigned place) const { return sb_[place]; }
  /// The newest superblock whose contents are known; nullptr if there is none.
  [[nodiscard]] const shadow_superblock* newest() const;
  [[nodiscard]] unsigned newest_place() const { return newest_; }

  [[nodiscard]] std::uint64_t nr_blocks() const;
  /// Pages that the superblock asks for and that lie inside the device.
  [[nodiscard]] std::uint32_t nr_pages() const { return static_cast<std::uint32_t>(pages_.size()); }
  /// Of the device; of its first part; of the slot pages and where they begin, 0 without tiers.
  [[nodiscard]] std::uint64_t needed_bytes() const;
  [[nodiscard]] std::uint64_t state_bytes() const;
  [[nodiscard]] std::uint64_t slots_bytes() const;
  [[nodiscard]] std::uint64_t slots_at() const;
  [[nodiscard]] const PagePlace& page(std::uint32_t number, unsigned copy) const {
    return pages_[number][copy];
  }
  [[nodiscard]] static std::uint64_t PageOffset(std::uint32_t number, unsigned copy) {
    return 512 * shadow_page_sector(number, copy);
  }
  /// The 4 KiB of a copy with its flipped bit, if any, put right.
  [[nodiscard]] Bytes PageBytes(std::uint32_t number, unsigned copy) const;
  /// The copy the kernel would take: the newer one of those that are known.
  [[nodiscard]] std::optional<unsigned> Pick(std::uint32_t number) const {
    return PickOf(pages_[number]);
  }

  /// The same for slot pages; there are none if the volume has no tiers.
  [[nodiscard]] std::uint32_t nr_slot_pages() const {
    return static_cast<std::uint32_t>(slot_pages_.size());
  }
  [[nodiscard]] const PagePlace& slot_page(std::uint32_t number, unsigned copy) const {
    return slot_pages_[number][copy];
  }
  [[nodiscard]] std::uint64_t SlotPageOffset(std::uint32_t number, unsigned copy) const {
    return 512 * shadow_slot_page_sector(newest()->slot_end, number, copy);
  }
  /// The same from slots_at() on.
  [[nodiscard]] std::size_t PlaceInSlots(std::uint32_t number, unsigned copy) const {
    return SlotPageOffset(number, copy) - slots_at();
  }
  [[nodiscard]] Bytes SlotPageBytes(std::uint32_t number, unsigned copy) const;
  [[nodiscard]] std::optional<unsigned> PickSlotPage(std::uint32_t number) const {
    return PickOf(slot_pages_[number]);
  }

 private:
  using Copies = std::array<PagePlace, 2>;
  void Decode();
  void DecodeCopy(PagePlace& place, std::uint8_t* p, std::uint32_t number, bool slots);
  [[nodiscard]] static Bytes Mended(const std::uint8_t* p, const PagePlace& place);
  [[nodiscard]] static std::optional<unsigned> PickOf(const Copies& copies);

  Bytes head_, slots_;
  std::array<SuperblockPlace, 2> sb_;
  unsigned newest_ = 0;
  bool found_ = false;
  std::vector<Copies> pages_, slot_pages_;
};

/// A change of one aligned 4 KiB of the device.
struct Write {
  std::uint64_t offset;
  Bytes data;
};

/// An open device or file, nobody else's while this lives.
class Device {
 public:
  static Result<Device> Open(const std::string& path, bool writable);
  /// Creates the file if it is none; @bytes is what a file shall hold at least.
  static Result<Device> Create(const std::string& path, std::uint64_t bytes);
  Device(Device&& o) noexcept : fd_(o.fd_), size_(o.size_), path_(std::move(o.path_)) {
    o.fd_ = -1;
  }
  Device& operator=(Device&&) = delete;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Superblocks and all pages, no more.
  [[nodiscard]] Result<Image> Read() const;
  /// Durable when it returns.
  [[nodiscard]] Status Apply(const std::vector<Write>& writes) const;

 private:
  Device(int fd, std::uint64_t size, std::string path)
      : fd_(fd), size_(size), path_(std::move(path)) {}
  static Result<Device> Take(int fd, const std::string& path);

  int fd_;
  std::uint64_t size_;
  std::string path_;
};

}  // namespace shadow::metadata
