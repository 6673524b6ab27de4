// SPDX-License-Identifier: Apache-2.0
// shadowd.toml: few settings, good defaults. Command-line flags override it (main.cc).
//
//   [daemon]
//   state_dir = "/var/lib/dm-shadow"
//   socket = "/run/dm-shadow/shadowd.sock"
//   socket_group = ""                          # who may use the admin socket beside root
//   readonly_socket = "/run/dm-shadow/shadowd-ro.sock"
//   grace_seconds = 600
//   leg_wait_seconds = 90                      # dm-shadow-activate reads it, too
//
//   [listen]                                   # none: no TCP
//   tcp = "127.0.0.1:7443"
//   cert = "/etc/dm-shadow/tls/daemon.pem"
//   key = "/etc/dm-shadow/tls/daemon.key"
//   client_ca = "/etc/dm-shadow/tls/ca.pem"
//   admin = ["CN:ops"]                         # names in certificates: CN:, DNS: or URI:
//   readonly = ["URI:spiffe://example.org/monitor"]
//
//   [http]                                     # none: no page and no metrics
//   page = "127.0.0.1:7480"                    # "": none
//   metrics = "127.0.0.1:9480"                 # "": none
//   socket = "/run/dm-shadow/http.sock"        # none by default; for Cockpit
//   hosts = ["storage1.example.org"]           # names of ours in Host
//   token_file = "/etc/dm-shadow/http-tokens"  # who may change something; none: nobody
//
//   [placement]
//   source = "auto"        # of accesses: auto, access or blktrace (docs/trace.md)
//   worker = "/usr/libexec/dm-shadow/pam_worker"   # the model; "": none, EWMA decides
//
//   [class.nvme]
//   vg = "fast"            # or: devices = ["/dev/disk/by-id/..."]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/http/http_listen.h"
#include "daemon/legs/lvm_legs.h"
#include "daemon/rpc/tls_listen.h"

namespace shadow {

struct Config {
  std::string state_dir = "/var/lib/dm-shadow";
  std::string socket = "/run/dm-shadow/shadowd.sock";
  std::string socket_group;  // of the admin socket, a name; "": root's
  std::string readonly_socket = "/run/dm-shadow/shadowd-ro.sock";
  std::int64_t grace_ms = 600'000;
  std::int64_t leg_wait_ms = 90'000;  // before a volume starts without a leg; 0: for ever
  std::string access_source = "auto";
  std::optional<std::string> worker;  // none given: pam_worker beside shadowd, if it is there
  std::optional<TlsListen> listen;    // what is in it is checked by CheckTlsListen
  std::optional<HttpListen> http;     // what is in it is checked by CheckHttpListen
  std::vector<ClassConfig> classes;
};

/// What can be understood of it. Each problem (kInvalidArgument) names the line and what is wrong,
/// unknown keys included, and costs the setting, the class or [listen]; the rest counts. Of a text
/// that is no TOML only state_dir is looked for. state_dir is "" when it is given and wrong.
[[nodiscard]] Config ReadConfig(const std::string& text, const std::string& file_name,
                                std::vector<Error>* problems);

/// The same, or the first problem.
[[nodiscard]] Result<Config> ParseConfig(const std::string& text, const std::string& file_name);

/// Reads the file. A file that does not exist is kNotFound.
[[nodiscard]] Result<Config> LoadConfig(const std::string& path, std::vector<Error>* problems);

}  // namespace shadow
