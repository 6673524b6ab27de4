// SPDX-License-Identifier: Apache-2.0
// A daemon with a scripted engine, for shadowctl's record tests: scripted_shadowd FOLDER
// [METHOD=CODE...] [tls=NAME]. Serves FOLDER/admin.sock and FOLDER/readonly.sock, prints "ready",
// and ends when its standard input does. METHOD=CODE makes that method of the engine fail. tls=NAME
// serves a TCP port too, with the test certificate NAME in FOLDER; FOLDER/port says which port.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>

#include "daemon/base/error_table.h"
#include "daemon/rpc/scripted_engine.h"
#include "daemon/rpc/server.h"

int main(int argc, char** argv) {
  using namespace shadow;
  if (argc < 2) return kExitUsage;
  std::signal(SIGPIPE, SIG_IGN);  // the server logs, and nobody reads on after "ready"
  ManualClock clock;
  rpc::ScriptedEngine engine(clock);
  RpcOptions options;
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto equals = argument.find('=');
    if (argument.starts_with("tls=")) {
      const std::string file = std::string(argv[1]) + "/" + argument.substr(equals + 1);
      options.tls = TlsListen{"127.0.0.1:0", file + ".pem",
                              file + ".key", std::string(argv[1]) + "/ca.pem",
                              {"CN:ops"},    {"DNS:monitor.test"}};
    }
    for (int c = 0; c <= static_cast<int>(Code::kInternal); ++c) {
      const ErrorRow& row = RowOf(static_cast<Code>(c));
      if (equals != std::string::npos && row.name == argument.substr(equals + 1)) {
        engine.FailWith(argument.substr(0, equals),
                        MakeError(row.code, "It went wrong.", "Do this about it."));
      }
    }
  }
  options.admin_socket = std::string(argv[1]) + "/admin.sock";
  options.readonly_socket = std::string(argv[1]) + "/readonly.sock";
  options.clock = &clock;
  auto server = StartRpcServer(engine, options);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.error().ToString().c_str());
    return RowOf(server.error().code).exit_code;
  }
  std::ofstream(std::string(argv[1]) + "/port") << (*server)->Port() << '\n';
  std::puts("ready");
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
