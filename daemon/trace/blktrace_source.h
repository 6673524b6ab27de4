// SPDX-License-Identifier: Apache-2.0
// Accesses from the volume's blktrace stream: every queued read and write, once, as the application
// made it (before the volume splits or redirects it).
//
// One thread owns it. What finds no room in the kernel's buffers, or is missing in the sequence of
// a CPU, is counted in AccessWindow::lost. A stream that is no stream of records (kDataLoss), or a
// trace that somebody ended (kUnavailable), is an error: its owner goes on with the other source.
// Discards and empty flushes are no accesses. Memory: see access_counter.h, and 64 KiB a CPU.
#pragma once

#include <cstdint>
#include <memory>

#include "daemon/trace/access_source.h"
#include "daemon/trace/blktrace_channel.h"
#include "daemon/trace/recorder.h"

namespace shadow {

/// `sink` may be null, and must outlive the source.
[[nodiscard]] std::unique_ptr<AccessSource> MakeBlktraceSource(
    std::unique_ptr<BlktraceChannel> channel, std::uint64_t block_bytes, RequestSink* sink);

}  // namespace shadow
