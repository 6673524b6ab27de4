// SPDX-License-Identifier: Apache-2.0
// dm-shadow-activate: puts shadow volumes together from what lies on their metadata devices.
//
// For boot: udev's rule asks it what a device is (--udev), dm-shadow@NAME.service lets it wait for
// a volume's legs (--wait), an initramfs calls it again and again (--all). It needs device mapper,
// sysfs and, for logical volumes that are not active, LVM; no daemon, no store, no /var.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "daemon/boot/activator.h"
#include "daemon/boot/device_events.h"
#include "daemon/boot/leg_hider.h"
#include "daemon/dm/libdm.h"
#include "daemon/identity/device_facts.h"
#include "daemon/identity/linux_identities.h"
#include "kernel/core/shadow_version.h"

namespace shadow {
namespace {

constexpr int kUp = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kIncomplete = 3;
constexpr std::int64_t kLookAgainMs = 5'000;
constexpr std::int64_t kDefaultLegWaitSeconds = 90;
constexpr const char* kRunDirectory = "/run/dm-shadow";

struct Options {
  std::string what;  // a volume's name or UUID, or a metadata device
  std::string udev, name, release;
  std::string config = "/etc/dm-shadow/shadowd.toml";
  bool all = false, wait = false, list = false, without_missing = false;
};

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& w : words) text += (text.empty() ? "" : "; ") + w;
  return text;
}

// The one setting that matters here, without a parser for the rest of the file: 0 is for ever.
std::int64_t LegWaitSeconds(const std::string& config) {
  std::ifstream file(config);
  for (std::string line; std::getline(file, line);) {
    std::replace(line.begin(), line.end(), '=', ' ');
    const auto words = SplitWords(line);
    if (words.size() < 2 || words[0] != "leg_wait_seconds") continue;
    if (const auto seconds = ParseNumber(words[1])) return static_cast<std::int64_t>(*seconds);
  }
  return kDefaultLegWaitSeconds;
}

// --- for udev's rule ---------------------------------------------------------------------------

// Is the device, or the disk that it is a partition of, a leg?
std::optional<LegEntry> EntryOf(const std::string& devnode, const std::vector<LegEntry>& legs) {
  struct stat st {};
  if (legs.empty() || stat(devnode.c_str(), &st) != 0) return std::nullopt;
  auto facts = ReadFacts("/sys/dev/block/" + std::to_string(major(st.st_rdev)) + ":" +
                         std::to_string(minor(st.st_rdev)));
  if (!facts.ok()) return std::nullopt;
  const auto identities = MakeLinuxIdentities();
  const auto now = identities->Identify(devnode);
  const auto disk = facts->parent.empty() ? Result<DeviceFacts>(MakeError(Code::kNotFound, ""))
                                          : ReadFacts("/sys/class/block/" + facts->parent);
  for (const LegEntry& e : legs) {
    if (HasIdentity(*facts, e.id) || (now.ok() && now->id == e.id) ||
        (disk.ok() && HasIdentity(*disk, e.id))) {
      return e;
    }
  }
  return std::nullopt;
}

// What systemd can have as an instance of a unit without escapes.
bool IsInstance(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == ':';
  });
}

// systemd's own escaping of one unit name part.
std::string Escaped(const std::string& name) {
  std::string text;
  constexpr const char* kHex = "0123456789abcdef";
  for (const char c : name) {
    const std::string one(1, c);
    if (IsInstance(one) && !(c == '.' && text.empty())) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text += std::string("\\x") + kHex[byte >> 4] + kHex[byte & 15];
    }
  }
  return text;
}

