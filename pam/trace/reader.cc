// SPDX-License-Identifier: Apache-2.0
// Format detection, the damage limit, stacked devices, sorting, and the csv writer.
// See reader.h.
#include "pam/trace/reader.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "pam/trace/formats.h"

namespace shadow::pam {
namespace internal {

std::uint16_t Collector::Device(std::string_view name) {
  const auto it = ids_.find(name);
  if (it != ids_.end()) return it->second;
  // 65,535 devices in one trace is damage, not data: the rest shares the last number.
  if (trace_.devices.size() >= 0xffff) return 0xffff - 1;
  const auto id = static_cast<std::uint16_t>(trace_.devices.size());
  trace_.devices.emplace_back(name);
  ids_.emplace(name, id);
  return id;
}

Status Collector::Damaged(std::uint64_t position, std::string reason) {
  ++trace_.skipped;
  if (trace_.damage.size() < 16) trace_.damage.push_back({position, reason});
  if (trace_.skipped > options_.max_damaged) {
    return MakeError(Code::kDataLoss,
                     "more than " + std::to_string(options_.max_damaged) +
                         " damaged records; the last is number " + std::to_string(position) + ": " +
                         reason,
                     "check the format, or allow more with --max-damaged");
  }
  return Ok();
}

Status Collector::Add(const Request& request, std::uint64_t position) {
  constexpr std::int64_t kTimeLimit = std::int64_t{1} << 61;
  if (request.length == 0 || request.length > (1u << 30)) {
    return Damaged(position, "the length is not 1 B to 1 GiB");
  }
  if (request.offset > (std::uint64_t{1} << 61))
    return Damaged(position, "the offset is past 2 EiB");
  if (request.time_us < -kTimeLimit || request.time_us > kTimeLimit) {
    return Damaged(position, "the time stamp is out of range");
  }
  if (trace_.requests.size() >= options_.max_requests) {
    return MakeError(
        Code::kInvalidArgument,
        "the trace has more than " + std::to_string(options_.max_requests) + " requests",
        "raise --max-requests or cut the trace");
  }
  if (!trace_.requests.empty() && request.time_us < trace_.requests.back().time_us) {
    ++trace_.reordered;
  }
  trace_.requests.push_back(request);
  return Ok();
}

Result<Trace> Collector::Finish(TraceFormat format, bool wall_clock) {
  trace_.format = FormatName(format);
  trace_.wall_clock = wall_clock;
  auto& reqs = trace_.requests;
  int keep = -1;
  if (!options_.device.empty()) {
    const auto it = ids_.find(options_.device);
    if (it == ids_.end()) {
      std::string known;
      for (const auto& d : trace_.devices) known += (known.empty() ? "" : " ") + d;
      return MakeError(Code::kNotFound, "the trace has no device " + options_.device,
                       "it has: " + known);
    }
    keep = it->second;
  } else if (!stacked_.empty() && !options_.merge_devices) {
    std::vector<std::uint64_t> count(trace_.devices.size());
    for (const auto& r : reqs) ++count[r.device];
    std::uint64_t best = 0;
    for (std::size_t d = 0; d < count.size(); ++d) {
      const bool lower = stacked_.contains(static_cast<std::uint16_t>(d));
      if (!lower && count[d] > best) {
        best = count[d];
        keep = static_cast<int>(d);
      }
    }
    if (keep < 0) {  // only lower layers were recorded: the busiest of them
      const auto it = std::max_element(count.begin(), count.end());
      if (it != count.end() && *it > 0) keep = static_cast<int>(it - count.begin());
    }
  }
  if (keep >= 0) {
    std::erase_if(reqs, [keep](const Request& r) { return r.device != keep; });
    trace_.devices = {trace_.devices[static_cast<std::size_t>(keep)]};
    for (auto& r : reqs) r.device = 0;
  }
  std::stable_sort(reqs.begin(), reqs.end(),
                   [](const Request& a, const Request& b) { return a.time_us < b.time_us; });
  return std::move(trace_);
}

}  // namespace internal

namespace {

struct NamedFormat {
  TraceFormat format;
  const char* name;
};
constexpr NamedFormat kFormats[] = {{TraceFormat::kAuto, "auto"},
                                    {TraceFormat::kCsv, "csv"},
                                    {TraceFormat::kMsr, "msr"},
                                    {TraceFormat::kSpc, "spc"},
                                    {TraceFormat::kBlkreplay, "blkreplay"},
                                    {TraceFormat::kBlkparse, "blkparse"},
                                    {TraceFormat::kBlktrace, "blktrace"},
                                    {TraceFormat::kVscsi, "vscsi"}};

using LineParser = internal::LineResult (*)(std::string_view, internal::Collector&);

LineParser ParserOf(TraceFormat format) {
  switch (format) {
    case TraceFormat::kCsv:
      return internal::ParseCsvLine;
    case TraceFormat::kMsr:
      return internal::ParseMsrLine;
    case TraceFormat::kSpc:
      return internal::ParseSpcLine;
    case TraceFormat::kBlkreplay:
      return internal::ParseBlkreplayLine;
    case TraceFormat::kBlkparse:
      return internal::ParseBlkparseLine;
    default:
      return nullptr;
  }
}

/// Seconds since 1970 between 1985 and 2100: then the clock is a wall clock.
bool LooksLikeWallClock(const Trace& trace) {
  if (trace.requests.empty()) return false;
  const std::int64_t first = trace.requests.front().time_us / 1'000'000;
  return first > 473'385'600 && first < 4'102'444'800;
}

Result<TraceFormat> Detect(BufferedSource& in) {
  SHADOW_ASSIGN(const std::string_view head, in.Peek(1u << 14));
  if (head.empty()) return MakeError(Code::kInvalidArgument, "the trace is empty");
  if (internal::LooksLikeBlktrace(head)) return TraceFormat::kBlktrace;
  const TraceFormat text = internal::GuessText(head);
  if (text != TraceFormat::kAuto) return text;
  if (internal::VscsiVersion(head) != 0) return TraceFormat::kVscsi;
  return MakeError(Code::kInvalidArgument, "the trace fits no known format",
                   "name it with --format (csv msr spc blkreplay blkparse blktrace vscsi)");
}

Status ReadInto(std::unique_ptr<ByteSource> bytes, TraceFormat* format, internal::Collector& out,
                bool* wall_clock) {
  BufferedSource in(std::move(bytes));
  if (*format == TraceFormat::kAuto) {
    SHADOW_ASSIGN(*format, Detect(in));
  }
  if (*format == TraceFormat::kBlktrace) return internal::ReadBlktrace(in, out, wall_clock);
  if (*format == TraceFormat::kVscsi) return internal::ReadVscsi(in, out);
  const LineParser parse = ParserOf(*format);
  std::string_view line;
  for (std::uint64_t number = 1;; ++number) {
    SHADOW_ASSIGN(const bool more, in.Line(&line));
    if (!more) return Ok();
    if (line.empty()) continue;
    const internal::LineResult got = parse(line, out);
    if (got.kind == internal::LineResult::kRequest) {
      SHADOW_TRY(out.Add(got.request, number));
    } else if (got.kind == internal::LineResult::kBad) {
      SHADOW_TRY(out.Damaged(number, got.reason));
    }
  }
}

Result<Trace> Finish(internal::Collector& out, TraceFormat format, bool wall_clock) {
  SHADOW_ASSIGN(Trace trace, out.Finish(format, wall_clock));
  if (trace.requests.empty()) {
    return MakeError(Code::kInvalidArgument, "the trace holds no request",
                     trace.skipped > 0 ? "all of its records are damaged" : "");
  }
  trace.wall_clock = trace.wall_clock || LooksLikeWallClock(trace);
  return trace;
}

}  // namespace

const char* FormatName(TraceFormat format) {
  for (const auto& f : kFormats) {
    if (f.format == format) return f.name;
  }
  return "?";
}

Result<TraceFormat> ParseFormat(std::string_view name) {
  for (const auto& f : kFormats) {
    if (name == f.name) return f.format;
  }
  return MakeError(Code::kInvalidArgument, "unknown trace format " + std::string(name),
                   "one of auto csv msr spc blkreplay blkparse blktrace vscsi");
}

Result<Trace> ReadTraces(const std::vector<std::string>& paths, const ReadOptions& options) {
  internal::Collector out(options);
  bool wall_clock = false;
  TraceFormat format = options.format;
  for (const auto& path : paths) {
    SHADOW_ASSIGN(std::unique_ptr<ByteSource> bytes, OpenBytes(path));
    auto status = ReadInto(std::move(bytes), &format, out, &wall_clock);
    if (!status.ok()) {
      Error e = status.error();
      e.message = path + ": " + e.message;
      return e;
    }
  }
  auto trace = Finish(out, format, wall_clock);
  if (!trace.ok() && !paths.empty()) {
    Error e = trace.error();
    e.message = paths.front() + ": " + e.message;
    return e;
  }
  return trace;
}

Result<Trace> ReadTrace(const std::string& path, const ReadOptions& options) {
  return ReadTraces({path}, options);
}

Result<Trace> ReadTraceMemory(std::string_view data, const ReadOptions& options) {
  internal::Collector out(options);
  bool wall_clock = false;
  TraceFormat format = options.format;
  SHADOW_ASSIGN(std::unique_ptr<ByteSource> bytes, OpenMemory(data));
  SHADOW_TRY(ReadInto(std::move(bytes), &format, out, &wall_clock));
  return Finish(out, format, wall_clock);
}

Status WriteCsv(const Trace& trace, const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) {
    return MakeError(Code::kIoError, "cannot create " + path + ": " + std::strerror(errno));
  }
  bool good = std::fputs("timestamp_us,offset_bytes,length_bytes,op\n", file) >= 0;
  for (const auto& r : trace.requests) {
    good = good && std::fprintf(file, "%lld,%llu,%u,%c\n", static_cast<long long>(r.time_us),
                                static_cast<unsigned long long>(r.offset), r.length,
                                r.write ? 'W' : 'R') > 0;
  }
  good = (std::fclose(file) == 0) && good;
  if (!good) return MakeError(Code::kIoError, "cannot write " + path, "is the disk full?");
  return Ok();
}

}  // namespace shadow::pam
