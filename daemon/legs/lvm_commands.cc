// SPDX-License-Identifier: Apache-2.0
#include "daemon/legs/lvm_commands.h"

#include <spdlog/spdlog.h>

#include <array>

#include "daemon/base/interrupt.h"

namespace shadow {
namespace {

constexpr std::int64_t kCommandMs = 120'000;
constexpr int kSignalled = 128;  // exit codes from here on

// What the parsers rely on.
constexpr const char* kReportSettings =
    "report{prefixes=0 headings=1 columns_as_rows=0 compact_output=0 compact_output_cols=\"\" "
    "list_item_separator=\",\" separator=\" \" quoted=1 aligned=1 buffered=1 "
    "binary_values_as_numeric=0 mark_hidden_devices=1} ";

// A path as a pattern that matches it alone.
std::string PatternOf(const std::string& path) {
  std::string pattern = "\"r|^";
  for (const char c : path) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '/' || c == '-' ||
                       c == '_' || c == ':';
    // No name of ours has what LVM's strings or patterns could end with.
    if (c == '"' || c == '|' || c == '\\' || c == '[' || c == ']') return "";
    pattern += plain ? std::string(1, c) : "[" + std::string(1, c) + "]";
  }
  return pattern + "$|\"";
}

bool LeavesSuspended(const std::string& command) {
  static constexpr std::array kCommands = {"lvextend", "lvreduce", "lvchange", "lvrename"};
  for (const char* c : kCommands) {
    if (command == c) return true;
  }
  return false;
}

Error Unlisted(const char* what, const ProcessResult& r) {
  return MakeError(Code::kUnavailable,
                   std::string("LVM cannot list its ") + what + ": " + FirstComplaint(r),
                   "look at the volume groups with vgs, and run shadowd as root");
}

}  // namespace

// The user's own elements of devices/filter. LVM is asked once: it reads files, no device.
std::string LvmCommands::UserFilter() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (user_filter_) return *user_filter_;
  }
  const auto r = runner_.Run({"lvmconfig", "devices/filter"}, kCommandMs);
  std::string elements;
  constexpr std::string_view kKey = "filter=";
  if (r.ok() && r->exit_code == 0 && r->out.rfind(kKey, 0) == 0) {
    elements = r->out.substr(kKey.size(), r->out.find('\n') - kKey.size());
    if (elements.size() >= 2 && elements.front() == '[') {
      elements = elements.substr(1, elements.size() - 2);
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (r.ok()) user_filter_ = elements;
  return elements;
}

std::string LvmCommands::Filter() {
  if (!options_.hidden) return "";
  std::string filter;
  for (const std::string& path : options_.hidden()) {
    const std::string pattern = PatternOf(path);
    if (!pattern.empty()) filter += (filter.empty() ? "" : ",") + pattern;
  }
  if (filter.empty()) return "";
  const std::string theirs = UserFilter();
  return "devices{filter=[" + filter + (theirs.empty() ? "" : ",") + theirs + "]} ";
}

std::string LvmCommands::Settings() {
  std::string settings = kReportSettings + Filter();
  if (!options_.udev) {
    settings +=
        "activation{udev_sync=0 udev_rules=0 monitoring=0} "
        "devices{obtain_device_list_from_udev=0}";
  }
  return settings;
}

Result<ProcessResult> LvmCommands::Command(std::vector<std::string> argv) {
  Mend();
  const std::string command = argv[0];
  const std::string object = argv.back();
  argv.insert(argv.begin() + 1, {"--config", Settings()});
  spdlog::debug("running {} ...", command);
  auto r = runner_.Run(argv, kCommandMs);
  const bool ended_well = r.ok() && r->exit_code < kSignalled;
  if (!ended_well && LeavesSuspended(command)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    doubtful_.insert(object);
  }
  return r;
}

// Resumes what a command that did not end well left suspended.
void LvmCommands::Mend() {
  std::set<std::string> names;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (doubtful_.empty() || Interrupted()) return;
    names.swap(doubtful_);
  }
  for (const std::string& name : names) {
    const auto found = Volumes({name});
    if (found.ok() && (found->size() != 1 || !found->front().suspended)) continue;
    // If this does not end well either, Command() puts the name back.
    spdlog::warn("{} is suspended after a command that did not end; resuming it", name);
    const Status mended = Run({"lvchange", "--yes", "--refresh", name}, "resume " + name);
    if (!mended.ok()) spdlog::error("{}", mended.error().ToString());
  }
}

Status LvmCommands::Run(const std::vector<std::string>& argv, const std::string& what) {
  SHADOW_ASSIGN(const ProcessResult r, Command(argv));
  if (r.exit_code == 0) return Ok();
  const std::string why = FirstComplaint(r);
  const bool full = why.find("insufficient") != std::string::npos;
  return MakeError(full ? Code::kOutOfSpace : Code::kIoError,
                   "LVM could not " + what + ": " + why + (why.back() == '.' ? "" : "."),
                   full ? "add a device to the volume group" : "");
}

Result<LvmListing> LvmCommands::List(const std::vector<std::string>& names) {
  std::vector<std::string> argv = {"lvs", "--reportformat", "json", "--units",
                                   "b",   "--nosuffix",     "-o",   kLvsColumns};
  argv.insert(argv.end(), names.begin(), names.end());
  SHADOW_ASSIGN(const ProcessResult r, Command(argv));
  auto volumes = ParseLvs(r.out);
  if (r.exit_code == 0 && !volumes.ok()) return volumes.error();
  LvmListing listing;
  if (volumes.ok()) listing.volumes = std::move(*volumes);
  if (r.exit_code != 0) {
    listing.complete = false;
    listing.complaint = Unlisted("volumes", r);
  }
  return listing;
}

Result<std::vector<LvmVolume>> LvmCommands::Volumes(const std::vector<std::string>& names) {
  SHADOW_ASSIGN(LvmListing listing, List(names));
  if (!listing.complete) return listing.complaint;
  return std::move(listing.volumes);
}

Result<std::vector<LvmGroup>> LvmCommands::Groups(const std::vector<std::string>& names) {
  std::vector<std::string> argv = {"vgs", "--reportformat", "json", "--units",
                                   "b",   "--nosuffix",     "-o",   kVgsColumns};
  argv.insert(argv.end(), names.begin(), names.end());
  SHADOW_ASSIGN(const ProcessResult r, Command(argv));
  auto groups = ParseVgs(r.out);
  if (r.exit_code == 0) return groups;
  // A group that is not there, or is not whole, costs itself.
  const bool absent = r.err.find("not found") != std::string::npos;
  if (groups.ok() && (absent || !groups->empty())) return groups;
  return Unlisted("groups", r);
}

}  // namespace shadow
