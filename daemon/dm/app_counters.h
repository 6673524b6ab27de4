// SPDX-License-Identifier: Apache-2.0
// The application's I/O on a volume since its counting began: a device-mapper statistics region
// that is only ever printed, never cleared, so that any number of readers see the same numbers.
//
// The region outlives the daemon and is found again. When it is gone, or the volume has another
// length, a new one is made and what was counted before is added to it: totals never go back while
// the object lives. Owned by the engine, one for each volume; not thread safe.
#pragma once

#include <optional>
#include <string>

#include "daemon/dm/device_mapper.h"
#include "daemon/dm/latency.h"

namespace shadow {

class AppCounters {
 public:
  /// `dm` must outlive it.
  AppCounters(DeviceMapper& dm, std::string volume) : dm_(dm), volume_(std::move(volume)) {}
  /// Totals of a volume that is `sectors` long now. Errors are those of DeviceMapper::Message, and
  /// kDataLoss for an answer that cannot be understood.
  [[nodiscard]] Result<AppTotals> Read(std::uint64_t sectors);

 private:
  [[nodiscard]] Result<std::uint64_t> FindOrMake(std::uint64_t sectors);
  void Forget();

  DeviceMapper& dm_;
  const std::string volume_;
  std::optional<std::uint64_t> region_;
  std::uint64_t sectors_ = 0;
  AppTotals before_, last_;  // of earlier regions; of this one, when it was read last
};

}  // namespace shadow
