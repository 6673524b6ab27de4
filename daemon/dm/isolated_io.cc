// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/isolated_io.h"

#include <nlohmann/json.hpp>

namespace shadow {
namespace {

using nlohmann::json;

constexpr const char* kYes = "yes";
constexpr int kLong = 20;  // times: a whole device, or all metadata of a large volume

// Magic bytes are no text: hexadecimal.
std::string ToText(const std::vector<DeviceBytes>& all) {
  json j = json::array();
  for (const DeviceBytes& one : all) j.push_back(FormatBytes(one));
  return j.dump();
}

Error Garbled() { return MakeError(Code::kInternal, "A helper's answer cannot be read."); }

Result<std::vector<DeviceBytes>> FromText(const std::string& text) {
  const json j = json::parse(text, nullptr, false);
  if (!j.is_array()) return Garbled();
  std::vector<DeviceBytes> all;
  for (const json& one : j) {
    const auto bytes = one.is_string() ? ParseBytes(one.get<std::string>()) : std::nullopt;
    if (!bytes) return Garbled();
    all.push_back(*bytes);
  }
  return all;
}

class IsolatedDeviceGuard final : public DeviceGuard {
 public:
  IsolatedDeviceGuard(DeviceGuard& looks, Isolation& isolation)
      : looks_(looks), isolation_(isolation) {}

  Result<std::string> UsedBy(const std::string& path) override { return looks_.UsedBy(path); }
  Result<std::vector<Signature>> Signatures(const std::string& path) override {
    SHADOW_ASSIGN(const std::string answer, isolation_.Do({"signatures", path}));
    const json all = json::parse(answer, nullptr, false);
    if (!all.is_array()) return Garbled();
    std::vector<Signature> found;
    for (const json& one : all) {
      if (!one.is_object()) return Garbled();
      found.push_back({one.value("type", ""), one.value("label", ""), one.value("uuid", "")});
    }
    return found;
  }
  Result<std::vector<DeviceBytes>> SignatureBytes(const std::string& path) override {
    SHADOW_ASSIGN(const std::string answer, isolation_.Do({"signature-bytes", path}));
    return FromText(answer);
  }
  Status WriteBytes(const std::string& path, const std::vector<DeviceBytes>& bytes) override {
    SHADOW_ASSIGN([[maybe_unused]] const std::string answer,
                  isolation_.Do({"write-bytes", path, "", 0, ToText(bytes)}));
    return Ok();
  }
  Result<bool> LooksBlank(const std::string& path) override {
    SHADOW_ASSIGN(const std::string answer, isolation_.Do({"blank", path}));
    return answer == kYes;
  }
  Result<std::vector<StackedDevice>> Stack(const std::string& path) override {
    return looks_.Stack(path);
  }
  Result<std::unique_ptr<DeviceHold>> Hold(const std::string& path) override {
    return looks_.Hold(path);
  }

 private:
  DeviceGuard& looks_;
  Isolation& isolation_;
};

class IsolatedBlockDevices final : public BlockDevices {
 public:
  IsolatedBlockDevices(BlockDevices& looks, Isolation& isolation)
      : looks_(looks), isolation_(isolation) {}

  Result<BlockInfo> Describe(const std::string& path) override { return looks_.Describe(path); }
  Status ZeroStart(const std::string& path, std::uint64_t bytes, Claim claim) override {
    return Plain({"zero", path, "", bytes, claim == Claim::kHeld ? kYes : ""});
  }
  Status Discard(const std::string& path) override {
    return Plain({"discard", path, "", 0, ""}, kLong);
  }
  Result<DeviceSpeed> Probe(const std::string& path, bool may_write) override {
    SHADOW_ASSIGN(const std::string answer,
                  isolation_.Do({"probe", path, "", 0, may_write ? kYes : ""}));
    const json j = json::parse(answer, nullptr, false);
    if (!j.is_array() || j.size() != 3) return Garbled();
    for (const json& one : j) {
      if (!one.is_number_unsigned()) return Garbled();
    }
    return DeviceSpeed{j[0].get<std::uint64_t>(), j[1].get<std::uint64_t>(),
                       j[2].get<std::uint64_t>()};
  }
  Status Backup(const std::string& path, std::uint64_t bytes, const std::string& file) override {
    return Plain({"backup", path, "", bytes, file}, kLong);
  }

 private:
  Status Plain(const DmRequest& request, int times = 1) {
    SHADOW_ASSIGN([[maybe_unused]] const std::string answer, isolation_.Do(request, times));
    return Ok();
  }

  BlockDevices& looks_;
  Isolation& isolation_;
};

}  // namespace

Result<std::string> PerformLook(DeviceGuard& guard, BlockDevices& blocks, const DmRequest& r) {
  if (r.op == "signatures") {
    SHADOW_ASSIGN(const std::vector<Signature> found, guard.Signatures(r.name));
    json all = json::array();
    for (const Signature& s : found) {
      all.push_back({{"type", s.type}, {"label", s.label}, {"uuid", s.uuid}});
    }
    // A label may be anything.
    return all.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  const auto plain = [](const Status& s) -> Result<std::string> {
    if (!s.ok()) return s.error();
    return std::string();
  };
  if (r.op == "signature-bytes") {
    SHADOW_ASSIGN(const std::vector<DeviceBytes> found, guard.SignatureBytes(r.name));
    return ToText(found);
  }
  if (r.op == "write-bytes") {
    SHADOW_ASSIGN(const std::vector<DeviceBytes> bytes, FromText(r.text));
    return plain(guard.WriteBytes(r.name, bytes));
  }
  if (r.op == "zero") {
    const Claim claim = r.text == kYes ? Claim::kHeld : Claim::kTake;
    return plain(blocks.ZeroStart(r.name, r.sectors, claim));
  }
  if (r.op == "discard") return plain(blocks.Discard(r.name));
  if (r.op == "backup") return plain(blocks.Backup(r.name, r.sectors, r.text));
  if (r.op == "blank") {
    SHADOW_ASSIGN(const bool blank, guard.LooksBlank(r.name));
    return std::string(blank ? kYes : "");
  }
  if (r.op == "probe") {
    SHADOW_ASSIGN(const DeviceSpeed s, blocks.Probe(r.name, r.text == kYes));
    return json{s.read_bandwidth, s.write_bandwidth, s.read_latency_us}.dump();
  }
  return MakeError(Code::kInternal, "A helper knows no " + r.op + ".");
}

std::unique_ptr<DeviceGuard> MakeIsolatedDeviceGuard(DeviceGuard& looks, Isolation& isolation) {
  return std::make_unique<IsolatedDeviceGuard>(looks, isolation);
}

std::unique_ptr<BlockDevices> MakeIsolatedBlockDevices(BlockDevices& looks, Isolation& isolation) {
  return std::make_unique<IsolatedBlockDevices>(looks, isolation);
}

}  // namespace shadow
