// SPDX-License-Identifier: Apache-2.0
// shadow_restore: a dump back onto a metadata device or into a file.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>

#include "kernel/core/shadow_version.h"
#include "tools/metadata/dump.h"

namespace {

using namespace shadow;            // NOLINT: a main
using namespace shadow::metadata;  // NOLINT

int Say(const Error& e) {
  std::cerr << "shadow_restore: " << e.ToString() << "\n";
  return 8;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Writes a JSON dump of shadow_dump onto a metadata device or into a file."};
  app.set_version_flag("--version", "shadow_restore " SHADOW_VERSION);
  std::string dump, path;
  bool force = false;
  app.add_option("DUMP", dump, "File with the dump; - is standard input")->required();
  app.add_option("DEVICE", path, "Metadata device or file to write")->required();
  app.add_flag("--force", force, "Even if the device holds another volume's valid metadata");
  app.footer("Exit status: 0 done, 8 failed (nothing was written, or an I/O error), 16 usage.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 16;
  }
  std::ifstream file;
  if (dump != "-") file.open(dump);
  std::istream& in = dump == "-" ? std::cin : file;
  if (!in) return Say(MakeError(Code::kNotFound, "cannot read " + dump));
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto restored = ImageFromJson(text);
  if (!restored.ok()) return Say(restored.error());

  const auto device = Device::Create(path, restored->needed_bytes());
  if (!device.ok()) return Say(device.error());
  const auto there = device->Read();
  if (!there.ok()) return Say(there.error());
  const auto* old = there->newest();
  if (!force && old && std::string(old->uuid) != restored->newest()->uuid)
    return Say(MakeError(Code::kFailedPrecondition,
                         path + " holds the metadata of volume " + old->uuid, "give --force"));
  // Superblocks last and after a flush: an interrupted restore must not look like a volume.
  const std::size_t both = std::size_t{2} * SHADOW_PAGE_SIZE;
  const Bytes& head = restored->head();
  const auto states = head.begin() + static_cast<std::ptrdiff_t>(both);
  const std::vector<std::vector<Write>> steps = {
      {{0, Bytes(both)}},
      {{both, Bytes(states, head.end())}, {restored->slots_at(), restored->slots()}},
      {{0, Bytes(head.begin(), states)}}};
  for (const auto& step : steps)
    if (const auto done = device->Apply(step); !done.ok()) return Say(done.error());
  std::cout << "Restored volume " << restored->newest()->uuid << ": " << restored->nr_blocks()
            << " blocks.\n";
  return 0;
}
