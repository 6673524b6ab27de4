// SPDX-License-Identifier: Apache-2.0
// shadowctl events: what happened, and with --follow what happens.
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_table.h"

namespace shadow::ctl::events_cmd {
namespace {

struct EventsOptions {
  bool follow = false;
  std::string volume;
  std::uint64_t after = 0;
};

int Events(Context& context, Interrupts& interrupts, const EventsOptions& o) {
  Result<Client> client = context.Connect(Access::kRead);
  if (!client.ok()) return context.Fail(client.error());
  v1::WatchEventsRequest request;
  request.set_after_sequence(o.after);
  request.set_volume(o.volume);
  request.set_follow(o.follow);
  grpc::ClientContext call;
  interrupts.OnInterrupt([&call] { call.TryCancel(); });
  auto reader = client->events().WatchEvents(&call, request);
  v1::WatchEventsResponse message;
  bool any = false;
  while (reader->Read(&message)) {
    any = true;
    if (context.json()) {
      context.out << ToJson(message.event()).dump() << std::endl;
    } else {
      PrintEvent(context.out, context.terminal, message.event());
      context.out.flush();
    }
  }
  const grpc::Status status = reader->Finish();
  interrupts.OnInterrupt(nullptr);
  if (interrupts.interrupted()) return 130;
  if (!status.ok()) return context.Fail(rpc::FromGrpcStatus(status));
  if (!any && !context.json()) context.out << "There are no events.\n";
  return kExitOk;
}

}  // namespace
}  // namespace shadow::ctl::events_cmd

namespace shadow::ctl {

void AddEventsCommand(CLI::App& app, Context& context, Interrupts& interrupts) {
  using namespace events_cmd;
  auto o = std::make_shared<EventsOptions>();
  CLI::App* events = app.add_subcommand("events", "Show what happened");
  events->add_flag("--follow", o->follow, "Go on with what happens, until Ctrl-C");
  events->add_option("--volume", o->volume, "Only events of this volume")->type_name("NAME");
  events->add_option("--after", o->after, "Only events after this sequence number")
      ->type_name("NUMBER");
  events->callback([&context, &interrupts, o] {
    context.command = [&context, &interrupts, o] { return Events(context, interrupts, *o); };
  });
}

}  // namespace shadow::ctl
