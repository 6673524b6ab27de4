// SPDX-License-Identifier: Apache-2.0
// shadowctl volume modify: the plan, the start, the wait.
#include <algorithm>

#include "daemon/base/ids.h"
#include "daemon/base/sizes.h"
#include "daemon/rpc/validate.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_table.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"
#include "tools/shadowctl/overwrite.h"
#include "tools/shadowctl/progress.h"

namespace shadow::ctl::modify_cmd {
namespace {

using std::string;
using Stub = v1::ModificationService::Stub;

struct ModifyOptions {
  string name, size, to, impact, rate, retire, grace, request_id, overwrite;
  string grow_fs;  // "": no
  bool skip_trim = false;
  bool discard_origin = false;
  bool force_shrink = false;
  bool unstable_names = false;
  bool keep_signature = false;
  bool dry_run = false;
};

v1::RetirePolicy RetireOf(const string& name) {
  if (name == "cold") return v1::RETIRE_POLICY_COLD;
  if (name == "eager") return v1::RETIRE_POLICY_EAGER;
  return v1::RETIRE_POLICY_NEVER;
}

Result<v1::ModificationSpec> SpecOf(const ModifyOptions& o) {
  v1::ModificationSpec spec;
  SHADOW_TRY(rpc::CheckVolumeName(o.name));
  if (o.size.empty() && o.to.empty()) {
    return MakeError(Code::kInvalidArgument, "Nothing to do: neither --size nor --to is given.",
                     "For example: shadowctl volume modify " + o.name + " --size +50%.");
  }
  spec.set_volume(o.name);
  if (!o.size.empty()) {
    SHADOW_TRY(rpc::CheckSizeSpec(o.size));
    // What it comes to depends on the volume; that it can be read does not.
    SHADOW_TRY(ResolveSize(o.size[0] == '-' ? "+" + o.size.substr(1) : o.size, 1 << 20));
    spec.set_size_spec(o.size);
  }
  if (!o.to.empty()) SHADOW_TRY(rpc::CheckPlace("place to move to", o.to));
  spec.set_to(o.to);
  spec.set_impact(ImpactOf(o.impact));
  if (!o.rate.empty()) {
    SHADOW_ASSIGN(const std::uint64_t rate, ParseRate(o.rate));
    if (rate == 0) {
      return MakeError(
          Code::kInvalidArgument, "A rate of 0 would never finish.",
          "Leave --rate out to let the rate adapt, or pause with `shadowctl op pause`.");
    }
    SHADOW_TRY(rpc::CheckRate(rate));
    spec.set_rate_bytes_per_second(rate);
  }
  spec.set_retire(RetireOf(o.retire));
  if (!o.grace.empty()) {
    SHADOW_ASSIGN(const std::int64_t ms, ParseDuration(o.grace));
    spec.mutable_grace()->set_seconds(ms / 1000);
    spec.mutable_grace()->set_nanos(static_cast<std::int32_t>(ms % 1000) * 1'000'000);
  }
  spec.set_grow_filesystem(!o.grow_fs.empty());
  spec.set_grow_filesystem_now(o.grow_fs == "now");
  spec.set_skip_trim(o.skip_trim);
  spec.set_discard_origin(o.discard_origin);
  spec.set_keep_origin_signature(o.keep_signature);
  spec.set_force_shrink(o.force_shrink);
  SHADOW_TRY(rpc::CheckOverwrite(o.overwrite));
  spec.set_overwrite(o.overwrite);
  spec.set_allow_unstable_names(o.unstable_names);
  return spec;
}

int DryRun(Context& context, const v1::ModificationSpec& spec) {
  const auto run = [&]() -> Result<v1::PlanModificationResponse> {
    v1::PlanModificationRequest request;
    *request.mutable_spec() = spec;
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    return Call(client.modifications(), &Stub::PlanModification, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    context.PrintJson(ToJson(response->plan()));
  } else {
    PrintPlan(context.out, context.terminal, response->plan());
  }
  return kExitOk;
}

/// Starts it. If the daemon goes away in the middle of the call, it may or may not have begun: then
/// it is asked again once, with the same request id.
Result<v1::Modification> Start(Context& context, const v1::StartModificationRequest& request) {
  for (int attempt = 0;; ++attempt) {
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    v1::StartModificationResponse response;
    const grpc::Status status = client.modifications().StartModification(&call, request, &response);
    if (status.ok()) return response.modification();
    Error error = rpc::FromGrpcStatus(status);
    // An error with details was said by the daemon; one without comes from the connection.
    const bool at_work = error.message.find("still at work") != std::string::npos;
    if (error.code != Code::kUnavailable || (!status.error_details().empty() && !at_work)) {
      return error;
    }
    if (attempt == 0) continue;
    error.hint = HowToAskAgain(request.request_id());
    return error;
  }
}

int Modify(Context& context, Interrupts& interrupts, const ModifyOptions& o,
           const WaitOptions& wait) {
  const Result<v1::ModificationSpec> spec = SpecOf(o);
  if (!spec.ok()) return context.Fail(spec.error());
  if (o.dry_run) return DryRun(context, *spec);
  v1::StartModificationRequest request;
  request.set_request_id(o.request_id.empty() ? NewRequestId() : o.request_id);
  *request.mutable_spec() = *spec;
  const Result<v1::Modification> started =
      WithOverwrite(context, o.overwrite, [&](const string& overwrite) {
        // Another request than the one that was refused.
        if (overwrite != o.overwrite && o.request_id.empty())
          request.set_request_id(NewRequestId());
        request.mutable_spec()->set_overwrite(overwrite);
        return Start(context, request);
      });
  if (!started.ok()) return context.Fail(started.error());
  if (!context.json()) {
    context.out << "Started " << ShortId(started->id()) << ": " << PlanSentence(started->plan())
                << ".\n";
    for (const string& warning : started->plan().warnings()) {
      context.out << context.terminal.Paint(Colour::kYellow, "Warning: ") << warning << '\n';
    }
  }
  if (wait.wait) return WatchCommand(context, interrupts, started->id(), UntilOf(wait));
  if (context.json()) {
    context.PrintJson(ToJson(*started));
  } else {
    context.out << "Watch it with `shadowctl op watch " << ShortId(started->id()) << "`.\n";
  }
  return kExitOk;
}

}  // namespace
}  // namespace shadow::ctl::modify_cmd

namespace shadow::ctl {

CLI::Validator OneOf(std::vector<std::string> values) {
  std::string list;
  for (const std::string& value : values) list += (list.empty() ? "" : ", ") + value;
  return CLI::Validator(
      [values = std::move(values), list](std::string& text) {
        if (std::find(values.begin(), values.end(), text) != values.end()) return std::string();
        return rpc::Quote(text) + " is none of " + list;
      },
      "");
}

std::string NewRequestId() { return RandomIds().NewUuid(); }

void AddWaitOptions(CLI::App& command, const std::shared_ptr<WaitOptions>& options) {
  command.add_flag("--wait", options->wait, "Wait and show the progress");
  command
      .add_option("--until", options->until,
                  "How far to wait: cutover (or grace, the same instant), or done (default)")
      ->check(OneOf({"cutover", "grace", "done"}))
      ->type_name("WHEN");
}

Until UntilOf(const WaitOptions& options) {
  return options.until == "done" ? Until::kDone : Until::kCutOver;
}

void AddModifyCommand(CLI::App& volume, Context& context, Interrupts& interrupts) {
  using namespace modify_cmd;
  auto o = std::make_shared<ModifyOptions>();
  auto wait = std::make_shared<WaitOptions>();
  CLI::App* modify =
      volume.add_subcommand("modify", "Resize a volume, or move it, while it is in use");
  modify->add_option("NAME", o->name, "Name of the volume")->required()->type_name("");
  modify->add_option("--size", o->size, "New size, or change of it: 20G, +10G, -5G, +50%")
      ->type_name("SIZE");
  modify->add_option("--to", o->to, "Storage class, or path of a device, to move to")
      ->type_name("CLASS|DEV");
  CLI::Option* impact =
      modify
          ->add_option("--impact", o->impact,
                       "How much it may slow the application down: low, balanced (default), full")
          ->check(OneOf({"low", "balanced", "full"}))
          ->type_name("LEVEL");
  modify->add_option("--rate", o->rate, "Fixed copy rate instead, e.g. 100M (a second)")
      ->type_name("RATE")
      ->excludes(impact);
  modify
      ->add_option("--retire", o->retire,
                   "When copies on the origin are dropped: never (default), cold, eager")
      ->check(OneOf({"never", "cold", "eager"}))
      ->type_name("POLICY");
  modify
      ->add_option("--grace", o->grace,
                   "Time for a way back after cut-over: 0, 30s, 10m (default), 2h, 1d")
      ->type_name("DURATION");
  modify
      ->add_flag("--grow-fs{end}", o->grow_fs,
                 "Grow the file system too (ext4, xfs, btrfs); =now: at once, without a way back")
      ->check(OneOf({"end", "now"}));
  modify->add_flag("--skip-trim", o->skip_trim, "Do not trim a mounted file system first");
  modify->add_flag("--discard-origin", o->discard_origin, "Discard the origin at the end");
  modify->add_flag("--keep-origin-signature", o->keep_signature,
                   "Leave the old origin recognisable: it keeps the file system's UUID");
  modify->add_flag("--force-shrink", o->force_shrink,
                   "Shrink although the file system is too big or unknown: loses data");
  modify->add_option("--overwrite", o->overwrite, kOverwriteHelp)->type_name("TYPES");
  modify->add_flag(kUnstableNames, o->unstable_names, kUnstableNamesHelp);
  modify
      ->add_option("--request-id", o->request_id,
                   "Idempotency key: the same id and request is done once")
      ->type_name("ID");
  modify->add_flag("--dry-run", o->dry_run, "Only say what would be done");
  AddWaitOptions(*modify, wait);
  modify->callback([&context, &interrupts, o, wait] {
    context.command = [&context, &interrupts, o, wait] {
      return Modify(context, interrupts, *o, *wait);
    };
  });
}

}  // namespace shadow::ctl
