// SPDX-License-Identifier: Apache-2.0
// Line parsers of the text trace formats. Pure; see formats.h.
//
// Sources of the formats: SNIA IOTTA (MSR Cambridge README), SPC Trace File Format Specification
// 1.0.1 (ASU,LBA,size,opcode,time; LBA in 512-byte units), blkreplay's "start ; sector ; length ;
// op", blkparse(1) "DEFAULT OUTPUT".
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "pam/trace/formats.h"

namespace shadow::pam::internal {
namespace {

constexpr std::uint64_t kSector = 512;

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

/// Splits at `sep` into at most N trimmed fields; returns how many there were (N + 1 if more).
template <std::size_t N>
std::size_t Split(std::string_view line, char sep, std::array<std::string_view, N>& out) {
  std::size_t n = 0;
  while (true) {
    const std::size_t at = line.find(sep);
    if (n == N) return N + 1;
    out[n++] = Trim(line.substr(0, at));
    if (at == std::string_view::npos) return n;
    line.remove_prefix(at + 1);
  }
}

bool ToU64(std::string_view s, std::uint64_t* out) {
  const auto [p, ec] = std::from_chars(s.data(), s.data() + s.size(), *out);
  return ec == std::errc() && p == s.data() + s.size() && !s.empty();
}

bool ToI64(std::string_view s, std::int64_t* out) {
  const auto [p, ec] = std::from_chars(s.data(), s.data() + s.size(), *out);
  return ec == std::errc() && p == s.data() + s.size() && !s.empty();
}

/// Seconds with a fraction -> microseconds, exact in integers; refuses NaN, inf and exponents.
bool SecondsToMicros(std::string_view s, std::int64_t* out) {
  const bool negative = !s.empty() && s.front() == '-';
  if (negative) s.remove_prefix(1);
  const std::size_t dot = s.find('.');
  std::uint64_t whole = 0;
  if (!ToU64(s.substr(0, dot), &whole) || whole > (std::uint64_t{1} << 42)) return false;
  std::uint64_t micros = 0;
  if (dot != std::string_view::npos) {
    std::string_view frac = s.substr(dot + 1);
    std::uint64_t scale = 100'000;
    for (const char c : frac) {
      if (c < '0' || c > '9') return false;
      micros += static_cast<std::uint64_t>(c - '0') * scale;
      scale /= 10;
    }
  }
  const auto total = static_cast<std::int64_t>(whole * 1'000'000 + micros);
  *out = negative ? -total : total;
  return true;
}

bool SectorsToBytes(std::uint64_t sectors, std::uint64_t* bytes) {
  if (sectors > (std::uint64_t{1} << 52)) return false;
  *bytes = sectors * kSector;
  return true;
}

bool SetLength(std::uint64_t length, Request* r) {
  if (length == 0 || length > (std::uint64_t{1} << 30)) return false;
  r->length = static_cast<std::uint32_t>(length);
  return true;
}

LineResult Bad(const char* reason) { return {LineResult::kBad, {}, reason}; }
LineResult Nothing() { return {}; }
LineResult Good(const Request& r) { return {LineResult::kRequest, r, ""}; }

/// 'R'/'r'/"Read" -> false, 'W'/"Write" -> true; anything else fails.
bool ToWrite(std::string_view op, bool* write) {
  if (op == "R" || op == "r" || op == "Read" || op == "read") {
    *write = false;
    return true;
  }
  if (op == "W" || op == "w" || op == "Write" || op == "write") {
    *write = true;
    return true;
  }
  return false;
}

}  // namespace

LineResult ParseCsvLine(std::string_view line, Collector& out) {
  std::array<std::string_view, 4> f;
  if (line.starts_with("timestamp_us")) return Nothing();
  if (Split(line, ',', f) != 4) return Bad("not timestamp_us,offset_bytes,length_bytes,op");
  Request r;
  std::uint64_t length = 0;
  if (!ToI64(f[0], &r.time_us)) return Bad("the time stamp is no whole number");
  if (!ToU64(f[1], &r.offset)) return Bad("the offset is no whole number");
  if (!ToU64(f[2], &length) || !SetLength(length, &r)) return Bad("the length is not 1 B to 1 GiB");
  if (!ToWrite(f[3], &r.write)) return Bad("the operation is neither R nor W");
  r.device = out.Device("0");
  return Good(r);
}

LineResult ParseMsrLine(std::string_view line, Collector& out) {
  std::array<std::string_view, 7> f;
  if (Split(line, ',', f) != 7) return Bad("not the 7 columns of MSR Cambridge");
  if (f[0] == "Timestamp") return Nothing();
  std::uint64_t ticks = 0;
  std::uint64_t length = 0;
  Request r;
  if (!ToU64(f[0], &ticks)) return Bad("the time stamp is no whole number");
  // Windows file time: 100 ns since 1601. Smaller numbers are already relative.
  constexpr std::uint64_t kEpoch = 116'444'736'000'000'000;
  if (ticks >= kEpoch) ticks -= kEpoch;
  r.time_us = static_cast<std::int64_t>(ticks / 10);
  if (!ToWrite(f[3], &r.write)) return Bad("the type is neither Read nor Write");
  if (!ToU64(f[4], &r.offset)) return Bad("the offset is no whole number");
  if (!ToU64(f[5], &length) || !SetLength(length, &r)) return Bad("the size is not 1 B to 1 GiB");
  r.device = out.Device(std::string(f[1]) + "." + std::string(f[2]));
  return Good(r);
}

LineResult ParseSpcLine(std::string_view line, Collector& out) {
  std::array<std::string_view, 8> f;  // optional trailing fields are allowed by the format
  const std::size_t n = Split(line, ',', f);
  if (n < 5) return Bad("not ASU,LBA,size,opcode,time");
  std::uint64_t asu = 0;
  std::uint64_t lba = 0;
  std::uint64_t length = 0;
  Request r;
  if (!ToU64(f[0], &asu)) return Bad("the ASU is no whole number");
  if (!ToU64(f[1], &lba) || !SectorsToBytes(lba, &r.offset)) return Bad("the LBA is bad");
  if (!ToU64(f[2], &length) || !SetLength(length, &r)) return Bad("the size is not 1 B to 1 GiB");
  if (!ToWrite(f[3], &r.write)) return Bad("the opcode is neither R nor W");
  if (!SecondsToMicros(f[4], &r.time_us)) return Bad("the time stamp is no number of seconds");
  r.device = out.Device(f[0]);
  return Good(r);
}

LineResult ParseBlkreplayLine(std::string_view line, Collector& out) {
  std::array<std::string_view, 8> f;
  const std::string_view t = Trim(line);
  if (t.empty() || t.front() == '#' || t.starts_with("INFO") || t.starts_with("start")) {
    return Nothing();
  }
  const std::size_t n = Split(line, ';', f);
  if (n < 4) return Bad("not start ; sector ; length ; op");
  std::uint64_t sector = 0;
  std::uint64_t sectors = 0;
  std::uint64_t bytes = 0;
  Request r;
  if (!SecondsToMicros(f[0], &r.time_us)) return Bad("the start is no number of seconds");
  if (!ToU64(f[1], &sector) || !SectorsToBytes(sector, &r.offset)) return Bad("the sector is bad");
  if (!ToU64(f[2], &sectors) || !SectorsToBytes(sectors, &bytes) || !SetLength(bytes, &r)) {
    return Bad("the length is not 1 sector to 1 GiB");
  }
  if (!ToWrite(f[3], &r.write)) return Bad("the operation is neither R nor W");
  r.device = out.Device("0");
  return Good(r);
}

LineResult ParseBlkparseLine(std::string_view line, Collector& out) {
  // "  8,0    3        1     0.000000000   697  Q  WS 223490 + 8 [kjournald]"
  std::array<std::string_view, 10> f;
  std::size_t n = 0;
  std::string_view rest = line;
  while (n < f.size()) {
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t')) rest.remove_prefix(1);
    if (rest.empty()) break;
    const std::size_t at = rest.find_first_of(" \t");
    f[n++] = rest.substr(0, at);
    if (at == std::string_view::npos) break;
    rest.remove_prefix(at);
  }
  if (n == 0) return Nothing();
  std::int64_t time = 0;
  const bool event = n >= 6 && f[0].find(',') != std::string_view::npos;
  if (!event) {
    // The summary after the events ("CPU0 (sda):", "Total", " Reads Queued: ...") is no damage.
    const bool starts_digit = f[0].front() >= '0' && f[0].front() <= '9';
    return starts_digit ? Bad("not the default output of blkparse") : Nothing();
  }
  if (!SecondsToMicros(f[3], &time)) return Bad("the time stamp is no number of seconds");
  if (f[5] == "A") {
    out.Stacked(out.Device(f[0]));  // this device got the request from one above it
    return Nothing();
  }
  if (f[5] != "Q") return Nothing();
  const std::string_view rwbs = n > 6 ? f[6] : std::string_view{};
  const bool write = rwbs.find('W') != std::string_view::npos;
  const bool read = rwbs.find('R') != std::string_view::npos;
  if (rwbs.find('D') != std::string_view::npos || (!write && !read)) return Nothing();
  if (n < 10 || f[8] != "+") return write ? Nothing() : Bad("the request has no sector + length");
  Request r;
  std::uint64_t sector = 0;
  std::uint64_t sectors = 0;
  std::uint64_t bytes = 0;
  r.time_us = time;
  r.write = write;
  if (!ToU64(f[7], &sector) || !SectorsToBytes(sector, &r.offset)) return Bad("the sector is bad");
  if (!ToU64(f[9], &sectors)) return Bad("the length is no whole number");
  if (sectors == 0) return Nothing();  // an empty flush
  if (!SectorsToBytes(sectors, &bytes) || !SetLength(bytes, &r)) return Bad("the length is bad");
  r.device = out.Device(f[0]);
  return Good(r);
}

TraceFormat GuessText(std::string_view head) {
  // Each parser is tried on the first lines that say anything; the first that takes one, wins.
  ReadOptions options;
  Collector scratch(options);
  int tried = 0;
  while (!head.empty() && tried < 64) {
    const std::size_t nl = head.find('\n');
    if (nl == std::string_view::npos && tried > 0) break;  // perhaps cut in the middle
    std::string_view line = head.substr(0, nl);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++tried;
    if (line.starts_with("timestamp_us,")) return TraceFormat::kCsv;
    if (ParseCsvLine(line, scratch).kind == LineResult::kRequest) return TraceFormat::kCsv;
    if (ParseMsrLine(line, scratch).kind == LineResult::kRequest) return TraceFormat::kMsr;
    if (ParseSpcLine(line, scratch).kind == LineResult::kRequest) return TraceFormat::kSpc;
    if (ParseBlkreplayLine(line, scratch).kind == LineResult::kRequest) {
      return TraceFormat::kBlkreplay;
    }
    if (ParseBlkparseLine(line, scratch).kind == LineResult::kRequest) {
      return TraceFormat::kBlkparse;
    }
    if (nl == std::string_view::npos) break;
    head.remove_prefix(nl + 1);
  }
  return TraceFormat::kAuto;
}

}  // namespace shadow::pam::internal
