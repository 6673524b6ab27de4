// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/app.h"

#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <iostream>

#include "kernel/core/shadow_version.h"
#include "tools/shadowctl/commands.h"

namespace shadow::ctl {
namespace {

constexpr char kFooter[] =
    "\nExit status: 0 done, 1 failed, 2 bad command line, 3 not found, 4 refused, 5 daemon or "
    "device\n"
    "not there, 6 not permitted, 7 no space, 8 damaged data. More in shadowctl(1).";

/// "shadowctl volume modify": the command the user was writing.
std::string CommandOf(const CLI::App& app) {
  std::string name = app.get_name();
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    name += " " + at->get_name();
  }
  return name;
}

/// The command line's app for the command the user was writing.
const CLI::App& Deepest(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

/// One sentence out of CLI11's words.
Error UsageError(const CLI::App& app, const CLI::ParseError& e) {
  const std::string command = CommandOf(app);
  const CLI::App& deepest = Deepest(app);
  std::string commands;
  for (const CLI::App* sub : deepest.get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) commands += (commands.empty() ? "" : ", ") + sub->get_name();
  }
  if (!commands.empty()) {
    for (const std::string& word : app.remaining(/*recurse=*/true)) {
      if (word.starts_with('-')) continue;
      return MakeError(Code::kInvalidArgument,
                       "`" + command + "` has no command " + rpc::Quote(word) + ".",
                       "Use one of " + commands + ".");
    }
    return MakeError(Code::kInvalidArgument, "`" + command + "` needs a command.",
                     "Use one of " + commands + ".");
  }
  std::string message = e.what();
  if (const auto end = message.find('\n'); end != std::string::npos) message.resize(end);
  if (!message.empty() && !message.ends_with('.')) message += '.';
  return MakeError(Code::kInvalidArgument, message, "See `" + command + " --help`.");
}

}  // namespace

std::unique_ptr<CLI::App> BuildApp(Context& context, Interrupts& interrupts) {
  auto app = std::make_unique<CLI::App>("Resize and move block volumes while they are in use.",
                                        "shadowctl");
  app->fallthrough();
  app->require_subcommand(1);
  app->set_version_flag("--version", "shadowctl " SHADOW_VERSION, "Print the version");
  CLI::Option* socket =
      app->add_option(
             "--socket", context.socket,
             std::string("Socket of the daemon; default $SHADOW_SOCKET, else ") + kAdminSocket)
          ->type_name("PATH");
  app->add_option("--server", context.server.address,
                  "Daemon on a TCP port, with TLS; default $SHADOW_SERVER")
      ->type_name("HOST:PORT")
      ->excludes(socket);
  app->add_option("--cert", context.server.files.cert,
                  "Your certificate for --server; default $SHADOW_CERT")
      ->type_name("FILE");
  app->add_option("--key", context.server.files.key, "Its key; default $SHADOW_KEY")
      ->type_name("FILE");
  app->add_option("--ca", context.server.files.ca,
                  "Authority of the daemon's certificate; default $SHADOW_CA")
      ->type_name("FILE");
  app->add_option_function<std::string>(
         "-o,--output",
         [&context](const std::string& format) {
           context.format = format == "json" ? OutputFormat::kJson : OutputFormat::kTable;
         },
         "Output: table (default) or json")
      ->check(OneOf({"table", "json"}))
      ->type_name("FORMAT");
  app->footer(kFooter);
  AddVolumeCommands(*app, context, interrupts);
  AddClassCommands(*app, context);
  AddTierCommands(*app, context, interrupts);
  AddTopCommand(*app, context, interrupts);
  AddOpCommands(*app, context, interrupts);
  AddEventsCommand(*app, context, interrupts);
  AddDoctorCommand(*app, context);
  AddStateCommands(*app, context);
  AddCompletionCommands(*app, context);
  return app;
}

int Run(int argc, const char* const* argv) {
  std::setlocale(LC_ALL, "");
  // gRPC's own log lines would stand between ours; they come back with GRPC_VERBOSITY=debug.
  ::setenv("GRPC_VERBOSITY", "none", /*overwrite=*/0);
  Interrupts interrupts;
  Context context(std::cin, std::cout, std::cerr);
  context.terminal = Terminal::Detect(STDOUT_FILENO);
  context.in_is_terminal = ::isatty(STDIN_FILENO) == 1;
  const std::unique_ptr<CLI::App> app = BuildApp(context, interrupts);
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app->exit(e, std::cout, std::cerr);
    return context.Fail(UsageError(*app, e));
  }
  const int code = context.command();
  std::cout.flush();
  if (!std::cout && code == kExitOk) {
    return context.Fail(
        MakeError(Code::kIoError, "The output could not be written.", "Is the disk full?"));
  }
  return code;
}

}  // namespace shadow::ctl
