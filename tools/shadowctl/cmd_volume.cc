// SPDX-License-Identifier: Apache-2.0
// shadowctl volume create, import, export, list, show, delete.
#include "daemon/base/sizes.h"
#include "daemon/rpc/validate.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_json.h"
#include "tools/shadowctl/format_table.h"
#include "tools/shadowctl/overwrite.h"

namespace shadow::ctl::volume_cmd {
namespace {

using std::string;
using Stub = v1::VolumeService::Stub;

// Filling the holes of a big empty volume takes as long as writing it.
constexpr std::chrono::hours kExportTimeout{24};

struct VolumeOptions {
  string name, size, to, device, metadata, block_size, request_id, overwrite;
  bool destroy_data = false;
  bool unstable_names = false;
  bool dry_run = false;
  bool yes = false;
};

int Show(Context& context, const v1::Volume& volume, const string& sentence) {
  if (context.json()) {
    context.PrintJson(ToJson(volume));
  } else {
    context.out << sentence << '\n';
  }
  return kExitOk;
}

Result<std::uint64_t> BlockSize(const string& text) {
  if (text.empty()) return std::uint64_t{0};
  SHADOW_ASSIGN(const std::uint64_t bytes, ParseSize(text));
  SHADOW_TRY(rpc::CheckBlockSize(bytes));
  return bytes;
}

string IdOr(const string& id) { return id.empty() ? NewRequestId() : id; }

int Create(Context& context, const VolumeOptions& o) {
  const auto run = [&](const string& overwrite) -> Result<v1::CreateVolumeResponse> {
    v1::CreateVolumeRequest request;
    SHADOW_TRY(rpc::CheckVolumeName(o.name));
    SHADOW_ASSIGN(const std::uint64_t size, ParseSize(o.size));
    SHADOW_ASSIGN(const std::uint64_t block, BlockSize(o.block_size));
    request.set_request_id(IdOr(o.request_id));
    request.set_name(o.name);
    request.set_size_bytes(size);
    request.set_to(o.to);
    request.set_block_bytes(block);
    SHADOW_TRY(rpc::CheckOverwrite(overwrite));
    request.set_overwrite(overwrite);
    request.set_allow_unstable_names(o.unstable_names);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.volumes(), &Stub::CreateVolume, request);
  };
  const auto response = WithOverwrite(context, o.overwrite, run);
  if (!response.ok()) return context.Fail(response.error());
  const v1::Volume& v = response->volume();
  return Show(context, v, "Created " + v.device() + ", " + FormatSize(v.size_bytes()) + ".");
}

int Import(Context& context, const VolumeOptions& o) {
  const auto run = [&](const string& overwrite) -> Result<v1::ImportVolumeResponse> {
    v1::ImportVolumeRequest request;
    SHADOW_TRY(rpc::CheckVolumeName(o.name));
    SHADOW_ASSIGN(const std::uint64_t block, BlockSize(o.block_size));
    request.set_request_id(IdOr(o.request_id));
    request.set_name(o.name);
    request.set_device(o.device);
    request.set_metadata(o.metadata);
    request.set_block_bytes(block);
    SHADOW_TRY(rpc::CheckOverwrite(overwrite));
    request.set_overwrite(overwrite);
    request.set_allow_unstable_names(o.unstable_names);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.volumes(), &Stub::ImportVolume, request);
  };
  const auto response = WithOverwrite(context, o.overwrite, run);
  if (!response.ok()) return context.Fail(response.error());
  const v1::Volume& v = response->volume();
  return Show(context, v,
              "Imported " + o.device + ". Use " + v.device() + " from now on, never " + o.device +
                  " itself.");
}

int Export(Context& context, const VolumeOptions& o) {
  const auto run = [&]() -> Result<v1::ExportVolumeResponse> {
    v1::ExportVolumeRequest request;
    request.set_request_id(IdOr(o.request_id));
    request.set_name(o.name);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.volumes(), &Stub::ExportVolume, request,
                    std::chrono::seconds(kExportTimeout));
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    context.PrintJson({{"name", o.name}, {"device", response->device()}});
  } else {
    context.out << "Exported " << o.name << ". Its data is on " << response->device() << ".\n";
  }
  return kExitOk;
}

int List(Context& context) {
  const auto run = [&]() -> Result<v1::ListVolumesResponse> {
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    return Call(client.volumes(), &Stub::ListVolumes, v1::ListVolumesRequest());
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    Json list = Json::array();
    for (const v1::Volume& v : response->volumes()) list.push_back(ToJson(v));
    context.PrintJson(list);
  } else {
    PrintVolumes(context.out, context.terminal, response->volumes());
  }
  return kExitOk;
}