// Prints properties. A device that cannot be read is none of ours. A table of legs that cannot be
// read says nothing, and without DM_SHADOW_LOOKED the rule takes every device for a leg.
int ForUdev(const std::string& devnode) {
  const LegTables tables;
  const auto legs = tables.Read();
  if (!legs.ok()) {
    std::cerr << "dm-shadow-activate: " << legs.error().ToString() << "\n";
    return kFailed;
  }
  std::cout << "DM_SHADOW_LOOKED=1\n";
  if (const auto leg = EntryOf(devnode, *legs)) {
    std::cout << "DM_SHADOW_LEG=" << leg->role << "\nDM_SHADOW_VOLUME=" << leg->volume << "\n";
    return kUp;
  }
  const auto sb = ReadSuperblock(devnode);
  if (!sb.ok() || !*sb) return kUp;
  std::cout << "DM_SHADOW_METADATA=1\nDM_SHADOW_UUID=" << (*sb)->uuid
            << "\nDM_SHADOW_UNIT=dm-shadow@" << Escaped((*sb)->uuid) << ".service\n";
  // Before any leg of the volume is looked at, if this one is the first to appear.
  (void)LegTables({kRunDirectory}).Update((*sb)->uuid, LegsOf(**sb));
  return kUp;
}

// The device is the administrator's again, old copy and all. Not while it is a leg.
int Release(const std::string& device) {
  const LegTables tables;
  const auto read = tables.Read();
  if (!read.ok()) {
    std::cerr << "dm-shadow-activate: " << read.error().ToString() << "\n";
    return kFailed;
  }
  const std::vector<LegEntry>& all = *read;
  const auto entry = EntryOf(device, all);
  if (!entry) {
    std::cerr << "dm-shadow-activate: " << device << " is not hidden.\n";
    return kFailed;
  }
  if (entry->role != kOldCopy) {
    std::cerr << "dm-shadow-activate: " << device << " is the " << entry->role << " of "
              << entry->volume << "; export or delete the volume first.\n";
    return kFailed;
  }
  std::vector<LegEntry> rest;
  for (const LegEntry& e : all) {
    if (e.uuid == entry->uuid && e.id != entry->id) rest.push_back(e);
  }
  const Status released = tables.Set(entry->uuid, rest);
  if (!released.ok()) {
    std::cerr << "dm-shadow-activate: " << released.error().ToString() << "\n";
    return kFailed;
  }
  PokeUdev(device);
  return kUp;
}

// --- activation --------------------------------------------------------------------------------

struct Candidate {
  std::string path;
  shadow_superblock sb;
};

// Metadata devices, without the layers below one (images of a mirror, paths of multipath).
std::vector<Candidate> Candidates() {
  std::vector<Candidate> found;
  for (const std::string& path : FindMetadataDevices()) {
    const auto sb = ReadSuperblock(path);
    const auto facts = ReadFacts("/sys/class/block/" + path.substr(path.rfind('/') + 1));
    if (!sb.ok() || !*sb || !facts.ok()) continue;
    const bool below =
        std::any_of(facts->holders.begin(), facts->holders.end(), [](const std::string& holder) {
          const auto above = ReadFacts("/sys/class/block/" + holder);
          return !above.ok() || above->dm_uuid.rfind("SHADOW-", 0) != 0;
        });
    if (!below) found.push_back({path, **sb});
  }
  return found;
}

class Program {
 public:
  explicit Program(Options options)
      : options_(std::move(options)),
        dm_(MakeLibDeviceMapper({UdevIsRunning()})),
        identities_(MakeLinuxIdentities()),
        activator_({dm_.get(), identities_.get(), &runner_, &tables_}) {}

  int Run() {
    if (options_.list) return List();
    if (options_.all) return All();
    return options_.wait ? Wait() : One(options_.without_missing);
  }

 private:
  static int List() {
    for (const Candidate& c : Candidates()) {
      std::cout << c.path << " " << c.sb.uuid << " " << (c.sb.name[0] != '\0' ? c.sb.name : "-")
                << "\n";
      for (const LegEntry& leg : LegsOf(c.sb)) {
        std::cout << "  " << leg.role << " " << leg.id << "\n";
      }
    }
    return kUp;
  }

  Result<std::string> MetadataOf(const std::string& what) const {
    if (what[0] == '/') return what;
    std::vector<std::string> paths;
    for (const Candidate& c : Candidates()) {
      if (what == c.sb.uuid || what == c.sb.name) paths.push_back(c.path);
    }
    if (paths.size() == 1) return paths.front();
    if (paths.empty()) {
      return MakeError(Code::kNotFound, "No metadata of a volume " + what + " is there.",
                       "list what is there with dm-shadow-activate --list");
    }
    return MakeError(Code::kFailedPrecondition,
                     "Several devices hold metadata of " + what + ": " + Joined(paths) + ".",
                     "name the right one, or take the copy away");
  }

