// SPDX-License-Identifier: Apache-2.0
// Readers of the two binary formats: blktrace (include/uapi/linux/blktrace_api.h: 48-byte records
// of either byte order, followed by pdu_len bytes) and CloudPhysics vscsi (32-byte records of
// version 1, 40-byte records of version 2, little endian). See formats.h.
#include <bit>
#include <cstring>

#include "pam/trace/formats.h"

namespace shadow::pam::internal {
namespace {

constexpr std::uint32_t kBlkMagic = 0x65617400;  // low byte is the version, 7
constexpr std::size_t kBlkRecord = 48;
constexpr std::uint32_t kActMask = 0xffff;
constexpr std::uint32_t kActQueue = 1;
constexpr std::uint32_t kActRemap = 15;
constexpr std::uint32_t kTcWrite = 1u << (1 + 16);
constexpr std::uint32_t kTcNotify = 1u << (10 + 16);
constexpr std::uint32_t kTcDiscard = 1u << (13 + 16);
constexpr std::uint32_t kNotifyTimestamp = 1;

template <typename T>
T Load(std::string_view data, std::size_t at, bool swap) {
  T value;
  std::memcpy(&value, data.data() + at, sizeof(T));
  if (swap) {
    T out = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      out = static_cast<T>(out << 8) | static_cast<T>((value >> (8 * i)) & 0xff);
    }
    value = out;
  }
  return value;
}

bool HostIsLittle() { return std::endian::native == std::endian::little; }

}  // namespace

bool LooksLikeBlktrace(std::string_view head) {
  if (head.size() < kBlkRecord) return false;
  const auto magic = Load<std::uint32_t>(head, 0, false);
  const auto swapped = Load<std::uint32_t>(head, 0, true);
  return (magic & 0xffffff00) == kBlkMagic || (swapped & 0xffffff00) == kBlkMagic;
}

int VscsiVersion(std::string_view head) {
  if (head.size() < 32) return 0;
  const bool swap = !HostIsLittle();
  // Version 1 keeps the version at byte 14, version 2 at byte 2; the high byte says which.
  const auto v2 = static_cast<unsigned>(Load<std::uint16_t>(head, 2, swap) >> 8);
  const auto v1 = static_cast<unsigned>(Load<std::uint16_t>(head, 14, swap) >> 8);
  const auto known = [](unsigned cmd) {
    return cmd == 0x08 || cmd == 0x28 || cmd == 0xa8 || cmd == 0x88 || cmd == 0x0a || cmd == 0x2a ||
           cmd == 0xaa || cmd == 0x8a;
  };
  if (v1 == 1 && known(Load<std::uint16_t>(head, 12, swap))) return 1;
  if (head.size() >= 40 && v2 == 2 && known(Load<std::uint16_t>(head, 0, swap))) return 2;
  return 0;
}