int ShowOne(Context& context, const VolumeOptions& o) {
  const auto run = [&]() -> Result<v1::GetVolumeResponse> {
    v1::GetVolumeRequest request;
    request.set_name(o.name);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    return Call(client.volumes(), &Stub::GetVolume, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    context.PrintJson(ToJson(response->volume()));
  } else {
    PrintVolume(context.out, context.terminal, response->volume());
  }
  return kExitOk;
}

int Recover(Context& context, const VolumeOptions& o) {
  const auto run = [&]() -> Result<v1::RecoverVolumeResponse> {
    v1::RecoverVolumeRequest request;
    request.set_request_id(IdOr(o.request_id));
    request.set_metadata(o.metadata);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.volumes(), &Stub::RecoverVolume, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  const v1::Volume& v = response->volume();
  return Show(
      context, v,
      v.name() +
          " is known again. Its devices count as yours: none of them is removed by shadowd.");
}

int Activate(Context& context, const VolumeOptions& o) {
  const auto run = [&]() -> Result<v1::ActivateVolumeResponse> {
    SHADOW_TRY(rpc::CheckVolumeName(o.name));
    v1::ActivateVolumeRequest request;
    request.set_allow_unstable_names(o.unstable_names);
    request.set_request_id(IdOr(o.request_id));
    request.set_name(o.name);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return Call(client.volumes(), &Stub::ActivateVolume, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  const v1::Volume& v = response->volume();
  return Show(context, v, v.device() + " is up.");
}

/// Deleting loses data: asks on a terminal, wants --yes elsewhere.
Status Confirm(Context& context, const VolumeOptions& o) {
  if (o.yes) return Ok();
  if (!context.in_is_terminal) {
    return MakeError(Code::kInvalidArgument,
                     "Deleting " + o.name + " loses data, and there is nobody to ask.",
                     "Add --yes if you mean it.");
  }
  const string what =
      o.destroy_data ? "all data of " + o.name + ", imported data included"
                     : "the volume " + o.name + " and the logical volumes that were made for it";
  context.err << "This deletes " << what << ".\nType the volume's name to go on: " << std::flush;
  string answer;
  std::getline(context.in, answer);
  if (answer == o.name) return Ok();
  return MakeError(Code::kAborted, "Nothing was deleted.");
}

int Delete(Context& context, const VolumeOptions& o) {
  const auto run = [&]() -> Result<v1::DeleteVolumeResponse> {
    SHADOW_TRY(rpc::CheckVolumeName(o.name));
    if (!o.dry_run) SHADOW_TRY(Confirm(context, o));
    v1::DeleteVolumeRequest request;
    request.set_request_id(IdOr(o.request_id));
    request.set_name(o.name);
    request.set_dry_run(o.dry_run);
    request.set_destroy_data(o.destroy_data);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.volumes(), &Stub::DeleteVolume, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    Json devices = Json::array();
    for (const v1::DeletedDevice& d : response->devices()) {
      devices.push_back(Json{{"device", d.device()},
                             {"id", d.id()},
                             {"removed", d.removed()},
                             {"reason", d.reason()}});
    }
    context.PrintJson({{"name", o.name}, {"deleted", !o.dry_run}, {"devices", devices}});
    return kExitOk;
  }
  if (!o.dry_run) context.out << "Deleted " << o.name << ".\n";
  for (const v1::DeletedDevice& d : response->devices()) {
    const char* fate = o.dry_run ? (d.removed() ? "Would remove " : "Would keep ")
                                 : (d.removed() ? "Removed " : "Kept ");
    context.out << fate << d.device() << " (" << d.id() << "): " << d.reason() << ".\n";
  }
  return kExitOk;
}

using Options = std::shared_ptr<VolumeOptions>;

void AddName(CLI::App& command, const Options& o) {
  command.add_option("NAME", o->name, "Name of the volume")->required()->type_name("");
}

void AddRequestId(CLI::App& command, const Options& o) {
  command
      .add_option("--request-id", o->request_id,
                  "Idempotency key: the same id and request is done once")
      ->type_name("ID");
}

void AddOverwrite(CLI::App& command, const Options& o) {
  command.add_option("--overwrite", o->overwrite, kOverwriteHelp)->type_name("TYPES");
}

void AddUnstableNames(CLI::App& command, const Options& o) {
  command.add_flag(kUnstableNames, o->unstable_names, kUnstableNamesHelp);
}

void AddBlockSize(CLI::App& command, const Options& o) {
  command.add_option("--block-size", o->block_size, "Size of a block, 64K..16M; default 256K")
      ->type_name("SIZE");
}

}  // namespace
}  // namespace shadow::ctl::volume_cmd

namespace shadow::ctl {

void AddVolumeCommands(CLI::App& app, Context& context, Interrupts& interrupts) {
  using namespace volume_cmd;
  CLI::App* volume = app.add_subcommand("volume", "Make, show, change and remove volumes");
  volume->require_subcommand(1);

  auto create_options = std::make_shared<VolumeOptions>();
  CLI::App* create = volume->add_subcommand("create", "Make an empty volume");
  AddName(*create, create_options);
  create->add_option("--size", create_options->size, "Size, e.g. 20G")
      ->type_name("SIZE")
      ->required();
  create->add_option("--to", create_options->to, "Storage class, or path of a device")
      ->type_name("CLASS|DEV")
      ->required();
  AddBlockSize(*create, create_options);
  AddOverwrite(*create, create_options);
  AddUnstableNames(*create, create_options);
  AddRequestId(*create, create_options);
  create->callback([&context, create_options] {
    context.command = [&context, create_options] { return Create(context, *create_options); };
  });

  auto import_options = std::make_shared<VolumeOptions>();
  CLI::App* import_command =
      volume->add_subcommand("import", "Put a device with data under a volume, without copying");
  AddName(*import_command, import_options);
  import_command
      ->add_option("DEVICE", import_options->device, "Path of the device; it must not be in use")
      ->required()
      ->type_name("");
  import_command
      ->add_option("--metadata", import_options->metadata,
                   "Where the metadata goes; default: the class of the device")
      ->type_name("CLASS|DEV");
  AddBlockSize(*import_command, import_options);
  AddOverwrite(*import_command, import_options);
  AddUnstableNames(*import_command, import_options);
  AddRequestId(*import_command, import_options);
  import_command->callback([&context, import_options] {
    context.command = [&context, import_options] { return Import(context, *import_options); };
  });

  auto export_options = std::make_shared<VolumeOptions>();
  CLI::App* export_command =
      volume->add_subcommand("export", "Give the plain device back and remove the volume");
  AddName(*export_command, export_options);
  AddRequestId(*export_command, export_options);
  export_command->callback([&context, export_options] {
    context.command = [&context, export_options] { return Export(context, *export_options); };
  });

  volume->add_subcommand("list", "List all volumes")->callback([&context] {
    context.command = [&context] { return List(context); };
  });

  auto show_options = std::make_shared<VolumeOptions>();
  CLI::App* show = volume->add_subcommand("show", "Show one volume");
  AddName(*show, show_options);
  show->callback([&context, show_options] {
    context.command = [&context, show_options] { return ShowOne(context, *show_options); };
  });

  auto activate_options = std::make_shared<VolumeOptions>();
  CLI::App* activate =
      volume->add_subcommand("activate", "Put a volume together whose devices have come late");
  AddName(*activate, activate_options);
  AddUnstableNames(*activate, activate_options);
  AddRequestId(*activate, activate_options);
  activate->callback([&context, activate_options] {
    context.command = [&context, activate_options] { return Activate(context, *activate_options); };
  });

  auto recover_options = std::make_shared<VolumeOptions>();
  CLI::App* recover = volume->add_subcommand(
      "recover", "Take a volume back into shadowd's state from its metadata device");
  recover->add_option("METADATA", recover_options->metadata, "Path of the volume's metadata device")
      ->required()
      ->type_name("");
  AddRequestId(*recover, recover_options);
  recover->callback([&context, recover_options] {
    context.command = [&context, recover_options] { return Recover(context, *recover_options); };
  });

  AddModifyCommand(*volume, context, interrupts);

  auto delete_options = std::make_shared<VolumeOptions>();
  CLI::App* delete_command =
      volume->add_subcommand("delete", "Remove a volume and what was made for it");
  AddName(*delete_command, delete_options);
  delete_command->add_flag("--dry-run", delete_options->dry_run,
                           "Only say which devices would be removed and which kept");
  delete_command->add_flag("--destroy-data", delete_options->destroy_data,
                           "Destroy imported data too; otherwise it stays on its device");
  delete_command->add_flag("--yes", delete_options->yes, "Do not ask");
  AddRequestId(*delete_command, delete_options);
  delete_command->callback([&context, delete_options] {
    context.command = [&context, delete_options] { return Delete(context, *delete_options); };
  });
}

}  // namespace shadow::ctl
