// SPDX-License-Identifier: Apache-2.0
// The parsers behind reader.h: one record in, one request (or nothing, or a reason) out.
//
// Internal to pam/trace. Pure functions of their input but for the device table they extend.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/result.h"
#include "pam/trace/byte_source.h"
#include "pam/trace/reader.h"

namespace shadow::pam::internal {

/// Collects requests while a trace is read; knows the limits and the devices.
class Collector {
 public:
  explicit Collector(const ReadOptions& options) : options_(options) {}

  std::uint16_t Device(std::string_view name);
  /// Checks ranges (length 1 B..1 GiB, offset + length below 2^62, time within +-2^61 us) and keeps
  /// it.
  Status Add(const Request& request, std::uint64_t position);
  /// Counts a damaged record; an error once there are too many.
  Status Damaged(std::uint64_t position, std::string reason);
  /// Remembers that requests of `lower` also show up at an upper device.
  void Stacked(std::uint16_t lower) { stacked_[lower] = true; }
  /// Sorts, drops the doubled devices, and hands the trace out.
  Result<Trace> Finish(TraceFormat format, bool wall_clock);

 private:
  const ReadOptions options_;
  Trace trace_;
  std::map<std::string, std::uint16_t, std::less<>> ids_;
  std::map<std::uint16_t, bool> stacked_;
};

/// A parsed line: a request, nothing (a comment, a header, another event), or a reason it is bad.
struct LineResult {
  enum Kind { kRequest, kNothing, kBad } kind = kNothing;
  Request request;
  const char* reason = "";
};

LineResult ParseCsvLine(std::string_view line, Collector& out);
LineResult ParseMsrLine(std::string_view line, Collector& out);
LineResult ParseSpcLine(std::string_view line, Collector& out);
LineResult ParseBlkreplayLine(std::string_view line, Collector& out);
LineResult ParseBlkparseLine(std::string_view line, Collector& out);

/// What a text trace's first lines look like; kAuto if nothing fits.
TraceFormat GuessText(std::string_view head);
/// True if `head` starts a binary trace of that format.
bool LooksLikeBlktrace(std::string_view head);
int VscsiVersion(std::string_view head);  // 1, 2, or 0

Status ReadBlktrace(BufferedSource& in, Collector& out, bool* wall_clock);
Status ReadVscsi(BufferedSource& in, Collector& out);

}  // namespace shadow::pam::internal
