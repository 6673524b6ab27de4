// SPDX-License-Identifier: Apache-2.0
// The real engine over the simulated machine, started, killed and rebooted at will. Everything
// follows from the calls made here: no thread, no clock but the simulated one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/base/ids.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/sim/crashing_store.h"
#include "daemon/sim/sim_world.h"

namespace shadow::judge {

inline constexpr std::uint64_t kCell = sim::kSimCellBytes;  // also the size of a block

class Machine {
 public:
  explicit Machine(std::uint64_t seed);

  /// Starts the daemon if it does not run; throws SimCrash like every other call.
  void Start();
  /// The daemon is gone at once; what it held open is let go.
  void Kill();
  /// All device-mapper devices are gone and the daemon with them.
  void Reboot();
  /// What dm-shadow-activate does when devices appear: volumes come up from their metadata alone.
  /// Only those that `known` says are still volumes: metadata that was away when its volume was
  /// deleted would bring it back (docs/reliability.md).
  void ActivateFromMetadata(const std::function<bool(const std::string&)>& known);
  void Pass(std::int64_t ms);

  [[nodiscard]] EngineImpl* engine() { return engine_.get(); }
  [[nodiscard]] Store& store() { return *store_; }
  [[nodiscard]] std::uint64_t store_writes() const { return crashing_->writes(); }

  sim::SimWorld world;
  ManualClock clock;
  std::string start_failed;  // why the daemon did not start; "": it did

 private:
  CountingIds ids_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<sim::CrashingStore> crashing_;
  std::unique_ptr<EngineImpl> engine_;
};

}  // namespace shadow::judge
