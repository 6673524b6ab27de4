// SPDX-License-Identifier: Apache-2.0
// The settings of the TCP port. Plain data, filled by the configuration, used by the server.
#pragma once

#include <string>
#include <vector>

namespace shadow {

/// A TCP port with mutual TLS (1.2 or newer). Files are read when the server starts.
struct TlsListen {
  std::string address;    // "127.0.0.1:7443" or "[::1]:7443"; port 0: any free one
  std::string cert;       // path of the daemon's certificate, then of what leads to its authority
  std::string key;        // path of its key, closed to other users
  std::string client_ca;  // path of the authorities of clients
  // Names in clients' certificates: "CN:...", "DNS:..." or "URI:...". One list must not be empty.
  std::vector<std::string> admin;
  std::vector<std::string> readonly;
};

}  // namespace shadow
