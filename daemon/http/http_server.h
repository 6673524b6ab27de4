// SPDX-License-Identifier: Apache-2.0
// An HTTP server that can be left open: cpp-httplib with limits it does not have by itself.
//
// A request (line, headers and body) is at most 64 KiB and has ten seconds to arrive, however it
// is cut into pieces; each write has ten seconds; a connection that asks nothing is closed after
// five. Host must be an address of ours or a name that was configured, so that no page of another
// site can reach us through the browser by a name of its own (DNS rebinding); on a Unix socket it
// is not looked at. At most kMostConnections are served at once.
#pragma once

#include <httplib.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/result.h"

namespace shadow::http {

inline constexpr std::size_t kMostConnections = 128;

class HttpServer {
 public:
  /// Sets the routes of a server that does not listen yet.
  using Routes = std::function<void(httplib::Server&)>;

  /// Listens on "ADDRESS:PORT" (numeric; port 0: any free one) or on a Unix socket, which every
  /// user may connect to and whose predecessor, left behind by a daemon that died, is replaced.
  /// kInvalidArgument: no such address; kUnavailable: it is taken.
  static Result<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                   const std::vector<std::string>& hosts,
                                                   const Routes& routes);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// The TCP port that is served; 0 on a Unix socket.
  [[nodiscard]] int port() const { return port_; }
  /// Stops accepting, ends streams, waits for answers under way.
  void Stop();

 private:
  HttpServer() = default;
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
  std::atomic<bool> ended_ = false;
  std::string socket_;  // path to remove
  int port_ = 0;
};

/// Whether "Host: `value`" names us: the part before the port is localhost, an address of the
/// loopback, `address`, or one of `hosts`. Case does not matter.
[[nodiscard]] bool HostIsOurs(const std::string& value, const std::string& address,
                              const std::vector<std::string>& hosts);

/// "127.0.0.1:80" or "[::1]:80" taken apart; kInvalidArgument if it is neither.
struct HostPort {
  std::string host;
  int port = 0;
};
[[nodiscard]] Result<HostPort> SplitAddress(const std::string& address);

}  // namespace shadow::http
