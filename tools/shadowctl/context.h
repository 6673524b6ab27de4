// SPDX-License-Identifier: Apache-2.0
// What every command gets: the options that all share, where to print, and how to fail.
//
// One for a run of shadowctl, on the main thread.
#pragma once

#include <functional>
#include <istream>
#include <ostream>
#include <string>

#include "daemon/base/error_table.h"
#include "daemon/base/result.h"
#include "tools/shadowctl/client.h"
#include "tools/shadowctl/format_json.h"
#include "tools/shadowctl/terminal.h"

namespace shadow::ctl {

enum class OutputFormat { kTable, kJson };

struct Context {
  Context(std::istream& i, std::ostream& o, std::ostream& e) : in(i), out(o), err(e) {}

  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  Terminal terminal;            // of `out`
  bool in_is_terminal = false;  // somebody can be asked
  std::string socket;           // --socket; "": the default
  Server server;                // --server, --cert, --key, --ca
  OutputFormat format = OutputFormat::kTable;
  /// The chosen command; set while parsing. Returns the exit code.
  std::function<int()> command;

  [[nodiscard]] bool json() const { return format == OutputFormat::kJson; }
  void PrintJson(const Json& json) { out << json.dump(2) << '\n'; }

  /// Prints `error` to `err`, in the chosen format. Returns its exit code.
  int Fail(const Error& error);

  /// Connects to the daemon as the options say.
  [[nodiscard]] Result<Client> Connect(Access access) const {
    const Server remote = CompleteServer(server, socket);
    if (!remote.address.empty()) return Client::ConnectTls(remote);
    return Client::Connect(socket, access);
  }
};

}  // namespace shadow::ctl
