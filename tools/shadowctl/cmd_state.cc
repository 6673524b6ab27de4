// SPDX-License-Identifier: Apache-2.0
// shadowctl state export, import.
#include <fstream>
#include <sstream>

#include "tools/shadowctl/commands.h"

namespace shadow::ctl::state_cmd {
namespace {

using Stub = v1::SystemService::Stub;

Error FileError(const std::string& file, const char* what) {
  return MakeError(Code::kIoError, file + " cannot be " + what + ".",
                   "look at its path and rights");
}

int Export(Context& context, const std::string& file) {
  const auto run = [&]() -> Status {
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    SHADOW_ASSIGN(const v1::ExportStateResponse response,
                  Call(client.system(), &Stub::ExportState, v1::ExportStateRequest()));
    if (file == "-") {
      context.out << response.state();
      return Ok();
    }
    std::ofstream out(file, std::ios::trunc);
    out << response.state() << std::flush;
    return out.good() ? Ok() : Status(FileError(file, "written"));
  };
  const Status done = run();
  if (!done.ok()) return context.Fail(done.error());
  if (file != "-" && !context.json()) context.out << "Wrote " << file << ".\n";
  return kExitOk;
}

int Import(Context& context, const std::string& file) {
  const auto run = [&]() -> Result<v1::ImportStateResponse> {
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    if (!in.good()) return FileError(file, "read");
    v1::ImportStateRequest request;
    request.set_request_id(NewRequestId());
    request.set_state(text.str());
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.system(), &Stub::ImportState, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    Json list = Json::array();
    for (const std::string& one : response->results()) list.push_back(one);
    context.PrintJson(list);
    return kExitOk;
  }
  for (const std::string& one : response->results()) context.out << one << "\n";
  if (response->results().empty()) context.out << "It has no volumes.\n";
  return kExitOk;
}

}  // namespace
}  // namespace shadow::ctl::state_cmd

namespace shadow::ctl {

void AddStateCommands(CLI::App& app, Context& context) {
  using namespace state_cmd;
  CLI::App* group = app.add_subcommand("state", "Keep what shadowd knows, and bring it back");
  group->require_subcommand(1);
  auto to = std::make_shared<std::string>();
  CLI::App* out = group->add_subcommand("export", "Write what shadowd knows of its volumes");
  out->add_option("FILE", *to, "Where to; - for standard output")->required()->type_name("");
  out->callback(
      [&context, to] { context.command = [&context, to] { return Export(context, *to); }; });
  auto from = std::make_shared<std::string>();
  CLI::App* in = group->add_subcommand("import", "Take in the volumes that are not known");
  in->add_option("FILE", *from, "What state export has written")->required()->type_name("");
  in->callback(
      [&context, from] { context.command = [&context, from] { return Import(context, *from); }; });
}

}  // namespace shadow::ctl