  // One try. What is said twice is said once.
  int Try(const std::string& metadata, bool without_missing) {
    const auto done = activator_.Activate(metadata, {without_missing, options_.name});
    if (!done.ok()) {
      Tell(done.error().ToString());
      code_ = done.error().code;
      return kFailed;
    }
    code_.reset();
    if (done->state == Activation::State::kWaiting) {
      Tell(done->name + " waits: " + Joined(done->missing) + ".");
      return kIncomplete;
    }
    if (done->made) {
      Tell(done->name + " is up" +
           (done->missing.empty() ? "" : " without a leg: " + Joined(done->missing)) + ".");
    }
    return kUp;
  }

  void Tell(const std::string& text) {
    if (text == told_) return;
    told_ = text;
    std::cerr << "dm-shadow-activate: " << text << "\n";
    sd_notifyf(0, "STATUS=%s", text.c_str());
  }

  int One(bool without_missing) {
    const auto metadata = MetadataOf(options_.what);
    if (!metadata.ok()) {
      Tell(metadata.error().ToString());
      code_ = metadata.error().code;
      return kFailed;
    }
    return Try(*metadata, without_missing);
  }

  int All() {
    int worst = kUp;
    for (const Candidate& c : Candidates()) {
      const int one = Try(c.path, options_.without_missing);
      if (one != kUp && worst != kFailed) worst = one;
    }
    return worst;
  }

  // Until the volume is up, or there is none any more. Other failures may pass: a module that is
  // loaded later, somebody else who is at it.
  int Wait() {
    DeviceEvents events;
    const auto start = std::chrono::steady_clock::now();
    const std::int64_t limit = LegWaitSeconds(options_.config);
    while (true) {
      const auto waited = std::chrono::steady_clock::now() - start;
      const bool long_enough = limit != 0 && waited >= std::chrono::seconds(limit);
      const int one = One(options_.without_missing || long_enough);
      if (one == kUp) return kUp;
      if (code_ == Code::kNotFound || code_ == Code::kInvalidArgument) return kFailed;
      events.Wait(kLookAgainMs);
    }
  }

  Options options_;
  std::unique_ptr<DeviceMapper> dm_;
  std::unique_ptr<Identities> identities_;
  RealProcessRunner runner_;
  LegTables tables_;
  Activator activator_;
  std::string told_;
  std::optional<Code> code_;  // of the last failure
};

int Main(const Options& options) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("dm-shadow-activate"));
  spdlog::set_level(spdlog::level::warn);
  if (!options.udev.empty()) return ForUdev(options.udev);
  if (!options.release.empty()) return Release(options.release);
  if (options.what.empty() && !options.all && !options.list) {
    std::cerr << "dm-shadow-activate: name a volume or its metadata device, or --all.\n";
    return kUsage;
  }
  if (geteuid() != 0) {
    std::cerr << "dm-shadow-activate: run it as root.\n";
    return kFailed;
  }
  return Program(options).Run();
}

}  // namespace
}  // namespace shadow

int main(int argc, char** argv) {
  shadow::Options options;
  CLI::App app{"dm-shadow-activate: puts shadow volumes together from their metadata devices"};
  app.set_version_flag("--version", "dm-shadow-activate " SHADOW_VERSION);
  app.add_option("VOLUME", options.what, "Name or UUID of a volume, or its metadata device");
  app.add_flag("--all", options.all, "Every volume whose metadata is there; do not wait");
  app.add_flag("--wait", options.wait, "Wait until the volume is up");
  app.add_flag("--without-missing", options.without_missing,
               "Start without legs that hold no block's only current copy");
  app.add_option("--name", options.name, "Name of the device, if the metadata does not say it");
  app.add_flag("--list", options.list, "List metadata devices, volumes and legs");
  app.add_option("--release", options.release,
                 "Show a device again that holds an old copy of a volume");
  app.add_option("--udev", options.udev, "For udev's rule: what is this device?");
  app.add_option("--config", options.config, "Where leg_wait_seconds is set")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? shadow::kUp : shadow::kUsage;
  }
  return shadow::Main(options);
}
