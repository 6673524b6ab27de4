// SPDX-License-Identifier: Apache-2.0
// The gRPC server of shadowd: two Unix sockets, one for administrators, one that only reads, and,
// if it is asked for, a TCP port with TLS on which both sides show certificates.
//
// Started by main once the engine runs; answers on gRPC's own threads. Serves shadow.v1, gRPC
// health (SERVING while it runs) and reflection. The socket's file mode says who may use it: 0660
// for the admin socket, 0666 for the read-only one. On the port, the names in the certificate do
// (roles.h); who has none gets no answer from any service.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/tls_listen.h"

namespace shadow {

struct RpcOptions {
  std::string admin_socket;               // path; "": none
  std::string readonly_socket;            // path; "": none
  std::optional<TlsListen> tls;           // none: no TCP
  const Clock* clock = nullptr;           // for tests; null: the real one. Not owned.
  std::optional<gid_t> admin_group = {};  // of the admin socket; none: the process's
};

class RpcServer {
 public:
  virtual ~RpcServer() = default;
  /// Ends watches with UNAVAILABLE, lets calls finish for 5 s, cancels the rest, removes the
  /// sockets. Returns when nothing calls the engine any more. Done by the destructor too.
  virtual void Shutdown() = 0;
  /// The TCP port that is served; 0 if none is.
  [[nodiscard]] virtual int Port() const = 0;
};

/// Serves `engine`, which must outlive the server. A socket left behind by a daemon that died is
/// replaced; kUnavailable if one, or the port, is in use, kInvalidArgument for an unusable path,
/// address, certificate or role, kPermissionDenied or kIoError when it cannot be made.
[[nodiscard]] Result<std::unique_ptr<RpcServer>> StartRpcServer(Engine& engine,
                                                                const RpcOptions& options);

/// Everything about `listen` that can be said without serving it, files included, so that a daemon
/// can refuse before it does anything. Errors as of StartRpcServer.
[[nodiscard]] Status CheckTlsListen(const TlsListen& listen);

}  // namespace shadow
