// SPDX-License-Identifier: Apache-2.0
#include "tools/metadata/image.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <unordered_map>

namespace shadow::metadata {
namespace {

std::uint32_t Get32(const std::uint8_t* p) {
  return p[0] | p[1] << 8 | p[2] << 16 | static_cast<std::uint32_t>(p[3]) << 24;
}

/// A checksum is linear: what a flipped bit does to it depends on its place alone.
/// @from: first byte that the checksum covers. Result: checksum difference -> bit of the buffer.
const std::unordered_map<std::uint32_t, unsigned>& Syndromes(unsigned from) {
  static std::unordered_map<unsigned, std::unordered_map<std::uint32_t, unsigned>> all;
  auto& table = all[from];
  if (!table.empty()) return table;
  // from the last byte on: a zero byte more behind a bit moves its difference on by eight steps
  std::array<std::uint32_t, 8> difference;
  const std::uint8_t zero = 0;
  for (unsigned bit = 0; bit < 8; bit++) {
    const auto byte = static_cast<std::uint8_t>(1u << bit);
    difference[bit] = shadow_crc32c(0, &byte, 1);
  }
  for (unsigned byte = kPage; byte-- > from;)
    for (unsigned bit = 0; bit < 8; bit++) {
      table[difference[bit]] = byte * 8 + bit;
      difference[bit] = shadow_crc32c(difference[bit], &zero, 1);
    }
  return table;
}

/// The single bit whose flip makes the buffer decode, if there is one.
template <typename DecodeFn>
std::optional<FlippedBit> FindFlip(std::uint8_t* p, unsigned crc_at, unsigned covered_from,
                                   DecodeFn decode) {
  const auto works = [&](unsigned position) {
    p[position / 8] ^= static_cast<std::uint8_t>(1u << (position % 8));
    const bool ok = decode(p) == SHADOW_FORMAT_OK;
    p[position / 8] ^= static_cast<std::uint8_t>(1u << (position % 8));
    return ok;
  };
  const std::uint32_t difference =
      Get32(p + crc_at) ^ shadow_crc32c(~0u, p + covered_from, kPage - covered_from);
  if (difference == 0) {  // what the checksum does not cover: the magic number
    for (unsigned position = 0; position < crc_at * 8; position++)
      if (works(position)) return FlippedBit{position / 8, position % 8};
    return std::nullopt;
  }
  if (std::has_single_bit(difference)) {  // the checksum itself
    const unsigned position = crc_at * 8 + static_cast<unsigned>(std::countr_zero(difference));
    if (works(position)) return FlippedBit{position / 8, position % 8};
  }
  const auto& table = Syndromes(covered_from);
  const auto hit = table.find(difference);
  if (hit == table.end() || !works(hit->second)) return std::nullopt;
  return FlippedBit{hit->second / 8, hit->second % 8};
}

Error Failed(const std::string& path, const char* what) {
  const int e = errno;
  if (e == EBUSY || e == EWOULDBLOCK)
    return MakeError(Code::kFailedPrecondition, path + " is in use",
                     "remove the volume that uses it first (dmsetup remove)");
  const Code code = e == ENOENT                 ? Code::kNotFound
                    : e == EACCES || e == EPERM ? Code::kPermissionDenied
                                                : Code::kIoError;
  return MakeError(code, std::string("cannot ") + what + " " + path + ": " + strerror(e));
}

}  // namespace

void Image::Decode() {
  if (head_.size() < 2 * kPage) head_.resize(2 * kPage);
  for (unsigned place = 0; place < 2; place++) {
    auto& s = sb_[place];
    std::uint8_t* p = head_.data() + place * kPage;
    s.error = shadow_sb_decode(p, &s.header);
    const auto decode = [&](const std::uint8_t* q) { return shadow_sb_decode(q, &s.header); };
    if (!s.ok() && s.error != SHADOW_FORMAT_BLANK) s.flip = FindFlip(p, 8, 12, decode);
    if (s.flip) {  // decode once more, for the header
      p[s.flip->byte] ^= static_cast<std::uint8_t>(1u << s.flip->bit);
      shadow_sb_decode(p, &s.header);
      p[s.flip->byte] ^= static_cast<std::uint8_t>(1u << s.flip->bit);
    }
    if (s.known() && (!found_ || s.header.generation > sb_[newest_].header.generation)) {
      newest_ = place;
      found_ = true;
    }
  }
  if (!found_) return;
  const std::uint64_t room =
      head_.size() <= PageOffset(0, 0) ? 0 : (head_.size() - PageOffset(0, 0)) / (2 * kPage);
  pages_.resize(std::min<std::uint64_t>(shadow_nr_pages(nr_blocks()), room));
  for (std::uint32_t n = 0; n < pages_.size(); n++)
    for (unsigned copy = 0; copy < 2; copy++)
      DecodeCopy(pages_[n][copy], head_.data() + PageOffset(n, copy), n, false);
  if (slots_.empty() && slots_at() + slots_bytes() <= head_.size()) {
    const auto first = head_.begin() + static_cast<std::ptrdiff_t>(slots_at());
    slots_.assign(first, first + static_cast<std::ptrdiff_t>(slots_bytes()));
  }
  head_.resize(std::min<std::uint64_t>(head_.size(), state_bytes()));
  // page 0 is the last of the area: if the device ends before, the first ones are missing
  if (slots_.size() != slots_bytes()) slots_.clear();
  if (slots_.empty()) return;
  slot_pages_.resize(shadow_nr_slot_pages(nr_blocks()));
  for (std::uint32_t n = 0; n < slot_pages_.size(); n++)
    for (unsigned copy = 0; copy < 2; copy++)
      DecodeCopy(slot_pages_[n][copy], slots_.data() + PlaceInSlots(n, copy), n, true);
}

void Image::DecodeCopy(PagePlace& place, std::uint8_t* p, std::uint32_t number, bool slots) {
  const std::uint64_t tag = shadow_uuid_tag(newest()->uuid);
  const auto decode = [&](const std::uint8_t* q) {
    return slots ? shadow_slot_page_decode(q, tag, number, &place.header)
                 : shadow_page_decode(q, tag, number, &place.header);
  };
  place.error = decode(p);
  if (!place.ok() && place.error != SHADOW_FORMAT_BLANK &&
      place.error != SHADOW_FORMAT_OTHER_VOLUME)
    place.flip = FindFlip(p, 4, 8, decode);
  if (!place.flip) return;
  p[place.flip->byte] ^= static_cast<std::uint8_t>(1u << place.flip->bit);
  decode(p);
  p[place.flip->byte] ^= static_cast<std::uint8_t>(1u << place.flip->bit);
}

bool Image::blank() const {
  return sb_[0].error == SHADOW_FORMAT_BLANK && sb_[1].error == SHADOW_FORMAT_BLANK;
}

const shadow_superblock* Image::newest() const { return found_ ? &sb_[newest_].header : nullptr; }

std::uint64_t Image::nr_blocks() const {
  return found_ ? shadow_nr_blocks(newest()->tracked_sectors, newest()->block_sectors) : 0;
}

std::uint64_t Image::needed_bytes() const {
  return std::max(state_bytes(), found_ ? 512 * newest()->slot_end : 0);
}

std::uint64_t Image::state_bytes() const {
  return found_ ? 512 * shadow_metadata_sectors(nr_blocks()) : 2 * kPage;
}

std::uint64_t Image::slots_bytes() const {
  if (!found_ || newest()->slot_end == 0) return 0;
  return std::uint64_t{shadow_nr_slot_pages(nr_blocks())} * 2 * kPage;
}

std::uint64_t Image::slots_at() const {
  return found_ ? 512 * newest()->slot_end - slots_bytes() : 0;
}

Bytes Image::Mended(const std::uint8_t* p, const PagePlace& place) {
  Bytes b(p, p + kPage);
  if (place.flip) b[place.flip->byte] ^= static_cast<std::uint8_t>(1u << place.flip->bit);
  return b;
}

Bytes Image::PageBytes(std::uint32_t number, unsigned copy) const {
  return Mended(head_.data() + PageOffset(number, copy), pages_[number][copy]);
}

Bytes Image::SlotPageBytes(std::uint32_t number, unsigned copy) const {
  return Mended(slots_.data() + PlaceInSlots(number, copy), slot_pages_[number][copy]);
}

std::optional<unsigned> Image::PickOf(const Copies& c) {
  if (!c[0].known() && !c[1].known()) return std::nullopt;
  if (!c[0].known()) return 1;
  if (!c[1].known()) return 0;
  return c[1].header.generation > c[0].header.generation ? 1 : 0;
}

Result<Device> Device::Take(int fd, const std::string& path) {
  struct stat st {};
  std::uint64_t size = 0;
  bool ok = fstat(fd, &st) == 0;
  if (ok && S_ISBLK(st.st_mode))
    ok = ioctl(fd, BLKGETSIZE64, &size) == 0;
  else if (ok && S_ISREG(st.st_mode))
    size = static_cast<std::uint64_t>(st.st_size);
  else if (ok)
    errno = ENOTBLK, ok = false;
  if (ok && S_ISREG(st.st_mode)) ok = flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (ok) return Device(fd, size, path);
  const Error e = Failed(path, "use");
  close(fd);
  return e;
}

Result<Device> Device::Open(const std::string& path, bool writable) {
  const int fd =
      open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_EXCL | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Failed(path, "open");
  return Take(fd, path);
}

Result<Device> Device::Create(const std::string& path, std::uint64_t bytes) {
  struct stat st {};
  const bool block = stat(path.c_str(), &st) == 0 && S_ISBLK(st.st_mode);
  const int fd = block ? open(path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC)
                       : open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Failed(path, "open");
  auto device = Take(fd, path);
  if (!device.ok()) return device;
  if (!block && device->size_ < bytes) {
    if (ftruncate(fd, static_cast<off_t>(bytes)) < 0) return Failed(path, "extend");
    device->size_ = bytes;
  }
  if (device->size_ < bytes)
    return MakeError(Code::kOutOfSpace, path + " has " + std::to_string(device->size_) +
                                            " bytes, but " + std::to_string(bytes) + " are needed");
  return device;
}

Device::~Device() {
  if (fd_ >= 0) close(fd_);
}

Result<Image> Device::Read() const {
  const auto read = [&](std::uint64_t from, std::uint64_t size) -> Result<Bytes> {
    Bytes b(std::min(size, size_ - from));
    for (std::size_t at = 0; at < b.size();) {
      const ssize_t n = pread(fd_, b.data() + at, b.size() - at, static_cast<off_t>(from + at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed(path_, "read");
      if (n == 0) return MakeError(Code::kIoError, path_ + " ends before its size");
      at += static_cast<std::size_t>(n);
    }
    return b;
  };
  SHADOW_ASSIGN(Bytes superblocks, read(0, 2 * kPage));
  const Image first(std::move(superblocks));
  SHADOW_ASSIGN(Bytes head, read(0, first.state_bytes()));
  if (first.slots_bytes() == 0 || first.needed_bytes() > size_) return Image(std::move(head));
  SHADOW_ASSIGN(Bytes slots, read(first.slots_at(), first.slots_bytes()));
  return Image(std::move(head), std::move(slots));
}

Status Device::Apply(const std::vector<Write>& writes) const {
  for (const auto& w : writes)
    for (std::size_t at = 0; at < w.data.size();) {
      const ssize_t n =
          pwrite(fd_, w.data.data() + at, w.data.size() - at, static_cast<off_t>(w.offset + at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed(path_, "write");
      at += static_cast<std::size_t>(n);
    }
  if (fsync(fd_) < 0) return Failed(path_, "flush");
  return Ok();
}

}  // namespace shadow::metadata
