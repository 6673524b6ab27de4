// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/counters.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "daemon/dm/blocks.h"
#include "daemon/dm/table.h"

namespace shadow::replay {
namespace {

Error Odd(const std::string& type, std::string_view text) {
  return MakeError(Code::kDataLoss, "The status of the target " + type +
                                        " cannot be understood: '" +
                                        std::string(text.substr(0, 120)) + "'.");
}

// "<mode> <phase> <blocks> <block sectors> [key=value]..."; values that are no numbers are skipped.
Result<Snapshot> ParseShadow(std::string_view params) {
  const auto words = SplitWords(params);
  Snapshot s{.type = "shadow"};
  const auto sectors = words.size() < 4 ? std::nullopt : ParseNumber(words[3]);
  if (!sectors || *sectors == 0 || *sectors > 32768) return Odd("shadow", params);
  s.block_bytes = *sectors * kSectorBytes;
  for (std::size_t i = 4; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string_view::npos) return Odd("shadow", words[i]);
    if (const auto n = ParseNumber(words[i].substr(equals + 1))) {
      s.counts[std::string(words[i].substr(0, equals))] = *n;
    }
  }
  return s;
}

// Documentation/admin-guide/device-mapper/cache.rst, "Status".
Result<Snapshot> ParseCache(std::string_view params) {
  const auto words = SplitWords(params);
  constexpr std::array<const char*, 7> kNames = {
      "read_hits", "read_misses", "write_hits", "write_misses", "demotions", "promotions", "dirty"};
  Snapshot s{.type = "cache"};
  const auto sectors = words.size() < 11 ? std::nullopt : ParseNumber(words[2]);
  if (!sectors || *sectors == 0 || *sectors > (1u << 21)) return Odd("cache", params);
  s.block_bytes = *sectors * kSectorBytes;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const auto n = ParseNumber(words[4 + i]);
    if (!n) return Odd("cache", params);
    s.counts[kNames.at(i)] = *n;
  }
  return s;
}

// The kernel's folder of a block device.
std::string Folder(const std::string& path, const std::string& sysfs) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0 || !S_ISBLK(st.st_mode)) return "";
  return sysfs + "/dev/block/" + std::to_string(major(st.st_rdev)) + ":" +
         std::to_string(minor(st.st_rdev));
}

DeviceBytes ReadStat(const std::filesystem::path& device) {
  std::ifstream file(device / "stat");
  std::array<std::uint64_t, 7> f{};
  for (auto& value : f) {
    if (!(file >> value)) return {};
  }
  return {f[2] * kSectorBytes, f[6] * kSectorBytes};
}

std::uint64_t Count(const Snapshot& s, const std::string& name) {
  const auto it = s.counts.find(name);
  return it == s.counts.end() ? 0 : it->second;
}

// A counter that went back (the volume was made anew) counts from 0.
std::uint64_t Since(std::uint64_t before, std::uint64_t after) {
  return after >= before ? after - before : after;
}

}  // namespace

Result<Snapshot> ParseTarget(const std::string& type, std::string_view params) {
  if (type == "shadow") return ParseShadow(params);
  if (type == "cache") return ParseCache(params);
  return Snapshot{};
}

std::string DmName(const std::string& path, const std::string& sysfs) {
  const std::string folder = Folder(path, sysfs);
  std::string name;
  if (!folder.empty()) std::getline(std::ifstream(folder + "/dm/name") >> std::ws, name);
  return name;
}

Result<Snapshot> TakeSnapshot(DeviceMapper* dm, const std::string& path, const std::string& sysfs) {
  Snapshot s;
  const std::string name = DmName(path, sysfs);
  if (!name.empty()) {
    SHADOW_ASSIGN(const DmTarget target, dm->StatusOf(name));
    SHADOW_ASSIGN(s, ParseTarget(target.type, target.params));
  }
  std::error_code none;
  const std::string folder = Folder(path, sysfs);
  for (const auto& leg : std::filesystem::directory_iterator(folder + "/slaves", none)) {
    s.legs[leg.path().filename().string()] = ReadStat(leg.path());
  }
  return s;
}

Difference Compare(const Snapshot& before, const Snapshot& after, const Plan& plan) {
  Difference d{.type = after.type, .block_bytes = after.block_bytes};
  const auto since = [&](const std::string& name) {
    return Since(Count(before, name), Count(after, name));
  };
  for (const auto& [name, bytes] : after.legs) {
    const auto it = before.legs.find(name);
    const DeviceBytes old = it == before.legs.end() ? DeviceBytes{} : it->second;
    d.legs_read += Since(old.read, bytes.read);
    d.legs_written += Since(old.written, bytes.written);
  }
  if (d.type == "shadow") {
    for (const PlannedIo& io : plan.ios) {
      const std::uint64_t pieces =
          (io.offset + io.length - 1) / d.block_bytes - io.offset / d.block_bytes + 1;
      (io.write ? d.pieces_written : d.pieces_read) += pieces;
    }
    for (const std::string tier : {"tier1", "tier2"}) {
      if (!after.counts.contains(tier + "_reads")) continue;
      d.tiers.push_back({tier, since(tier + "_reads"), since(tier + "_writes")});
    }
    if (!d.tiers.empty()) {
      d.promoted = since("promoted");
      d.demoted = since("demoted");
      d.written_back = since("written_back");
    }
  } else if (d.type == "cache") {
    d.pieces_read = since("read_hits") + since("read_misses");
    d.pieces_written = since("write_hits") + since("write_misses");
    d.tiers.push_back({"cache", since("read_hits"), since("write_hits")});
    d.promoted = since("promotions");
    d.demoted = since("demotions");  // and it does not tell what it writes back
  }
  return d;
}

}  // namespace shadow::replay
