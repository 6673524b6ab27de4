// SPDX-License-Identifier: Apache-2.0
// Which device of the world is which.
#include "daemon/sim/sim_parts.h"

namespace shadow::sim {
namespace {

class SimIdentities final : public Identities {
 public:
  explicit SimIdentities(SimWorld* world) : w_(*world) {}

  Result<DeviceIdentity> Identify(const std::string& path) override {
    const Call call(&w_, "", path);
    const auto it = w_.disks.find(path);
    if (it != w_.disks.end()) return Of(it->second, path);
    return MakeError(Code::kNotFound, "There is no device " + path + ".",
                     "give the full path of a block device, like /dev/vg/lv");
  }

  Result<DeviceIdentity> IdentifyNumber(const std::string& number) override {
    const Call call(&w_, "", number);
    for (const auto& [path, disk] : w_.disks) {
      if ("253:" + std::to_string(disk.minor) == number) return Of(disk, path);
    }
    return MakeError(Code::kNotFound, "There is no device " + number + ".");
  }

  Result<DeviceIdentity> Resolve(const std::string& id) override {
    const Call call(&w_, "", id);
    std::vector<std::string> found;
    for (const auto& [path, disk] : w_.disks) {
      if (disk.id == id) found.push_back(path);
    }
    if (found.size() == 1) return Of(w_.disks.at(found[0]), found[0]);
    if (found.empty()) {
      return MakeError(Code::kNotFound, "No device with the identity " + id + " is there.");
    }
    return MakeError(Code::kFailedPrecondition, "Several devices have the identity " + id + ": " +
                                                    found[0] + " and " + found[1] + ".");
  }

 private:
  [[nodiscard]] DeviceIdentity Of(const Disk& disk, const std::string& path) const {
    DeviceIdentity identity;
    identity.id = disk.id;
    identity.kind = IdentityKind::kDisk;
    if (w_.lvs.count(path) != 0) identity.kind = IdentityKind::kLogicalVolume;
    if (!disk.lasts) identity.kind = IdentityKind::kName;
    identity.path = path;
    identity.major = 253;
    identity.minor = disk.minor;
    identity.size_bytes = disk.size_bytes;
    identity.description = "simulated disk " + path;
    return identity;
  }

  SimWorld& w_;
};

}  // namespace

std::unique_ptr<Identities> MakeSimIdentities(SimWorld* world) {
  return std::make_unique<SimIdentities>(world);
}

}  // namespace shadow::sim
