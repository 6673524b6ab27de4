// SPDX-License-Identifier: Apache-2.0
// Block devices as the daemon looks at them: size, identity, who uses them, how fast they are.
//
// Linux (linux_block_devices.h) and simulated (daemon/sim/sim_world.h). Thread safe. Errors:
// kNotFound (no such path), kInvalidArgument (not a block device), kPermissionDenied, kIoError.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow {

struct BlockInfo {
  std::string path;  // as it was asked for
  std::uint64_t size_bytes = 0;
  std::uint32_t logical_block = 512;  // bytes
  std::uint32_t major = 0, minor = 0;
  std::string used_by;  // "", "mounted on /mnt", "held by dm-3"; opens nothing (see DeviceGuard)
  bool read_only = false;
  bool zoned = false;

  [[nodiscard]] bool SameAs(const BlockInfo& other) const {
    return major == other.major && minor == other.minor;
  }
};

struct DeviceSpeed {
  std::uint64_t read_bandwidth = 0;   // bytes/s, sequential
  std::uint64_t write_bandwidth = 0;  // bytes/s; 0: not measured
  std::uint64_t read_latency_us = 0;  // 4 KiB random read at depth 1, median
};

/// Who has the exclusive claim on a device that is written to: the call takes it, or the caller has
/// it already (a DeviceHold).
enum class Claim : std::uint8_t { kTake, kHeld };

class BlockDevices {
 public:
  virtual ~BlockDevices() = default;
  virtual Result<BlockInfo> Describe(const std::string& path) = 0;
  /// Writes zeroes over the first `bytes` and makes them durable. kFailedPrecondition, with
  /// nothing written: somebody uses the device.
  virtual Status ZeroStart(const std::string& path, std::uint64_t bytes, Claim claim) = 0;
  /// Discards the whole device. kUnimplemented if it cannot; kFailedPrecondition if somebody uses
  /// it.
  virtual Status Discard(const std::string& path) = 0;
  /// A quarter of a second of direct reads; writes too, over the device's content, if `may_write`.
  virtual Result<DeviceSpeed> Probe(const std::string& path, bool may_write) = 0;
  /// Copies the first `bytes` of the device to `file`, durably and all at once.
  virtual Status Backup(const std::string& path, std::uint64_t bytes, const std::string& file) = 0;
};

}  // namespace shadow
