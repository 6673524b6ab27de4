// SPDX-License-Identifier: Apache-2.0
// shadow_check: is the metadata of a volume as it should be, and what can be done if not.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>

#include "kernel/core/shadow_version.h"
#include "tools/metadata/dump.h"

namespace {

using namespace shadow;            // NOLINT: a main
using namespace shadow::metadata;  // NOLINT

enum Exit { kClean = 0, kCorrected = 1, kUncorrected = 4, kFailed = 8, kUsage = 16 };

int Say(const Error& e) {
  std::cerr << "shadow_check: " << e.ToString() << "\n";
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Checks the metadata of a dm-shadow volume that is not in use."};
  app.set_version_flag("--version", "shadow_check " SHADOW_VERSION);
  std::string path, format = "text";
  bool repair = false;
  Assume assume = Assume::kNothing;
  const std::map<std::string, Assume> kAssume = {
      {"origin", Assume::kOrigin}, {"target", Assume::kTarget}, {"valid", Assume::kValid}};
  app.add_option("DEVICE", path, "Metadata device, or a file with its bytes")->required();
  app.add_flag("--repair", repair, "Put right what needs no guess");
  auto* option = app.add_option("--assume", assume,
                                "With --repair, what to believe where nothing tells: both copies "
                                "damaged: all blocks on the origin or on the target; one damaged "
                                "after a clean stop: the valid one")
                     ->transform(CLI::CheckedTransformer(kAssume));
  app.add_option("-o,--output", format, "text or json")->check(CLI::IsMember({"text", "json"}));
  app.footer(
      "Exit status: 0 fine, 1 errors were corrected, 4 errors are left, 8 the check itself "
      "failed, 16 usage.");
  try {
    app.parse(argc, argv);
    if (*option && !repair) throw CLI::ValidationError("--assume", "needs --repair");
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kClean : kUsage;
  }

  auto device = Device::Open(path, repair);
  if (!device.ok()) return Say(device.error());
  auto image = device->Read();
  if (!image.ok()) return Say(image.error());
  Report report = Check(*image, device->size(), assume);
  int code = report.Clean() ? kClean : kUncorrected;
  if (repair && !report.repairs.empty()) {
    if (const auto done = device->Apply(report.repairs); !done.ok()) return Say(done.error());
    image = device->Read();
    if (!image.ok()) return Say(image.error());
    const Report after = Check(*image, device->size());
    if (after.Clean())
      code = kCorrected;
    else
      report.findings.insert(report.findings.end(), after.findings.begin(), after.findings.end());
  }
  if (format == "json") {
    std::cout << ReportJson(report, code);
    return code;
  }
  std::cout << ReportText(report);
  if (code == kCorrected) std::cout << "All of this has been repaired.\n";
  if (code == kUncorrected && !repair && !report.repairs.empty())
    std::cout << "Nothing was changed: shadow_check --repair puts this right without a guess.\n";
  if (code == kUncorrected && report.Has(Finding::Kind::kUncertain))
    std::cout << "Nothing was changed: see --assume in shadow_check(8), or restore a dump.\n";
  if (code == kClean && !image->blank()) std::cout << "The metadata is fine.\n";
  return code;
}
