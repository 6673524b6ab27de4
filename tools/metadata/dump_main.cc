// SPDX-License-Identifier: Apache-2.0
// shadow_dump: the metadata of a volume for people, or as JSON for shadow_restore.
#include <CLI/CLI.hpp>
#include <iostream>

#include "kernel/core/shadow_version.h"
#include "tools/metadata/dump.h"

int main(int argc, char** argv) {
  CLI::App app{"Prints the metadata of a dm-shadow volume that is not in use."};
  app.set_version_flag("--version", "shadow_dump " SHADOW_VERSION);
  std::string path, format = "text";
  app.add_option("DEVICE", path, "Metadata device, or a file with its bytes")->required();
  app.add_option("-o,--output", format, "text or json")->check(CLI::IsMember({"text", "json"}));
  app.footer("Exit status: 0 done, 4 something is damaged (run shadow_check), 8 failed, 16 usage.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 16;
  }
  const auto device = shadow::metadata::Device::Open(path, false);
  if (!device.ok()) {
    std::cerr << "shadow_dump: " << device.error().ToString() << "\n";
    return 8;
  }
  const auto image = device->Read();
  if (!image.ok()) {
    std::cerr << "shadow_dump: " << image.error().ToString() << "\n";
    return 8;
  }
  std::cout << (format == "json" ? DumpJson(*image) : DumpText(*image)) << std::flush;
  if (!std::cout) {
    std::cerr << "shadow_dump: cannot write the dump\n";
    return 8;
  }
  return Check(*image, device->size()).Clean() ? 0 : 4;
}
