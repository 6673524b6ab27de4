// SPDX-License-Identifier: Apache-2.0
// The settings of [http]. Plain data, filled by the configuration, used by the servers.
#pragma once

#include <string>
#include <vector>

namespace shadow {

/// Where the dashboard and the metrics are served. An address is "127.0.0.1:7480", "[::1]:7480"
/// (port 0: any free one), or the absolute path of a Unix socket; "": not served there.
struct HttpListen {
  std::string page = "127.0.0.1:7480";
  std::string metrics = "127.0.0.1:9480";
  std::string socket;              // path of one more for the page, for Cockpit; "": none
  std::vector<std::string> hosts;  // names in Host beside localhost and the address itself
  std::string token_file;          // who may change something; "": nobody
};

}  // namespace shadow
