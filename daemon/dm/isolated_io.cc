// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/isolated_io.h"

#include <nlohmann/json.hpp>

namespace shadow {
namespace {

using nlohmann::json;

constexpr const char* kYes = "yes";

Error Garbled() { return MakeError(Code::kInternal, "A helper's answer cannot be read."); }

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
  Status ZeroStart(const std::string& path, std::uint64_t bytes) override {
    return looks_.ZeroStart(path, bytes);
  }
  Status Discard(const std::string& path) override { return looks_.Discard(path); }
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
    return looks_.Backup(path, bytes, file);
  }

 private:
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
