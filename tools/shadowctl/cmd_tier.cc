// SPDX-License-Identifier: Apache-2.0
// shadowctl tier add, remove, list, show, mode, policy.
#include <charconv>

#include "daemon/base/sizes.h"
#include "daemon/rpc/validate.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_tier.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"
#include "tools/shadowctl/overwrite.h"
#include "tools/shadowctl/tier_removal.h"

namespace shadow::ctl::tier_cmd {
namespace {

using std::string;
using Stub = v1::PlacementService::Stub;

struct TierOptions {
  string volume, tier, to, size, mode, request_id, overwrite;
  string policy, tier1_heat, tier2_heat, budget, window, impact;
  bool write_back = false, forget = false, lost = false, wait = false, yes = false;
  bool unstable_names = false;

  [[nodiscard]] bool changes_policy() const {
    return !(policy.empty() && tier1_heat.empty() && tier2_heat.empty() && budget.empty() &&
             window.empty() && impact.empty());
  }
};

string IdOr(const string& id) { return id.empty() ? NewRequestId() : id; }

Json WithVolume(const string& volume, const v1::Tier& tier) {
  Json out = {{"volume", volume}};
  out.update(ToJson(tier));
  return out;
}

void WarnOfWriteBack(Context& context) {
  context.out << context.terminal.Paint(Colour::kYellow, "Warning: ")
              << "What is dirty on it is nowhere else: if its device fails, it is lost.\n";
}

int Add(Context& context, const TierOptions& o) {
  const auto run = [&](const string& overwrite) -> Result<v1::AddTierResponse> {
    v1::AddTierRequest request;
    SHADOW_TRY(rpc::CheckVolumeName(o.volume));
    SHADOW_TRY(rpc::CheckPlace("place for the tier", o.to));
    if (!o.size.empty()) {
      SHADOW_ASSIGN(const std::uint64_t size, ParseSize(o.size));
      SHADOW_TRY(rpc::CheckSize("size of the tier", size));
      request.set_size_bytes(size);
    } else if (!o.to.starts_with('/')) {
      return MakeError(Code::kInvalidArgument, "A tier on a storage class needs a --size.",
                       "Only a device can be used as a whole: --to /dev/...");
    }
    request.set_request_id(IdOr(o.request_id));
    request.set_volume(o.volume);
    request.set_level(LevelOf(o.tier));
    request.set_to(o.to);
    request.set_write_mode(o.write_back ? v1::TIER_WRITE_MODE_WRITE_BACK
                                        : v1::TIER_WRITE_MODE_WRITE_THROUGH);
    SHADOW_TRY(rpc::CheckOverwrite(overwrite));
    request.set_overwrite(overwrite);
    request.set_allow_unstable_names(o.unstable_names);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.placement(), &Stub::AddTier, request);
  };
  const auto response = WithOverwrite(context, o.overwrite, run);
  if (!response.ok()) return context.Fail(response.error());
  const v1::Tier& tier = response->tier();
  if (context.json()) {
    context.PrintJson(WithVolume(o.volume, tier));
    return kExitOk;
  }
  context.out << "Added " << o.tier << " to " << o.volume << ": " << FormatSize(tier.size_bytes())
              << " on " << (tier.storage_class().empty() ? tier.device() : tier.storage_class())
              << ", " << ModeWord(tier.write_mode()) << ".\n";
  if (tier.write_mode() == v1::TIER_WRITE_MODE_WRITE_BACK) {
    WarnOfWriteBack(context);
  }
  return kExitOk;
}

/// Giving up dirty blocks loses data: asks on a terminal, wants --yes elsewhere.
Status Confirm(Context& context, const TierOptions& o) {
  if (!o.lost || o.yes) return Ok();
  if (!context.in_is_terminal) {
    return MakeError(Code::kInvalidArgument,
                     "Giving up what is dirty on " + o.tier + " of " + o.volume +
                         " loses data, and there is nobody to ask.",
                     "Add --yes if you mean it.");
  }
  context.err << "This gives up the newest data of all blocks that are dirty on " << o.tier
              << " of " << o.volume << ".\nThey are lost. `shadowctl tier list " << o.volume
              << "` says how much it is.\nType the volume's name to go on: " << std::flush;
  string answer;
  std::getline(context.in, answer);
  if (answer == o.volume) return Ok();
  return MakeError(Code::kAborted, "Nothing was removed.");
}

int Remove(Context& context, Interrupts& interrupts, const TierOptions& o) {
  const auto run = [&]() -> Result<v1::RemoveTierResponse> {
    v1::RemoveTierRequest request;
    SHADOW_TRY(rpc::CheckVolumeName(o.volume));
    SHADOW_TRY(Confirm(context, o));
    request.set_request_id(IdOr(o.request_id));
    request.set_volume(o.volume);
    request.set_level(LevelOf(o.tier));
    request.set_forget(o.forget);
    request.set_lost(o.lost);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return CallOnce(client.placement(), &Stub::RemoveTier, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  const v1::Tier& tier = response->tier();
  const bool gone = tier.state() == v1::TIER_STATE_REMOVED;
  if (o.wait && !gone) return WaitForRemoval(context, interrupts, o.volume, tier);
  if (context.json()) {
    context.PrintJson(WithVolume(o.volume, tier));
  } else if (gone) {
    context.out << "Removed " << o.tier << " of " << o.volume << ".\n";
  } else {
    context.out << "Removing " << o.tier << " of " << o.volume << ": " << RemovalSentence(tier)
                << "\nWatch it with `shadowctl tier list " << o.volume << "`.\n";
  }
  return kExitOk;
}

Result<v1::ListTiersResponse> Ask(Context& context, const string& volume) {
  v1::ListTiersRequest request;
  if (!volume.empty()) SHADOW_TRY(rpc::CheckVolumeName(volume));
  request.set_volume(volume);
  SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
  return Call(client.placement(), &Stub::ListTiers, request);
}

Result<v1::VolumeTiers> AskOne(Context& context, const string& volume) {
  SHADOW_TRY(rpc::CheckVolumeName(volume));
  SHADOW_ASSIGN(const v1::ListTiersResponse response, Ask(context, volume));
  if (response.volumes_size() != 1) {
    return MakeError(Code::kInternal, "The daemon did not answer the question.",
                     "Are shadowctl and shadowd of one version?");
  }
  return response.volumes(0);
}

int List(Context& context, const TierOptions& o) {
  const auto response = Ask(context, o.volume);
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    Json list = Json::array();
    for (const v1::VolumeTiers& v : response->volumes()) {
      for (const v1::Tier& tier : v.tiers()) list.push_back(WithVolume(v.volume(), tier));
    }
    context.PrintJson(list);
  } else {
    std::vector<v1::VolumeTiers> volumes(response->volumes().begin(), response->volumes().end());
    // One volume that was not asked for by name is all volumes, too.
    if (o.volume.empty() && volumes.size() == 1) volumes.emplace_back();
    PrintTiers(context.out, context.terminal, volumes);
  }
  return kExitOk;
}

int Show(Context& context, const TierOptions& o) {
  const auto tiers = AskOne(context, o.volume);
  if (!tiers.ok()) return context.Fail(tiers.error());
  if (context.json()) {
    context.PrintJson(ToJson(*tiers));
  } else {
    PrintVolumeTiers(context.out, context.terminal, *tiers);
  }
  return kExitOk;
}

int Mode(Context& context, const TierOptions& o) {
  const auto run = [&]() -> Result<v1::SetTierModeResponse> {
    v1::SetTierModeRequest request;
    SHADOW_TRY(rpc::CheckVolumeName(o.volume));
    request.set_request_id(NewRequestId());
    request.set_volume(o.volume);
    request.set_level(LevelOf(o.tier));
    request.set_write_mode(o.mode == "writeback" ? v1::TIER_WRITE_MODE_WRITE_BACK
                                                 : v1::TIER_WRITE_MODE_WRITE_THROUGH);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    return Call(client.placement(), &Stub::SetTierMode, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  const v1::Tier& tier = response->tier();
  if (context.json()) {
    context.PrintJson(WithVolume(o.volume, tier));
    return kExitOk;
  }
  context.out << LevelName(tier.level()) << " of " << o.volume << " is "
              << ModeWord(tier.write_mode()) << " now.\n";
  if (tier.write_mode() == v1::TIER_WRITE_MODE_WRITE_BACK) {
    WarnOfWriteBack(context);
  } else if (tier.dirty_bytes() > 0) {
    context.out << FormatSize(tier.dirty_bytes())
                << " are still dirty, and stay so until they are written home.\n";
  }
  return kExitOk;
}

Result<double> ParseHeat(const string& text) {
  double heat = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), heat);
  if (error != std::errc() || end != text.data() + text.size()) {
    return MakeError(Code::kInvalidArgument, "The heat " + rpc::Quote(text) + " cannot be read.",
                     "Heat is a probability: use 0 to 1, for example 0.7.");
  }
  SHADOW_TRY(rpc::CheckHeat(heat));
  return heat;
}

/// "1G", "1G/min".
Result<std::uint64_t> ParseBudget(string text) {
  if (text.ends_with("/min")) text.resize(text.size() - 4);
  SHADOW_ASSIGN(const std::uint64_t bytes, ParseSize(text));
  SHADOW_TRY(rpc::CheckBudget(bytes));
  return bytes;
}

v1::PlacementPolicy PolicyOf(const string& name) {
  if (name == "pam") return v1::PLACEMENT_POLICY_PAM;
  if (name == "ewma") return v1::PLACEMENT_POLICY_EWMA;
  if (name == "lru") return v1::PLACEMENT_POLICY_LRU;
  return v1::PLACEMENT_POLICY_OFF;
}

Result<v1::Placement> SetPolicy(Context& context, const TierOptions& o) {
  SHADOW_TRY(rpc::CheckVolumeName(o.volume));
  v1::SetTierPolicyRequest request;
  v1::TierPolicy& policy = *request.mutable_policy();
  if (!o.policy.empty()) policy.set_policy(PolicyOf(o.policy));
  if (!o.tier1_heat.empty()) {
    SHADOW_ASSIGN(const double heat, ParseHeat(o.tier1_heat));
    policy.set_tier1_heat(heat);
  }
  if (!o.tier2_heat.empty()) {
    SHADOW_ASSIGN(const double heat, ParseHeat(o.tier2_heat));
    policy.set_tier2_heat(heat);
  }
  if (!o.budget.empty()) {
    SHADOW_ASSIGN(const std::uint64_t bytes, ParseBudget(o.budget));
    policy.set_budget_bytes_per_minute(bytes);
  }
  if (!o.window.empty()) {
    SHADOW_ASSIGN(const std::int64_t ms, ParseDuration(o.window));
    SHADOW_TRY(rpc::CheckWindow(ms));
    policy.mutable_window()->set_seconds(ms / 1000);
    policy.mutable_window()->set_nanos(static_cast<std::int32_t>(ms % 1000) * 1'000'000);
  }
  if (!o.impact.empty()) policy.set_impact(ImpactOf(o.impact));
  request.set_request_id(NewRequestId());
  request.set_volume(o.volume);
  SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
  SHADOW_ASSIGN(const v1::SetTierPolicyResponse response,
                Call(client.placement(), &Stub::SetTierPolicy, request));
  return response.placement();
}

int Policy(Context& context, const TierOptions& o) {
  const auto run = [&]() -> Result<v1::Placement> {
    if (o.changes_policy()) return SetPolicy(context, o);
    SHADOW_ASSIGN(const v1::VolumeTiers tiers, AskOne(context, o.volume));
    if (tiers.tiers().empty()) {
      return MakeError(Code::kFailedPrecondition, "The volume " + o.volume + " has no tiers.",
                       "`shadowctl tier add` gives it one.");
    }
    return tiers.placement();
  };
  const auto placement = run();
  if (!placement.ok()) return context.Fail(placement.error());
  if (context.json()) {
    context.PrintJson(ToJson(placement->policy()));
  } else {
    PrintPolicy(context.out, context.terminal, *placement);
  }
  return kExitOk;
}

using Options = std::shared_ptr<TierOptions>;

void AddVolume(CLI::App& command, const Options& o) {
  command.add_option("VOLUME", o->volume, "Name of the volume")->required()->type_name("");
}

void AddTier(CLI::App& command, const Options& o) {
  command.add_option("TIER", o->tier, "Which tier: tier1 (the fastest) or tier2")
      ->check(OneOf({"tier1", "tier2"}))
      ->required()
      ->type_name("");
}

void AddRequestId(CLI::App& command, const Options& o) {
  command
      .add_option("--request-id", o->request_id,
                  "Idempotency key: the same id and request is done once")
      ->type_name("ID");
}

void AddPolicyOptions(CLI::App& command, const Options& o) {
  command
      .add_option("--policy", o->policy,
                  "Who ranks blocks: pam (the model; default), ewma, lru, or off")
      ->check(OneOf({"pam", "ewma", "lru", "off"}))
      ->type_name("POLICY");
  command
      .add_option("--tier1-heat", o->tier1_heat,
                  "From this heat on a block belongs on tier 1: 0..1, default 0.7")
      ->type_name("HEAT");
  command
      .add_option("--tier2-heat", o->tier2_heat,
                  "From this heat on a block belongs on tier 2: 0..1, default 0.3")
      ->type_name("HEAT");
  command.add_option("--budget", o->budget, "Most that is moved in a minute; default 1G")
      ->type_name("SIZE");
  command.add_option("--window", o->window, "Length of a window of accesses; default 60s")
      ->type_name("DURATION");
  command
      .add_option("--impact", o->impact,
                  "How much moves may slow the application down: low, balanced (default), full")
      ->check(OneOf({"low", "balanced", "full"}))
      ->type_name("LEVEL");
}

}  // namespace
}  // namespace shadow::ctl::tier_cmd

