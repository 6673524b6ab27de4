// SPDX-License-Identifier: Apache-2.0
#include "daemon/legs/lvm_report.h"

#include <nlohmann/json.hpp>

#include "daemon/dm/table.h"

namespace shadow {
namespace {

using nlohmann::json;

Error Unreadable(const char* what) {
  return MakeError(Code::kDataLoss,
                   std::string("What LVM reports about ") + what + " cannot be understood.",
                   "shadowd needs LVM 2.03 or later");
}

// The rows of {"report":[{"<kind>":[{...}, ...]}]}.
Result<std::vector<json>> Rows(const std::string& text, const char* kind) {
  const json j = json::parse(text, nullptr, false);
  std::vector<json> rows;
  if (!j.is_object() || !j.contains("report") || !j["report"].is_array()) return Unreadable(kind);
  for (const json& report : j["report"]) {
    if (!report.is_object() || !report.contains(kind)) continue;
    if (!report[kind].is_array()) return Unreadable(kind);
    for (const json& row : report[kind]) {
      if (!row.is_object()) return Unreadable(kind);
      rows.push_back(row);
    }
  }
  return rows;
}

std::string Text(const json& row, const char* column) {
  const auto it = row.find(column);
  return it != row.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::uint64_t Size(const json& row, const char* column, bool* ok) {
  const auto number = ParseNumber(Text(row, column));
  if (!number) *ok = false;
  return number.value_or(0);
}

}  // namespace

std::string LvmVolume::Tag(const std::string& key) const {
  const std::string prefix = key + "=";
  for (const std::string& tag : tags) {
    if (tag.rfind(prefix, 0) == 0) return tag.substr(prefix.size());
  }
  return "";
}

Result<std::vector<LvmVolume>> ParseLvs(const std::string& text) {
  SHADOW_ASSIGN(const std::vector<json> rows, Rows(text, "lv"));
  std::vector<LvmVolume> volumes;
  for (const json& row : rows) {
    LvmVolume v;
    bool ok = true;
    v.path = Text(row, "lv_path");
    v.name = Text(row, "lv_name");
    v.group = Text(row, "vg_name");
    v.uuid = Text(row, "lv_uuid");
    v.size_bytes = Size(row, "lv_size", &ok);
    const std::string tags = Text(row, "lv_tags");
    for (std::size_t at = 0; at < tags.size();) {
      const std::size_t end = std::min(tags.find(',', at), tags.size());
      v.tags.push_back(tags.substr(at, end - at));
      at = end + 1;
    }
    const std::string attributes = Text(row, "lv_attr");
    v.has_snapshots = !attributes.empty() && (attributes[0] == 'o' || attributes[0] == 'O');
    v.origin = Text(row, "origin");
    v.active = attributes.size() > 4 && attributes[4] == 'a';
    v.suspended = attributes.size() > 4 && attributes[4] == 's';
    v.open = attributes.size() > 5 && attributes[5] == 'o';
    v.skipped = attributes.size() > 9 && attributes[9] == 'k';
    if (!ok || v.name.empty() || v.group.empty()) return Unreadable("logical volumes");
    if (v.path.empty()) v.path = "/dev/" + v.group + "/" + v.name;
    volumes.push_back(std::move(v));
  }
  return volumes;
}

Result<std::vector<LvmGroup>> ParseVgs(const std::string& text) {
  SHADOW_ASSIGN(const std::vector<json> rows, Rows(text, "vg"));
  std::vector<LvmGroup> groups;
  for (const json& row : rows) {
    LvmGroup g;
    bool ok = true;
    g.name = Text(row, "vg_name");
    g.size_bytes = Size(row, "vg_size", &ok);
    g.free_bytes = Size(row, "vg_free", &ok);
    g.extent_bytes = Size(row, "vg_extent_size", &ok);
    if (!ok || g.name.empty()) return Unreadable("volume groups");
    groups.push_back(std::move(g));
  }
  return groups;
}

}  // namespace shadow
