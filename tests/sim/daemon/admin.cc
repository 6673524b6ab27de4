// SPDX-License-Identifier: Apache-2.0
// Everybody else on the machine: an administrator with LVM and mkfs, programs that open devices,
// disks that come, go and fail.
#include "tests/sim/daemon/world.h"

namespace shadow::judge {

std::string World::DiskAt(std::uint32_t n) const {
  const auto& disks = m_->world.disks;
  if (disks.empty()) return "/dev/none";
  auto it = disks.begin();
  std::advance(it, n % disks.size());
  return it->first;
}

std::string World::VolumeAt(std::uint32_t n) const {
  const auto& all = judge_->volumes();
  if (all.empty() || n % 16 == 15) return "v" + std::to_string(n / 16 % 4);
  auto it = all.begin();
  std::advance(it, n / 16 % all.size());
  return it->first;
}

bool World::Mine(const std::string& path) const { return judge_->IsOurs(path); }

bool World::DoAdmin(Verb verb, const Args& a) {
  if (verb < Verb::kAdminWrite || verb > Verb::kFailCall) return false;
  sim::SimWorld& w = m_->world;
  const std::string path = DiskAt(a[0]);
  const auto it = w.disks.find(path);
  sim::Disk* disk = it == w.disks.end() ? nullptr : &it->second;
  // Whoever wants a device for himself gets it only if nobody has it. What shadowd was given the
  // administrator leaves alone, up or not.
  const bool can_have = disk != nullptr && disk->held == 0 && disk->used_by.empty() &&
                        !judge_->InTable(path) && !Mine(path);
  switch (verb) {
    case Verb::kAdminWrite:
    case Verb::kAdminMkfs: {
      if (!can_have) return true;
      const bool mkfs = verb == Verb::kAdminMkfs;
      for (std::uint64_t& cell : disk->content) cell = ++next_value_;
      if (mkfs) disk->content[0] = sim::SignedValue(a[1] % sim::kSimSignatures, ++next_value_);
      Say(std::string("somebody writes ") + (mkfs ? sim::SignatureOf(disk->content[0]) : "data") +
          " on " + path);
      judge_->SomebodyWrote(path);
      return true;
    }
    case Verb::kAdminOpen:
      if (!can_have) return true;
      (a[1] % 2 == 0 ? disk->opened_by : disk->used_by) = "qemu (process 4711)";
      Say("somebody opens " + path);
      judge_->SomebodyActed(path);
      return true;
    case Verb::kAdminClose:
      for (auto& [at, d] : w.disks) {
        if (d.opened_by.empty() && d.used_by.empty()) continue;
        d.opened_by.clear();
        d.used_by.clear();
        judge_->SomebodyActed(at);
      }
      return true;
    case Verb::kAdminMakeLv: {
      const std::string storage_class = a[0] % 2 == 0 ? "hdd" : "nvme";
      const std::string lv = "/dev/vg_" + storage_class + "/x" + std::to_string(a[1] % 3);
      if (w.disks.count(lv) != 0 || w.away().count(lv) != 0 || w.lvs.size() > 14) return true;
      w.AddForeignLv(lv, storage_class, sim::kSimExtent);
      w.disks.at(lv).content.assign(sim::kSimExtent / kCell, ++next_value_);
      judge_->SomebodyMade(lv);
      Say("somebody makes " + lv);
      return true;
    }
    case Verb::kAdminRemoveLv:
      if (!can_have || w.lvs.count(path) == 0 || !disk->opened_by.empty()) return true;
      Say("somebody removes " + path);
      judge_->SomebodyRemoved(disk->minor);
      w.lvs.erase(path);
      w.metadata.erase(path);
      w.disks.erase(path);
      return true;
    case Verb::kAdminRenameLv: {
      const std::string name = path.substr(0, path.rfind('/')) + "/n" + std::to_string(a[1] % 5);
      if (disk == nullptr || w.lvs.count(path) == 0 || judge_->InTable(path) ||
          w.disks.count(name) != 0 || w.away().count(name) != 0)
        return true;
      Say("somebody renames " + path + " to " + name);
      w.SwapNames(path, name);
      return true;
    }
    case Verb::kAdminDmRemove: {
      const std::string name = VolumeAt(a[0]);
      const auto device = w.devices.find(name);
      if (device == w.devices.end() || device->second.open_count > 0) return true;
      Say("somebody removes the device " + name);
      w.devices.erase(device);
      return true;
    }
    case Verb::kDisconnect:
      if (disk == nullptr || w.away().size() > 2) return true;
      Say(path + " is away");
      w.Disconnect(path);
      return true;
    case Verb::kConnect:
      if (w.away().empty()) return true;
      Say(w.away().begin()->first + " is back");
      w.Connect(w.away().begin()->first);
      return true;
    case Verb::kSick:
      if (disk == nullptr) return true;
      Say(path + " fails");
      disk->fail_reads = a[1] % 3 != 1;
      disk->fail_writes = a[1] % 3 != 0;
      return true;
    case Verb::kHeal:
      for (auto& [at, d] : w.disks) d.fail_reads = d.fail_writes = false;
      return true;
    case Verb::kFailCall: {
      static constexpr std::array<const char*, 24> kCalls = {"Make",
                                                             "Create",
                                                             "Load",
                                                             "Resume",
                                                             "Suspend",
                                                             "Remove",
                                                             "RemoveLv",
                                                             "Extend",
                                                             "Reduce",
                                                             "Release",
                                                             "ZeroStart",
                                                             "Discard",
                                                             "Backup",
                                                             "Trim",
                                                             "Grow",
                                                             "Store",
                                                             "Store",
                                                             "ActivateAll",
                                                             "Message copy",
                                                             "Message cutover",
                                                             "Message commit",
                                                             "Message abort",
                                                             "Message rollback",
                                                             "Message retire"};
      const std::string call = kCalls.at(a[0] % kCalls.size());
      const bool full = call == "Store";
      Say(call + " will fail");
      w.FailNext(call,
                 MakeError(full ? Code::kOutOfSpace : Code::kIoError,
                           full ? "The disk under the state is full." : "Input/output error."),
                 static_cast<int>(1 + a[1] % (full ? 30 : 3)));
      return true;
    }
    default:
      return true;
  }
}

}  // namespace shadow::judge
