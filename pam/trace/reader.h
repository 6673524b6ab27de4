// SPDX-License-Identifier: Apache-2.0
// Reads block I/O traces of every supported format into one Trace.
//
// Formats: csv (timestamp_us,offset_bytes,length_bytes,op), msr (MSR Cambridge CSV), spc (SNIA/SPC
// ASCII), blkreplay (.load), blkparse (default text output), blktrace (binary per-CPU stream),
// vscsi (CloudPhysics, versions 1 and 2). Compression is undone first (byte_source.h).
//
// One thread, no state kept between calls. A damaged record is counted, reported with its number
// and skipped; more than `max_damaged` of them, or a file that fits no format, is refused with
// kDataLoss or kInvalidArgument.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/base/result.h"
#include "pam/trace/byte_source.h"
#include "pam/trace/request.h"

namespace shadow::pam {

enum class TraceFormat { kAuto, kCsv, kMsr, kSpc, kBlkreplay, kBlkparse, kBlktrace, kVscsi };

/// "csv", "msr", ... and back; an unknown name is kInvalidArgument.
const char* FormatName(TraceFormat format);
Result<TraceFormat> ParseFormat(std::string_view name);

struct ReadOptions {
  TraceFormat format = TraceFormat::kAuto;
  std::uint64_t max_damaged = 100;             // records skipped before the file is refused
  std::uint64_t max_requests = 1'000'000'000;  // refuse larger traces
  std::string device;                          // only this device ("" keeps them; see below)
  bool merge_devices = false;                  // keep several devices although some are stacked
};

/// Reads a whole trace. When the trace says that devices are stacked (blktrace remap records) and
/// no device is named, only the top-most one with the most requests is kept, because one request
/// shows up once per layer. Errors: kNotFound, kIoError, kDataLoss, kInvalidArgument.
Result<Trace> ReadTrace(const std::string& path, const ReadOptions& options = {});

/// The same from memory.
Result<Trace> ReadTraceMemory(std::string_view data, const ReadOptions& options = {});

/// Joins several files (such as blktrace's one file per CPU) into one trace sorted by time.
Result<Trace> ReadTraces(const std::vector<std::string>& paths, const ReadOptions& options = {});

/// Writes the csv format. Errors: kIoError.
Status WriteCsv(const Trace& trace, const std::string& path);

}  // namespace shadow::pam
