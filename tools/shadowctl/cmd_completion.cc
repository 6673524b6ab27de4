// SPDX-License-Identifier: Apache-2.0
// shadowctl completion bash, and the hidden command by which it asks for names.
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/completion_bash.h"

namespace shadow::ctl::completion_cmd {
namespace {

// Somebody has pressed Tab and waits.
constexpr std::chrono::seconds kTabTimeout{2};

/// Prints one name a line; nothing at all when the daemon cannot be asked.
int Names(Context& context, const std::string& what) {
  Result<Client> client = context.Connect(Access::kRead);
  if (!client.ok()) return kExitOk;
  if (what == "classes") {
    const auto list = Call(client->classes(), &v1::StorageClassService::Stub::ListStorageClasses,
                           v1::ListStorageClassesRequest(), kTabTimeout);
    if (!list.ok()) return kExitOk;
    for (const auto& c : list->storage_classes()) context.out << c.name() << '\n';
    return kExitOk;
  }
  if (what == "volumes") {
    const auto list = Call(client->volumes(), &v1::VolumeService::Stub::ListVolumes,
                           v1::ListVolumesRequest(), kTabTimeout);
    if (!list.ok()) return kExitOk;
    for (const auto& v : list->volumes()) context.out << v.name() << '\n';
    return kExitOk;
  }
  const auto list = Call(client->modifications(), &v1::ModificationService::Stub::ListModifications,
                         v1::ListModificationsRequest(), kTabTimeout);
  if (!list.ok()) return kExitOk;
  for (const auto& m : list->modifications()) context.out << m.id() << '\n' << m.volume() << '\n';
  return kExitOk;
}

}  // namespace
}  // namespace shadow::ctl::completion_cmd

namespace shadow::ctl {

void AddCompletionCommands(CLI::App& app, Context& context) {
  using namespace completion_cmd;
  CLI::App* group = app.add_subcommand("completion", "Print a completion script for a shell");
  group->require_subcommand(1);
  group->add_subcommand("bash", "For bash: source <(shadowctl completion bash)")
      ->callback([&context] {
        context.command = [&context] {
          context.out << kBashCompletion;
          return static_cast<int>(kExitOk);
        };
      });

  auto what = std::make_shared<std::string>();
  CLI::App* names = app.add_subcommand("__names", "Names for completion")->group("");
  names->add_option("WHAT", *what)->required()->check(OneOf({"volumes", "ops", "classes"}));
  names->callback(
      [&context, what] { context.command = [&context, what] { return Names(context, *what); }; });
}

}  // namespace shadow::ctl
