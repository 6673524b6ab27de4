// SPDX-License-Identifier: Apache-2.0
// shadowctl class list.
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_table.h"

namespace shadow::ctl::class_cmd {
namespace {

int List(Context& context) {
  const auto run = [&]() -> Result<v1::ListStorageClassesResponse> {
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    return Call(client.classes(), &v1::StorageClassService::Stub::ListStorageClasses,
                v1::ListStorageClassesRequest());
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    Json list = Json::array();
    for (const v1::StorageClass& c : response->storage_classes()) list.push_back(ToJson(c));
    context.PrintJson(list);
  } else {
    PrintClasses(context.out, context.terminal, response->storage_classes());
  }
  return kExitOk;
}

}  // namespace
}  // namespace shadow::ctl::class_cmd

namespace shadow::ctl {

void AddClassCommands(CLI::App& app, Context& context) {
  using namespace class_cmd;
  CLI::App* group = app.add_subcommand("class", "Show storage classes");
  group->require_subcommand(1);
  group->add_subcommand("list", "List the storage classes and their free space")
      ->callback([&context] { context.command = [&context] { return List(context); }; });
}

}  // namespace shadow::ctl