Status ReadBlktrace(BufferedSource& in, Collector& out, bool* wall_clock) {
  std::uint64_t record = 0;
  std::int64_t base_us = 0;
  while (true) {
    SHADOW_ASSIGN(const std::string_view raw, in.Take(kBlkRecord));
    if (raw.empty()) return Ok();
    ++record;
    if (raw.size() < kBlkRecord) return out.Damaged(record, "the last record is cut short");
    const bool swap = (Load<std::uint32_t>(raw, 0, false) & 0xffffff00) != kBlkMagic;
    const auto magic = Load<std::uint32_t>(raw, 0, swap);
    if ((magic & 0xffffff00) != kBlkMagic) {
      // Without the magic there is no telling where the next record starts.
      return MakeError(Code::kDataLoss,
                       "blktrace record " + std::to_string(record) + " has no magic number",
                       "the file is damaged from here on; cut it or record it again");
    }
    if ((magic & 0xff) != 7) {
      return MakeError(Code::kInvalidArgument,
                       "blktrace version " + std::to_string(magic & 0xff) + " is not known",
                       "only version 7 is read");
    }
    const auto time_ns = Load<std::uint64_t>(raw, 8, swap);
    const auto sector = Load<std::uint64_t>(raw, 16, swap);
    const auto bytes = Load<std::uint32_t>(raw, 24, swap);
    const auto action = Load<std::uint32_t>(raw, 28, swap);
    const auto device = Load<std::uint32_t>(raw, 36, swap);
    const auto pdu_len = Load<std::uint16_t>(raw, 46, swap);
    SHADOW_ASSIGN(const std::string_view pdu, in.Take(pdu_len));
    if (pdu.size() < pdu_len) return out.Damaged(record, "the last record is cut short");
    if ((action & kTcNotify) != 0) {
      if ((action & kActMask) == kNotifyTimestamp && pdu_len >= 8) {
        base_us = static_cast<std::int64_t>(Load<std::uint32_t>(pdu, 0, swap)) * 1'000'000 +
                  Load<std::uint32_t>(pdu, 4, swap) / 1000 -
                  static_cast<std::int64_t>(time_ns / 1000);
        *wall_clock = true;
      }
      continue;
    }
    const std::string name = std::to_string(device >> 20) + "," + std::to_string(device & 0xfffff);
    if ((action & kActMask) == kActRemap) {
      out.Stacked(out.Device(name));
      continue;
    }
    if ((action & kActMask) != kActQueue || bytes == 0 || (action & kTcDiscard) != 0) continue;
    if (sector > (std::uint64_t{1} << 52) || time_ns > (std::uint64_t{1} << 62)) {
      SHADOW_TRY(out.Damaged(record, "the sector or the time is out of range"));
      continue;
    }
    Request r;
    r.time_us = base_us + static_cast<std::int64_t>(time_ns / 1000);
    r.offset = sector * 512;
    r.length = bytes;
    r.write = (action & kTcWrite) != 0;
    r.device = out.Device(name);
    SHADOW_TRY(out.Add(r, record));
  }
}

Status ReadVscsi(BufferedSource& in, Collector& out) {
  SHADOW_ASSIGN(const std::string_view head, in.Peek(40));
  const int version = VscsiVersion(head);
  if (version == 0) return MakeError(Code::kInvalidArgument, "this is no vscsi trace");
  const std::size_t size = version == 1 ? 32 : 40;
  const bool swap = !HostIsLittle();
  std::uint64_t record = 0;
  while (true) {
    SHADOW_ASSIGN(const std::string_view raw, in.Take(size));
    if (raw.empty()) return Ok();
    ++record;
    if (raw.size() < size) return out.Damaged(record, "the last record is cut short");
    const std::size_t cmd_at = version == 1 ? 12 : 0;
    const std::size_t ver_at = version == 1 ? 14 : 2;
    const std::size_t len_at = version == 1 ? 4 : 8;
    if ((Load<std::uint16_t>(raw, ver_at, swap) >> 8) != version) {
      SHADOW_TRY(out.Damaged(record, "the record has another version"));
      continue;
    }
    const auto cmd = Load<std::uint16_t>(raw, cmd_at, swap);
    const bool write = cmd == 0x0a || cmd == 0x2a || cmd == 0xaa || cmd == 0x8a;
    const bool read = cmd == 0x08 || cmd == 0x28 || cmd == 0xa8 || cmd == 0x88;
    if (!write && !read) continue;  // other SCSI commands move no data
    const auto lbn = Load<std::uint64_t>(raw, 16, swap);
    const auto ts = Load<std::uint64_t>(raw, 24, swap);
    if (lbn > (std::uint64_t{1} << 52) || ts > (std::uint64_t{1} << 60)) {
      SHADOW_TRY(out.Damaged(record, "the sector or the time is out of range"));
      continue;
    }
    Request r;
    r.time_us = static_cast<std::int64_t>(ts);
    r.offset = lbn * 512;
    r.length = Load<std::uint32_t>(raw, len_at, swap);
    r.write = write;
    r.device = out.Device("0");
    SHADOW_TRY(out.Add(r, record));
  }
}

}  // namespace shadow::pam::internal
