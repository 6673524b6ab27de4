// SPDX-License-Identifier: Apache-2.0
// shadowctl op: list, show, watch and steer modifications. They are named by id, by the beginning
// of an id, or by their volume, which means the running or else the newest one.
#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/rpc/validate.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_table.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"
#include "tools/shadowctl/progress.h"

namespace shadow::ctl::op_cmd {
namespace {

using std::string;
using Stub = v1::ModificationService::Stub;

constexpr std::size_t kMinPrefix = 4;

/// The modification that `name` means.
Result<v1::Modification> Find(Client& client, const string& name) {
  SHADOW_TRY(rpc::CheckModificationId(name));
  v1::GetModificationRequest get;
  get.set_id(name);
  auto exact = Call(client.modifications(), &Stub::GetModification, get);
  if (exact.ok()) return exact->modification();
  if (exact.error().code != Code::kNotFound) return exact.error();
  // A record has its plan and history: few are asked for at a time.
  v1::ListModificationsRequest of_volume;
  of_volume.set_volume(name);
  of_volume.set_limit(10);
  if (rpc::CheckVolumeName(name).ok()) {
    SHADOW_ASSIGN(const v1::ListModificationsResponse own,
                  Call(client.modifications(), &Stub::ListModifications, of_volume));
    for (const v1::Modification& m : own.modifications()) {  // newest first; one runs at a time
      if (!m.final()) return m;
    }
    if (own.modifications_size() > 0) return own.modifications(0);
  }
  v1::ListModificationsRequest list;
  list.set_limit(500);
  SHADOW_ASSIGN(const v1::ListModificationsResponse all,
                Call(client.modifications(), &Stub::ListModifications, list));
  const v1::Modification* by_prefix = nullptr;
  bool ambiguous = false;
  for (const v1::Modification& m : all.modifications()) {
    if (name.size() >= kMinPrefix && m.id().starts_with(name)) {
      ambiguous = by_prefix != nullptr;
      by_prefix = &m;
    }
  }
  if (ambiguous) {
    return MakeError(Code::kInvalidArgument, "Several modifications begin with " + name + ".",
                     "Give more of the id; `shadowctl op list` shows them.");
  }
  if (by_prefix != nullptr) return *by_prefix;
  return MakeError(Code::kNotFound,
                   "There is no modification " + name + ", and none of a volume of that name.",
                   "`shadowctl op list` shows the modifications.");
}

int List(Context& context, const string& volume) {
  const auto run = [&]() -> Result<v1::ListModificationsResponse> {
    v1::ListModificationsRequest request;
    request.set_volume(volume);
    SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
    return Call(client.modifications(), &Stub::ListModifications, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    Json list = Json::array();
    for (const v1::Modification& m : response->modifications()) list.push_back(ToJson(m));
    context.PrintJson(list);
  } else {
    PrintModifications(context.out, context.terminal, response->modifications());
  }
  return kExitOk;
}

Result<v1::Modification> FindHere(Context& context, Access access, const string& name) {
  SHADOW_ASSIGN(Client client, context.Connect(access));
  return Find(client, name);
}

int Show(Context& context, const string& name) {
  const auto m = FindHere(context, Access::kRead, name);
  if (!m.ok()) return context.Fail(m.error());
  if (context.json()) {
    context.PrintJson(ToJson(*m));
  } else {
    PrintModification(context.out, context.terminal, *m);
  }
  return kExitOk;
}

int WatchOne(Context& context, Interrupts& interrupts, const string& name, Until until) {
  const auto m = FindHere(context, Access::kRead, name);
  if (!m.ok()) return context.Fail(m.error());
  return WatchCommand(context, interrupts, m->id(), until);
}

/// The steering calls differ in their messages only.
template <typename Request, typename Response>
Result<v1::Modification> Steer(Context& context, const string& name, Request request,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*)) {
  SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
  SHADOW_ASSIGN(const v1::Modification found, Find(client, name));
  request.set_request_id(NewRequestId());
  request.set_id(found.id());
  SHADOW_ASSIGN(const Response response, Call(client.modifications(), method, request));
  return response.modification();
}

int Report(Context& context, const Result<v1::Modification>& m, const string& what) {
  if (!m.ok()) return context.Fail(m.error());
  if (context.json()) {
    context.PrintJson(ToJson(*m));
  } else {
    context.out << ShortId(m->id()) << ": " << what << " It is in phase " << PhaseName(m->phase())
                << ".\n";
  }
  return kExitOk;
}

struct RateOptions {
  string name, rate, impact;
};

int SetRate(Context& context, const RateOptions& o) {
  const auto run = [&]() -> Result<v1::Modification> {
    if (o.rate.empty() && o.impact.empty()) {
      return MakeError(Code::kInvalidArgument, "Neither a RATE nor --impact is given.",
                       "For example: shadowctl op rate " + o.name + " 100M, or --impact low.");
    }
    v1::SetModificationRateRequest request;
    if (!o.rate.empty()) {
      SHADOW_ASSIGN(const std::uint64_t rate, ParseRate(o.rate));
      if (rate == 0) {
        return MakeError(Code::kInvalidArgument, "A rate of 0 would never finish.",
                         "Use `shadowctl op pause`, or --impact to let the rate adapt.");
      }
      SHADOW_TRY(rpc::CheckRate(rate));
      request.set_rate_bytes_per_second(rate);
    } else {
      request.set_impact(ImpactOf(o.impact));
    }
    return Steer(context, o.name, request, &Stub::SetModificationRate);
  };
  const string what =
      o.rate.empty() ? "the rate adapts, impact " + o.impact + "." : "the rate is fixed.";
  return Report(context, run(), what);
}

int RestoreOrigin(Context& context, const string& name) {
  const auto run = [&]() -> Result<v1::RestoreOriginResponse> {
    SHADOW_ASSIGN(Client client, context.Connect(Access::kWrite));
    SHADOW_ASSIGN(const v1::Modification found, Find(client, name));
    v1::RestoreOriginRequest request;
    request.set_request_id(NewRequestId());
    request.set_id(found.id());
    return Call(client.modifications(), &Stub::RestoreOrigin, request);
  };
  const auto response = run();
  if (!response.ok()) return context.Fail(response.error());
  if (context.json()) {
    context.PrintJson({{"device", response->device()}});
  } else {
    context.out << response->device()
                << " has its signatures again. It holds an old copy, with the UUID of the volume's "
                   "file system: never use both by UUID.\n";
  }
  return kExitOk;
}

void AddWho(CLI::App& command, string& name) {
  command
      .add_option("ID", name,
                  "Id of the modification, the beginning of it, or the name of its volume")
      ->required()
      ->type_name("");
}

}  // namespace
}  // namespace shadow::ctl::op_cmd

