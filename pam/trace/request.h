// SPDX-License-Identifier: Apache-2.0
// One block I/O request as every trace reader delivers it, and what was learned while reading.
//
// Plain data; owned by whoever reads. Times are microseconds on the trace's own clock, offsets and
// lengths are bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace shadow::pam {

/// One request. `device` tells the devices of one trace apart (0 is the first one met).
struct Request {
  std::int64_t time_us = 0;
  std::uint64_t offset = 0;  // bytes from the start of the device
  std::uint32_t length = 0;  // bytes, at least 1
  std::uint16_t device = 0;
  bool write = false;
};

/// A damaged record: where (line number, or record number of a binary trace; both from 1) and why.
struct Damage {
  std::uint64_t position = 0;
  std::string reason;
};

/// A whole trace in memory, sorted by time.
struct Trace {
  std::string format;             // "csv", "blktrace", ...
  bool wall_clock = false;        // time_us counts from 1970-01-01 UTC (or local time, as recorded)
  std::vector<Request> requests;  // ascending time_us
  std::vector<std::string> devices;  // names, indexed by Request::device
  std::vector<Damage> damage;        // skipped records, the first 16 of them
  std::uint64_t skipped = 0;         // number of all skipped records
  std::uint64_t reordered = 0;       // records that went back in time and were sorted into place
};

}  // namespace shadow::pam
