// SPDX-License-Identifier: Apache-2.0
// Concurrent random I/O that knows what every sector may hold, and says so in a journal that
// outlives a crash. Threads share one Model under one lock; I/O runs outside it, on ranges no
// other thread touches, so every read has an exact answer.
#pragma once

#include <cstdint>
#include <string>

#include "tests/guest/io/model.h"

namespace shadow::io {

struct StressOptions {
  std::string device;
  std::string journal;    // "" for none
  std::string mark;       // dm-log-writes device whose log gets the journal's records too; "": none
  std::string stop_file;  // end when this file appears
  double seconds = 0;     // 0: no limit
  std::uint64_t ops = 0;  // 0: no limit
  unsigned threads = 4;
  std::uint64_t seed = 1;
  std::uint64_t first = 0;   // sectors: work in [first, first + length)
  std::uint64_t length = 0;  // 0: to the end
  std::uint32_t block = 0;   // sectors; whole blocks discarded must read as zeroes
  unsigned writes = 50;      // percent of the operations
  unsigned discards = 0;
  unsigned zeroes = 0;
  unsigned flushes = 1;
  bool allow_errors = false;  // an I/O error is no failure
  bool until_error = false;   // an I/O error is the end, as expected
};

/// 0: every read was right; 1: wrong data or an unexpected error (printed).
int Stress(const StressOptions& options);

struct CheckOptions {
  std::string device;
  std::string journal;
  std::uint32_t block = 0;
  Durable durable = Durable::kAck;
  bool allow_errors = false;  // sectors that cannot be read are counted, not wrong
  bool settle = true;         // write what was read of undecided sectors into the journal
};

/// Reads the whole device against the journal. 0 right, 1 wrong.
int Check(const CheckOptions& options);

/// Writes every sector of [first, first + length) once, in big requests, into the journal too.
int Fill(const StressOptions& options);

}  // namespace shadow::io
