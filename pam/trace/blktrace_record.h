// SPDX-License-Identifier: Apache-2.0
// One record of a blktrace stream (struct blk_io_trace of include/uapi/linux/blktrace_api.h, 48
// bytes, then pdu_len bytes) and what it means to us. For files of either byte order and for the
// live stream of daemon/trace.
//
// Pure functions without state; nothing is read past `raw`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace shadow::pam {

inline constexpr std::size_t kBlktraceRecord = 48;  // bytes before the pdu
inline constexpr unsigned kBlktraceVersion = 7;

template <typename T>
T LoadField(std::string_view data, std::size_t at, bool swap) {
  T value;
  std::memcpy(&value, data.data() + at, sizeof(T));
  if (!swap) return value;
  T out = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out = static_cast<T>(out << 8) | static_cast<T>((value >> (8 * i)) & 0xff);
  }
  return out;
}

struct BlktraceRecord {
  enum Kind {
    kOther,      // another event, or a request without data (a flush)
    kRequest,    // a read or a write was queued: each request shows up as exactly one of these
    kRemap,      // came from a device above this one
    kNote,       // about a process or from a driver; such records have no sequence number
    kTimestamp,  // a note: the pdu holds the wall clock at `time_ns`: seconds, nanoseconds (32 bits
                 // each)
    kDiscard,    // queued, too, but moves no data
    kNoMagic,    // no record
    kNewer,      // of a version that we do not know
  };
  Kind kind = kNoMagic;
  bool swap = false;   // the other byte order
  bool write = false;  // of kRequest
  unsigned version = 0;
  std::uint32_t sequence = 0;  // of its CPU, from 1, without gaps
  std::uint64_t time_ns = 0;   // CLOCK_MONOTONIC
  std::uint64_t sector = 0;    // 512 bytes
  std::uint32_t bytes = 0;
  std::uint32_t device = 0;   // major << 20 | minor
  std::uint16_t pdu_len = 0;  // bytes that follow
};

/// Decodes the first kBlktraceRecord bytes of `raw`, which must hold them.
inline BlktraceRecord DecodeBlktrace(std::string_view raw) {
  constexpr std::uint32_t kMagic = 0x65617400, kActionMask = 0xffff, kFromCgroup = 1u << 8;
  constexpr std::uint32_t kQueue = 1, kRemapped = 15, kNotifyTimestamp = 1;
  constexpr std::uint32_t kWrite = 1u << (1 + 16), kNotify = 1u << (10 + 16);
  constexpr std::uint32_t kDiscarded = 1u << (13 + 16);
  BlktraceRecord r;
  r.swap = (LoadField<std::uint32_t>(raw, 0, false) & 0xffffff00) != kMagic;
  const auto magic = LoadField<std::uint32_t>(raw, 0, r.swap);
  if ((magic & 0xffffff00) != kMagic) return r;
  r.version = magic & 0xff;
  if (r.version != kBlktraceVersion) {
    r.kind = BlktraceRecord::kNewer;
    return r;
  }
  r.sequence = LoadField<std::uint32_t>(raw, 4, r.swap);
  r.time_ns = LoadField<std::uint64_t>(raw, 8, r.swap);
  r.sector = LoadField<std::uint64_t>(raw, 16, r.swap);
  r.bytes = LoadField<std::uint32_t>(raw, 24, r.swap);
  r.device = LoadField<std::uint32_t>(raw, 36, r.swap);
  r.pdu_len = LoadField<std::uint16_t>(raw, 46, r.swap);
  const auto action = LoadField<std::uint32_t>(raw, 28, r.swap);
  const std::uint32_t what = action & kActionMask & ~kFromCgroup;
  r.write = (action & kWrite) != 0;
  r.kind = BlktraceRecord::kOther;
  if ((action & kNotify) != 0) {
    r.kind = what == kNotifyTimestamp && r.pdu_len >= 8 ? BlktraceRecord::kTimestamp
                                                        : BlktraceRecord::kNote;
  } else if (what == kRemapped) {
    r.kind = BlktraceRecord::kRemap;
  } else if (what == kQueue && r.bytes != 0) {
    r.kind = (action & kDiscarded) != 0 ? BlktraceRecord::kDiscard : BlktraceRecord::kRequest;
  }
  return r;
}

/// Microseconds to add to a record's time to get the time since the epoch, from a kTimestamp
/// record.
inline std::int64_t WallClockBaseUs(const BlktraceRecord& record, std::string_view pdu) {
  return static_cast<std::int64_t>(LoadField<std::uint32_t>(pdu, 0, record.swap)) * 1'000'000 +
         LoadField<std::uint32_t>(pdu, 4, record.swap) / 1000 -
         static_cast<std::int64_t>(record.time_ns / 1000);
}

}  // namespace shadow::pam