namespace shadow::ctl {

void AddOpCommands(CLI::App& app, Context& context, Interrupts& interrupts) {
  using namespace op_cmd;
  CLI::App* op = app.add_subcommand("op", "Show, watch and steer modifications");
  op->require_subcommand(1);

  auto volume = std::make_shared<string>();
  CLI::App* list = op->add_subcommand("list", "List modifications, newest first");
  list->add_option("VOLUME", *volume, "Only those of this volume")->type_name("");
  list->callback([&context, volume] {
    context.command = [&context, volume] { return List(context, *volume); };
  });

  auto shown = std::make_shared<string>();
  CLI::App* show = op->add_subcommand("show", "Show one modification and its history");
  AddWho(*show, *shown);
  show->callback(
      [&context, shown] { context.command = [&context, shown] { return Show(context, *shown); }; });

  struct SteerOptions {
    string name;
    WaitOptions wait;
  };
  auto watched = std::make_shared<SteerOptions>();
  CLI::App* watch = op->add_subcommand("watch", "Show the progress until the end");
  AddWho(*watch, watched->name);
  watch
      ->add_option("--until", watched->wait.until,
                   "How far: cutover (or grace, the same instant), or done (default)")
      ->check(OneOf({"cutover", "grace", "done"}))
      ->type_name("WHEN");
  watch->callback([&context, &interrupts, watched] {
    context.command = [&context, &interrupts, watched] {
      return WatchOne(context, interrupts, watched->name, UntilOf(watched->wait));
    };
  });

  struct Verb {
    const char* name;
    const char* help;
    const char* said;
    bool waits;
    v1::Phase end;
    Result<v1::Modification> (*run)(Context&, const string&);
  };
  static constexpr Verb kVerbs[] = {
      {"pause", "Stop copying; the volume stays in use", "copying stops.", false,
       v1::PHASE_UNSPECIFIED,
       [](Context& c, const string& n) {
         return Steer(c, n, v1::PauseModificationRequest(), &Stub::PauseModification);
       }},
      {"resume", "Go on copying", "copying goes on.", false, v1::PHASE_UNSPECIFIED,
       [](Context& c, const string& n) {
         return Steer(c, n, v1::ResumeModificationRequest(), &Stub::ResumeModification);
       }},
      {"abort", "Turn back before cut-over; nothing is lost", "it turns back.", true,
       v1::PHASE_ABORTED,
       [](Context& c, const string& n) {
         return Steer(c, n, v1::AbortModificationRequest(), &Stub::AbortModification);
       }},
      {"rollback", "In the grace period: go back to the origin", "it goes back to the origin.",
       true, v1::PHASE_ABORTED,
       [](Context& c, const string& n) {
         return Steer(c, n, v1::RollBackModificationRequest(), &Stub::RollBackModification);
       }},
      {"commit", "In the grace period: end it now; there is no way back after that",
       "the grace period ends now.", true, v1::PHASE_COMPLETED,
       [](Context& c, const string& n) {
         return Steer(c, n, v1::CommitModificationRequest(), &Stub::CommitModification);
       }},
  };
  for (const Verb& verb : kVerbs) {
    auto o = std::make_shared<SteerOptions>();
    CLI::App* command = op->add_subcommand(verb.name, verb.help);
    AddWho(*command, o->name);
    if (verb.waits)
      command->add_flag("--wait", o->wait.wait, "Wait for the end and show the progress");
    command->callback([&context, &interrupts, &verb, o] {
      context.command = [&context, &interrupts, &verb, o] {
        const Result<v1::Modification> m = verb.run(context, o->name);
        // What had not begun is over at once.
        const bool over = m.ok() && m->phase() == v1::PHASE_ABORTED;
        if (!m.ok() || !o->wait.wait)
          return Report(context, m, over ? "it had not begun; nothing was changed." : verb.said);
        return WatchCommand(context, interrupts, m->id(), Until::kDone, verb.end);
      };
    });
  }

  auto restored = std::make_shared<string>();
  CLI::App* restore = op->add_subcommand(
      "restore-origin", "Give an old origin back the signatures that were wiped from it");
  AddWho(*restore, *restored);
  restore->callback([&context, restored] {
    context.command = [&context, restored] { return RestoreOrigin(context, *restored); };
  });

  auto rate_options = std::make_shared<RateOptions>();
  CLI::App* rate = op->add_subcommand("rate", "Set the copy rate, or let it adapt again");
  AddWho(*rate, rate_options->name);
  CLI::Option* fixed =
      rate->add_option("RATE", rate_options->rate, "Fixed rate, e.g. 100M (a second)")
          ->type_name("");
  rate->add_option("--impact", rate_options->impact,
                   "Let the rate adapt instead: low, balanced, full")
      ->check(OneOf({"low", "balanced", "full"}))
      ->type_name("LEVEL")
      ->excludes(fixed);
  rate->callback([&context, rate_options] {
    context.command = [&context, rate_options] { return SetRate(context, *rate_options); };
  });
}

}  // namespace shadow::ctl
