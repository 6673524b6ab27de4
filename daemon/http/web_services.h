// SPDX-License-Identifier: Apache-2.0
// The page and the metrics, served: routes over a Sampler, and what may be done with a token.
//
// Started by main once the engine runs. Every answer but a change comes from the sampler's picture;
// the block map is asked of the kernel, once for all who look at the same part at the same time.
#pragma once

#include <memory>

#include "daemon/base/clock.h"
#include "daemon/engine/engine.h"
#include "daemon/http/http_listen.h"

namespace shadow {

class WebServices {
 public:
  virtual ~WebServices() = default;
  /// Ends streams and stops. Returns when nothing calls the engine any more.
  virtual void Shutdown() = 0;
  /// Ports that are served; 0 if none is.
  [[nodiscard]] virtual int PagePort() const = 0;
  [[nodiscard]] virtual int MetricsPort() const = 0;
};

/// Serves what `listen` says; `engine` and `clock` must outlive it. What cannot be served is added
/// to `problems` and costs itself only.
[[nodiscard]] std::unique_ptr<WebServices> StartWebServices(Engine& engine, const Clock& clock,
                                                            const HttpListen& listen,
                                                            std::vector<Error>* problems);

/// What is wrong with `listen`, without serving it.
[[nodiscard]] std::vector<Error> CheckHttpListen(const HttpListen& listen);

}  // namespace shadow
