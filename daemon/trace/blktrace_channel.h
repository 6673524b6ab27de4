// SPDX-License-Identifier: Apache-2.0
// The kernel's trace of one block device: set up, read CPU by CPU, torn down.
//
// Interface because it is a real edge: tests feed recorded streams. Used by one thread. Nothing
// waits: what has not been logged yet is read the next time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "daemon/base/result.h"

namespace shadow {

class BlktraceChannel {
 public:
  virtual ~BlktraceChannel() = default;
  /// Starts the trace: queued reads and writes only. kUnavailable: no debugfs, no blktrace in this
  /// kernel, or somebody else traces the device; kPermissionDenied; kNotFound.
  virtual Status Open() = 0;
  /// Number of CPUs that log; may grow.
  [[nodiscard]] virtual std::size_t Cpus() const = 0;
  /// Bytes that each CPU can log between two reads without losing any.
  [[nodiscard]] virtual std::size_t BufferBytes() const = 0;
  /// Up to `size` bytes of whole records that the CPU has finished; 0: no more for now.
  virtual Result<std::size_t> Read(std::size_t cpu, char* out, std::size_t size) = 0;
  /// Events that found no room, since Open(). kUnavailable: the trace was ended by somebody else.
  virtual Result<std::uint64_t> Dropped() = 0;
  /// Ends the trace. May be called twice, and after the device is gone.
  virtual void Close() = 0;
};

struct BlktraceChannelOptions {
  std::string device;  // /dev/mapper/db0
  std::string debugfs = "/sys/kernel/debug";
  /// Where it is noted which trace is ours, so that one that a crash left running is ended at the
  /// next Open() and nobody else's ever is. "": not noted, and then a left-over is not ended.
  std::string state_dir;
  std::size_t most_memory = 16u << 20;  // bytes of kernel buffers, for all CPUs together
};

/// The real one: BLKTRACESETUP and the relay files in debugfs.
[[nodiscard]] std::unique_ptr<BlktraceChannel> MakeBlktraceChannel(
    const BlktraceChannelOptions& options);

}  // namespace shadow
