// SPDX-License-Identifier: Apache-2.0
// shadowctl class list and measure.
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

int Measure(Context& context, const std::string& name) {
  const auto run = [&]() -> Result<v1::MeasureStorageClassResponse> {
    v1::MeasureStorageClassRequest request;
    request.set_request_id(NewRequestId());
    request.set_name(name);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return Call(client.classes(), &v1::StorageClassService::Stub::MeasureStorageClass, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    context.PrintJson(ToJson(response->storage_class()));
  } else {
    google::protobuf::RepeatedPtrField<v1::StorageClass> one;
    *one.Add() = response->storage_class();
    PrintClasses(context.out, context.terminal, one);
  }
  return kExitOk;
}

}  // namespace
}  // namespace shadow::ctl::class_cmd

namespace shadow::ctl {

void AddClassCommands(CLI::App& app, Context& context) {
  using namespace class_cmd;
  CLI::App* group = app.add_subcommand("class", "Show and measure storage classes");
  group->require_subcommand(1);
  group->add_subcommand("list", "List the storage classes and their free space")
      ->callback([&context] { context.command = [&context] { return List(context); }; });
  auto name = std::make_shared<std::string>();
  CLI::App* measure = group->add_subcommand(
      "measure", "Measure how fast a class is now; plans use it from then on");
  measure->add_option("CLASS", *name, "Name of the class")->required()->type_name("");
  measure->callback(
      [&context, name] { context.command = [&context, name] { return Measure(context, *name); }; });
}

}  // namespace shadow::ctl
