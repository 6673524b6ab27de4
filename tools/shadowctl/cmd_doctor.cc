// SPDX-License-Identifier: Apache-2.0
// shadowctl doctor: what is missing, and what to do. Works without a daemon.
#include <algorithm>
#include <cstdlib>

#include "kernel/core/shadow_version.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/doctor.h"
#include "tools/shadowctl/format_table.h"

namespace shadow::ctl::doctor_cmd {
namespace {

v1::Check FromError(const std::string& name, const Error& error) {
  v1::Check check;
  check.set_name(name);
  check.set_result(v1::CHECK_RESULT_ERROR);
  check.set_detail(error.message);
  check.set_hint(error.hint);
  return check;
}

/// The daemon: is it there, is it of our version, what does it say itself. Returns an exit code.
int DaemonChecks(Context& context, std::vector<v1::Check>* checks) {
  Result<Client> client = context.Connect(Access::kRead);
  if (!client.ok()) {
    checks->push_back(FromError("daemon", client.error()));
    return RowOf(client.error().code).exit_code;
  }
  using Stub = v1::SystemService::Stub;
  const auto version =
      Call(client->system(), &Stub::GetVersion, v1::GetVersionRequest(), std::chrono::seconds(10));
  if (!version.ok()) {
    checks->push_back(FromError("daemon", version.error()));
    return RowOf(version.error().code).exit_code;
  }
  v1::Check daemon;
  daemon.set_name("daemon");
  daemon.set_result(v1::CHECK_RESULT_OK);
  daemon.set_detail("shadowd " + version->version() + " answers on " + client->socket() + ".");
  if (version->version() != SHADOW_VERSION) {
    daemon.set_result(v1::CHECK_RESULT_WARNING);
    daemon.set_hint("This is shadowctl " SHADOW_VERSION "; restart the daemon after an upgrade.");
  }
  checks->push_back(daemon);
  if (version->read_only()) {
    v1::Check access;
    access.set_name("access");
    access.set_result(v1::CHECK_RESULT_WARNING);
    access.set_detail("You may only look, on the read-only socket.");
    access.set_hint("Run as root to change something.");
    checks->push_back(access);
  }
  const auto own = Call(client->system(), &Stub::RunChecks, v1::RunChecksRequest());
  if (!own.ok()) {
    checks->push_back(FromError("checks", own.error()));
    return RowOf(own.error().code).exit_code;
  }
  for (const v1::Check& check : own->checks()) {
    // The daemon has looked closer at what we looked at before it.
    const auto same = std::find_if(checks->begin(), checks->end(), [&](const v1::Check& ours) {
      return ours.name() == check.name();
    });
    if (same == checks->end()) {
      checks->push_back(check);
    } else if (same->result() != v1::CHECK_RESULT_ERROR) {
      *same = check;
    }
  }
  return kExitOk;
}

int Doctor(Context& context) {
  const char* root = std::getenv("SHADOW_SYSROOT");
  std::vector<v1::Check> checks = KernelChecks(root == nullptr ? "" : root);
  int code = DaemonChecks(context, &checks);
  int errors = 0;
  int warnings = 0;
  for (const v1::Check& check : checks) {
    errors += check.result() == v1::CHECK_RESULT_ERROR;
    warnings += check.result() == v1::CHECK_RESULT_WARNING;
  }
  if (context.json()) {
    Json list = Json::array();
    for (const v1::Check& check : checks) list.push_back(ToJson(check));
    context.PrintJson(list);
  } else {
    PrintChecks(context.out, context.terminal, checks);
    if (errors > 0) {
      context.out << "\n"
                  << errors << (errors == 1 ? " thing does" : " things do")
                  << " not work. Begin with the first.\n";
    } else if (warnings > 0) {
      context.out << "\nIt works; " << warnings << (warnings == 1 ? " thing" : " things")
                  << " to look at.\n";
    } else {
      context.out << "\nAll is well.\n";
    }
  }
  if (code == kExitOk && errors > 0) code = kExitInternal;
  return code;
}

}  // namespace
}  // namespace shadow::ctl::doctor_cmd

namespace shadow::ctl {

void AddDoctorCommand(CLI::App& app, Context& context) {
  using namespace doctor_cmd;
  app.add_subcommand("doctor", "Say what is missing on this machine and what to do")
      ->callback([&context] { context.command = [&context] { return Doctor(context); }; });
}

}  // namespace shadow::ctl