namespace shadow::ctl {

void AddTierCommands(CLI::App& app, Context& context, Interrupts& interrupts) {
  using namespace tier_cmd;
  CLI::App* tier = app.add_subcommand("tier", "Give volumes fast devices, and see what lies there");
  tier->require_subcommand(1);
  const auto on = [&context](CLI::App* command, const Options& o,
                             int (*run)(Context&, const TierOptions&)) {
    command->callback(
        [&context, o, run] { context.command = [&context, o, run] { return run(context, *o); }; });
  };

  auto o = std::make_shared<TierOptions>();
  CLI::App* add = tier->add_subcommand("add", "Give a volume a tier");
  AddVolume(*add, o);
  AddTier(*add, o);
  add->add_option("--to", o->to, "Storage class, or path of a device")
      ->type_name("CLASS|DEV")
      ->required();
  add->add_option("--size", o->size, "Its size, e.g. 20G; default: the whole device")
      ->type_name("SIZE");
  add->add_flag("--write-back", o->write_back,
                "Writes go to the tier alone; default: to home as well");
  add->add_option("--overwrite", o->overwrite, kOverwriteHelp)->type_name("TYPES");
  add->add_flag(kUnstableNames, o->unstable_names, kUnstableNamesHelp);
  AddRequestId(*add, o);
  on(add, o, Add);

  auto removed = std::make_shared<TierOptions>();
  CLI::App* remove = tier->add_subcommand("remove", "Take a tier away; what is on it goes home");
  AddVolume(*remove, removed);
  AddTier(*remove, removed);
  CLI::Option* forget = remove->add_flag("--forget", removed->forget,
                                         "Drop what is on it instead: for a device that is dead");
  remove
      ->add_flag("--lost", removed->lost,
                 "With --forget: although the newest data of dirty blocks are lost by it")
      ->needs(forget);
  remove->add_flag("--wait", removed->wait, "Wait until it is gone, and show the progress");
  remove->add_flag("--yes", removed->yes, "Do not ask");
  AddRequestId(*remove, removed);
  remove->callback([&context, &interrupts, removed] {
    context.command = [&context, &interrupts, removed] {
      return Remove(context, interrupts, *removed);
    };
  });

  auto listed = std::make_shared<TierOptions>();
  CLI::App* list = tier->add_subcommand("list", "List tiers");
  list->add_option("VOLUME", listed->volume, "Only those of this volume")->type_name("");
  on(list, listed, List);

  auto shown = std::make_shared<TierOptions>();
  CLI::App* show = tier->add_subcommand("show", "Show a volume's tiers and how placement goes");
  AddVolume(*show, shown);
  on(show, shown, Show);

  auto moded = std::make_shared<TierOptions>();
  CLI::App* mode = tier->add_subcommand("mode", "Set what a tier does with writes");
  AddVolume(*mode, moded);
  AddTier(*mode, moded);
  mode->add_option("MODE", moded->mode, "writethrough (home too) or writeback (the tier alone)")
      ->check(OneOf({"writethrough", "writeback"}))
      ->required()
      ->type_name("");
  on(mode, moded, Mode);

  auto set = std::make_shared<TierOptions>();
  CLI::App* policy =
      tier->add_subcommand("policy", "Show, or change, who decides what lies on the tiers");
  AddVolume(*policy, set);
  AddPolicyOptions(*policy, set);
  on(policy, set, Policy);

  AddTierMapCommands(app, *tier, context);
}

}  // namespace shadow::ctl
