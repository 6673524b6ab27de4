// SPDX-License-Identifier: Apache-2.0
// Readers of the two binary formats: blktrace (blktrace_record.h) and CloudPhysics vscsi (32-byte
// records of version 1, 40-byte records of version 2, little endian). See formats.h.
#include <bit>

#include "pam/trace/blktrace_record.h"
#include "pam/trace/formats.h"

namespace shadow::pam::internal {
namespace {

bool HostIsLittle() { return std::endian::native == std::endian::little; }

}  // namespace

bool LooksLikeBlktrace(std::string_view head) {
  return head.size() >= kBlktraceRecord && DecodeBlktrace(head).kind != BlktraceRecord::kNoMagic;
}

int VscsiVersion(std::string_view head) {
  if (head.size() < 32) return 0;
  const bool swap = !HostIsLittle();
  // Version 1 keeps the version at byte 14, version 2 at byte 2; the high byte says which.
  const auto v2 = static_cast<unsigned>(LoadField<std::uint16_t>(head, 2, swap) >> 8);
  const auto v1 = static_cast<unsigned>(LoadField<std::uint16_t>(head, 14, swap) >> 8);
  const auto known = [](unsigned cmd) {
    return cmd == 0x08 || cmd == 0x28 || cmd == 0xa8 || cmd == 0x88 || cmd == 0x0a || cmd == 0x2a ||
           cmd == 0xaa || cmd == 0x8a;
  };
  if (v1 == 1 && known(LoadField<std::uint16_t>(head, 12, swap))) return 1;
  if (head.size() >= 40 && v2 == 2 && known(LoadField<std::uint16_t>(head, 0, swap))) return 2;
  return 0;
}

Status ReadBlktrace(BufferedSource& in, Collector& out, bool* wall_clock) {
  std::uint64_t record = 0;
  std::int64_t base_us = 0;
  while (true) {
    SHADOW_ASSIGN(const std::string_view raw, in.Take(kBlktraceRecord));
    if (raw.empty()) return Ok();
    ++record;
    if (raw.size() < kBlktraceRecord) return out.Damaged(record, "the last record is cut short");
    const BlktraceRecord t = DecodeBlktrace(raw);
    if (t.kind == BlktraceRecord::kNoMagic) {
      // Without the magic there is no telling where the next record starts.
      return MakeError(Code::kDataLoss,
                       "blktrace record " + std::to_string(record) + " has no magic number",
                       "the file is damaged from here on; cut it or record it again");
    }
    if (t.kind == BlktraceRecord::kNewer) {
      return MakeError(Code::kInvalidArgument,
                       "blktrace version " + std::to_string(t.version) + " is not known",
                       "only version 7 is read");
    }
    SHADOW_ASSIGN(const std::string_view pdu, in.Take(t.pdu_len));
    if (pdu.size() < t.pdu_len) return out.Damaged(record, "the last record is cut short");
    if (t.kind == BlktraceRecord::kTimestamp) {
      base_us = WallClockBaseUs(t, pdu);
      *wall_clock = true;
      continue;
    }
    const std::string name =
        std::to_string(t.device >> 20) + "," + std::to_string(t.device & 0xfffff);
    if (t.kind == BlktraceRecord::kRemap) {
      out.Stacked(out.Device(name));
      continue;
    }
    if (t.kind != BlktraceRecord::kRequest) continue;
    if (t.sector > (std::uint64_t{1} << 52) || t.time_ns > (std::uint64_t{1} << 62)) {
      SHADOW_TRY(out.Damaged(record, "the sector or the time is out of range"));
      continue;
    }
    Request r;
    r.time_us = base_us + static_cast<std::int64_t>(t.time_ns / 1000);
    r.offset = t.sector * 512;
    r.length = t.bytes;
    r.write = t.write;
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
    if ((LoadField<std::uint16_t>(raw, ver_at, swap) >> 8) != version) {
      SHADOW_TRY(out.Damaged(record, "the record has another version"));
      continue;
    }
    const auto cmd = LoadField<std::uint16_t>(raw, cmd_at, swap);
    const bool write = cmd == 0x0a || cmd == 0x2a || cmd == 0xaa || cmd == 0x8a;
    const bool read = cmd == 0x08 || cmd == 0x28 || cmd == 0xa8 || cmd == 0x88;
    if (!write && !read) continue;  // other SCSI commands move no data
    const auto lbn = LoadField<std::uint64_t>(raw, 16, swap);
    const auto ts = LoadField<std::uint64_t>(raw, 24, swap);
    if (lbn > (std::uint64_t{1} << 52) || ts > (std::uint64_t{1} << 60)) {
      SHADOW_TRY(out.Damaged(record, "the sector or the time is out of range"));
      continue;
    }
    Request r;
    r.time_us = static_cast<std::int64_t>(ts);
    r.offset = lbn * 512;
    r.length = LoadField<std::uint32_t>(raw, len_at, swap);
    r.write = write;
    r.device = out.Device("0");
    SHADOW_TRY(out.Add(r, record));
  }
}

}  // namespace shadow::pam::internal
