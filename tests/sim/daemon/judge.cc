// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/daemon/judge.h"

#include <algorithm>

namespace shadow::judge {
namespace {

std::uint64_t Signed(const std::vector<std::uint64_t>& content) {
  return content.empty() || sim::SignatureOf(content[0]).empty() ? 0 : content[0];
}

std::string Number(std::uint64_t n) { return std::to_string(n); }

// Does a leg of the live table not answer?
bool LegIsSick(const sim::SimWorld& world, const ShadowTable& t) {
  const auto sick = [&](const std::string& path) {
    const auto it = world.disks.find(path);
    return it == world.disks.end() || it->second.fail_reads || it->second.fail_writes;
  };
  bool any = sick(t.origin.device) || (t.target && sick(t.target->device));
  for (const auto& tier : t.tiers) any = any || (tier && sick(tier->leg.device));
  return any;
}

}  // namespace

void Judge::Begin() {
  for (auto& [path, disk] : m_.world.disks) {
    if (disk.content.empty()) disk.content.assign(disk.size_bytes / kCell, 0);
    Device d;
    d.path = path;
    d.content = disk.content;
    const bool blank =
        std::all_of(d.content.begin(), d.content.end(), [](auto v) { return v == 0; });
    d.owner = blank ? Owner::kFree : Owner::kSomebody;
    d.logical_volume = m_.world.lvs.count(path) != 0;
    devices_[disk.minor] = std::move(d);
  }
}

Volume* Judge::Find(const std::string& volume) {
  const auto it = volumes_.find(volume);
  return it == volumes_.end() ? nullptr : &it->second;
}

std::optional<std::uint64_t> Judge::FsEnd(const std::string& volume) const {
  const auto it = m_.world.filesystems.find(DevicePath(volume));
  if (it == m_.world.filesystems.end()) return std::nullopt;
  return (it->second.end_bytes + kCell - 1) / kCell;
}

bool Judge::InTable(const std::string& path) const {
  for (const auto& [name, device] : m_.world.devices) {
    const ShadowTable& t = device.target->table();
    bool tier = false;
    for (const auto& one : t.tiers) tier = tier || (one && one->leg.device == path);
    if (tier || t.origin.device == path || t.metadata == path ||
        (t.target && t.target->device == path))
      return true;
  }
  return false;
}

bool Judge::IsOurs(const std::string& path) const {
  const auto disk = m_.world.disks.find(path);
  if (disk == m_.world.disks.end()) return false;
  const auto d = devices_.find(disk->second.minor);
  // Made within this very step.
  if (d == devices_.end()) return true;
  return d->second.owner == Owner::kMade || d->second.owner == Owner::kTaken;
}

// What the daemon may do with a device, as docs/daemon.md says it.
bool Judge::MayTake(const Device& d, const sim::Disk& disk, const std::string& overwrite,
                    bool from_class) const {
  if ((d.owner == Owner::kMade && !d.leftover) || d.owner == Owner::kTaken || InTable(d.path))
    return false;
  if (!disk.used_by.empty() || !disk.opened_by.empty() || disk.read_only || !disk.lasts)
    return false;
  const std::string signature = disk.content.empty() ? "" : sim::SignatureOf(disk.content[0]);
  if (d.left_by_us && d.left == Signed(disk.content)) return true;
  if (!signature.empty()) return overwrite == signature;
  if (overwrite == "data" || (!d.was_volumes && !from_class)) return true;
  return std::all_of(disk.content.begin(), disk.content.end(), [](auto v) { return v == 0; });
}

void Judge::Names(const std::string& volume, const std::string& place, const std::string& overwrite,
                  bool keeps) {
  const bool from_class = place[0] != '/';
  std::vector<std::string> paths = {place};
  if (from_class) {
    const auto it = m_.world.device_classes.find(place);
    if (it == m_.world.device_classes.end()) return;
    paths = it->second;
  }
  for (const std::string& path : paths) {
    const auto disk = m_.world.disks.find(path);
    if (disk == m_.world.disks.end()) continue;
    Device& d = Know(disk->first, disk->second);
    const auto [known, fresh] = d.grants.try_emplace(volume);
    Grant& grant = known->second;
    if (fresh) grant.keeps = keeps;
    grant.from_class = fresh ? from_class : grant.from_class && from_class;
    grant.overwrites.insert(overwrite);
    SomebodyActed(path);
  }
}

void Judge::SomebodyActed(const std::string& path) {
  const auto disk = m_.world.disks.find(path);
  if (disk == m_.world.disks.end()) return;
  Device& d = Know(disk->first, disk->second);
  const bool owned = (d.owner == Owner::kMade && !d.leftover) || d.owner == Owner::kTaken;
  for (auto& [volume, g] : d.grants) {
    g.valid = g.keeps && !owned && disk->second.lasts && disk->second.used_by.empty() &&
              disk->second.opened_by.empty();
    for (const std::string& overwrite : g.overwrites) {
      g.valid = g.valid || (!g.keeps && MayTake(d, disk->second, overwrite, g.from_class));
    }
  }
}

void Judge::SomebodyWrote(const std::string& path) {
  const auto disk = m_.world.disks.find(path);
  if (disk == m_.world.disks.end()) return;
  Device& d = Know(disk->first, disk->second);
  d.content = disk->second.content;
  d.owner = Owner::kSomebody;
  d.was_volumes = false;
  // An import that is under way takes what is there when it has the device.
  for (const auto& [volume, g] : d.grants) {
    Volume* v = g.keeps ? Find(volume) : nullptr;
    if (v != nullptr && v->state == Volume::State::kAsked) v->value = d.content;
  }
  m_.world.metadata.erase(path);
  SomebodyActed(path);
}

void Judge::Settle() { store_writes_ = ~std::uint64_t{0}; }

void Judge::Asked(const std::string& volume, bool imported, std::uint64_t blocks,
                  std::vector<std::uint64_t> data) {
  Volume v;
  v.imported = imported;
  v.value = std::move(data);
  v.value.resize(blocks, 0);
  v.sizes.insert(blocks);
  volumes_[volume] = std::move(v);
}

void Judge::Made(const std::string& volume) {
  Volume* v = Find(volume);
  if (v != nullptr) v->state = Volume::State::kThere;
}

void Judge::NotMade(const std::string& volume) {
  // What could not be undone stays recorded, and is undone later.
  if (!Recorded(volume, VolumeState::kCreating)) volumes_.erase(volume);
  Settle();
}

void Judge::Going(const std::string& volume, bool destroy, bool exporting) {
  Volume* v = Find(volume);
  if (v == nullptr) return;
  v->exporting = exporting && (v->state != Volume::State::kGoing || v->exporting);
  v->state = Volume::State::kGoing;
  v->destroy = v->destroy || destroy;
  if (!destroy) return;
  for (auto& [minor, d] : devices_) {
    const auto grant = d.grants.find(volume);
    if (grant != d.grants.end() && grant->second.keeps)
      grant->second = {{"data"}, false, false, true};
  }
}

void Judge::StillThere(const std::string& volume) {
  Volume* v = Find(volume);
  if (v == nullptr) return;
  v->state = Volume::State::kThere;
  v->destroy = v->exporting = false;
}

void Judge::CheckPlain(const std::string& name, const Volume& v, const sim::Disk& disk) {
  for (std::uint64_t b = 0; b < v.value.size(); ++b) {
    if (b >= disk.content.size()) return Fail("the plain device of " + name + " is too short");
    const std::uint64_t found = disk.content[b];
    const auto other = v.other.find(b);
    if (found == v.value[b] || (other != v.other.end() && other->second == found)) continue;
    // A hole that was not filled shows what was there before.
    if (!v.exporting && (v.value[b] == 0 || (other != v.other.end() && other->second == 0)))
      continue;
    return Fail("block " + Number(b) + " of " + name + " was acknowledged as " +
                Number(v.value[b]) + "; the plain device " + disk.path + " has " + Number(found));
  }
}

void Judge::Gone(const std::string& volume, const std::string& path) {
  const auto it = volumes_.find(volume);
  if (it == volumes_.end()) return;
  const Volume v = it->second;
  volumes_.erase(it);
  // Its other devices can be had from now on.
  for (const auto& [at, disk] : m_.world.disks) {
    Device& d = Know(at, disk);
    if (d.owner == Owner::kTaken && d.volume == volume && disk.minor != v.home) {
      d.content = disk.content;
      Release(&d);
      SomebodyActed(at);
    }
  }
  const auto home = devices_.find(v.home);
  if (home == devices_.end()) return;
  home->second.may_go = v.destroy;
  if (v.destroy) home->second.brought_data = false;
  if (v.destroy) return;
  for (const auto& [at, disk] : m_.world.disks) {
    if (disk.minor != v.home) continue;
    if (!path.empty() && path != at)
      Fail("the plain device of " + volume + " is said to be " + path + " and is " + at);
    CheckPlain(volume, v, disk);
    home->second.content = disk.content;
  }
  home->second.owner = Owner::kSomebody;
  home->second.was_volumes = true;
  home->second.left_by_us = false;
  SomebodyActed(home->second.path);
}

std::map<std::uint32_t, Judge::Use> Judge::Tables() {
  std::map<std::uint32_t, Use> uses;
  for (const auto& [name, device] : m_.world.devices) {
    const ShadowTable& t = device.target->table();
    const auto add = [&](const std::string& path, const std::string& role) {
      const auto disk = m_.world.disks.find(path);
      if (disk == m_.world.disks.end()) return;
      const auto [it, fresh] = uses.emplace(disk->second.minor, Use{name, role});
      if (!fresh && it->second.volume != name)
        Fail(path + " is the " + role + " of " + name + " and the " + it->second.role + " of " +
             it->second.volume);
    };
    add(t.metadata, "metadata");
    add(t.origin.device, "origin");
    if (t.target) add(t.target->device, "target");
    for (std::size_t i = 0; i < t.tiers.size(); ++i) {
      if (t.tiers.at(i)) add(t.tiers.at(i)->leg.device, "tier");
    }
  }
  return uses;
}

void Judge::TakeInto(Device* d, const std::string& volume, const std::string& how) {
  const auto grant = d->grants.find(volume);
  if (grant == d->grants.end()) return Fail(d->path + " " + how + ", and nobody said so");
  if (!grant->second.valid)
    return Fail(d->path + " " + how + " although it is in use or holds data");
  d->owner = Owner::kTaken;
  d->leftover = false;
  d->volume = volume;
  d->brought_data = grant->second.keeps;
  d->left_by_us = d->was_volumes = false;
}

Device& Judge::Know(const std::string& path, const sim::Disk& disk) {
  const auto [known, fresh] = devices_.try_emplace(disk.minor);
  Device& d = known->second;
  if (!fresh) return d;
  d.path = path;
  const auto lv = m_.world.lvs.find(path);
  d.logical_volume = lv != m_.world.lvs.end();
  if (d.logical_volume && others_made_.erase(path) == 0) {
    d.owner = Owner::kMade;
    d.volume = lv->second.order.volume;
    d.role = lv->second.order.role;
  }
  d.content = disk.content;
  return d;
}

void Judge::LookAtDevices(const std::map<std::uint32_t, Use>& uses) {
  for (auto& [path, disk] : m_.world.disks) {
    Device& d = Know(path, disk);
    d.path = path;
    const auto use = uses.find(disk.minor);
    if (use != uses.end()) {
      const Use& u = use->second;
      const std::string how = "is the " + u.role + " of " + u.volume;
      const bool own = d.owner == Owner::kMade && d.volume == u.volume;
      if (own || (d.owner == Owner::kMade && !d.leftover) || d.owner == Owner::kTaken) {
        if (d.volume != u.volume) Fail(path + " " + how + " and belongs to " + d.volume);
      } else {
        TakeInto(&d, u.volume, how);
      }
    }
    if (d.content == disk.content) continue;
    if (d.owner == Owner::kSomebody || d.owner == Owner::kFree) {
      const auto valid = std::find_if(d.grants.begin(), d.grants.end(), [](const auto& g) {
        return g.second.valid && !g.second.keeps;
      });
      if (valid == d.grants.end()) {
        Fail("the content of " + path + " changed, which is nobody's to write");
      } else {
        TakeInto(&d, valid->first, "was written");
      }
    }
    d.content = disk.content;
  }
}

// Where each volume has its data, by its metadata.
void Judge::LookAtHomes() {
  for (const auto& [name, device] : m_.world.devices) {
    Volume* v = Find(name);
    const sim::Metadata& meta = device.target->metadata();
    if (v == nullptr || meta.phase != "steady") continue;
    for (const auto& [path, disk] : m_.world.disks) {
      if (disk.id == meta.origin_id) v->home = disk.minor;
    }
  }
}

void Judge::LookAtRemoved() {
  std::set<std::uint32_t> there;
  for (const auto& [path, disk] : m_.world.disks) there.insert(disk.minor);
  for (const auto& [path, disk] : m_.world.away()) there.insert(disk.minor);
  if (there.size() == devices_.size()) return;
  for (auto it = devices_.begin(); it != devices_.end();) {
    if (there.count(it->first) != 0) {
      ++it;
      continue;
    }
    const Device& d = it->second;
    const Volume* v = Find(d.volume);
    const bool home = v != nullptr && v->home == it->first;
    std::string why;
    if (d.owner == Owner::kSomebody || d.owner == Owner::kFree) why = "which is not shadowd's";
    if (d.owner == Owner::kTaken && (v == nullptr || !home || !v->destroy))
      why = "which was brought along";
    if (d.owner == Owner::kMade && v != nullptr) {
      if (v->state == Volume::State::kThere && (home || d.role == "metadata"))
        why = "the " + (home ? std::string("home") : d.role) + " of " + d.volume;
      if (v->state == Volume::State::kGoing && home && !v->destroy)
        why = "the data of " + d.volume + ", which stay";
    }
    if (!why.empty() && !d.may_go) Fail(d.path + " was removed, " + why);
    it = devices_.erase(it);
  }
}

void Judge::Release(Device* d) {
  d->owner = d->brought_data ? Owner::kSomebody : Owner::kFree;
  d->was_volumes = d->brought_data;
  d->left_by_us = !d->brought_data;
  d->left = Signed(d->content);
  d->brought_data = false;
  d->volume.clear();
}

void Judge::LookAtOwners(const std::map<std::uint32_t, Use>& uses, bool asking) {
  if (store_writes_ == m_.store_writes()) return;
  if (!asking) store_writes_ = m_.store_writes();
  const auto owners = m_.store().Owners();
  if (!owners.ok()) return Fail("the store cannot be read: " + owners.error().ToString());
  const auto look = [&](const sim::Disk& disk) {
    Device& d = Know(disk.path, disk);
    const auto owner = owners->find(disk.id);
    const std::string who = owner == owners->end() ? "" : owner->second.volume;
    if (!asking) std::erase_if(d.grants, [&](const auto& g) { return g.first != who; });
    if (who.empty()) {
      const auto use = uses.find(disk.minor);
      const Volume* user = use == uses.end() ? nullptr : Find(use->second.volume);
      if (user != nullptr && user->state == Volume::State::kThere && !asking && m_.engine())
        Fail(d.path + " is the " + use->second.role + " of " + use->second.volume +
             ", and is recorded as nobody's");
      if (d.owner == Owner::kTaken && uses.count(disk.minor) == 0) Release(&d);
      d.leftover = d.owner == Owner::kMade && uses.count(disk.minor) == 0 && !asking;
      return;
    }
    if (d.volume == who) d.leftover = false;
    const bool has = (d.owner == Owner::kMade || d.owner == Owner::kTaken) && d.volume == who;
    if (!has && d.grants.count(who) == 0)
      Fail(d.path + " is recorded as the " + owner->second.role + " of " + who +
           ", and nobody said so");
  };
  for (const auto& [path, disk] : m_.world.disks) look(disk);
  for (const auto& [path, disk] : m_.world.away()) look(disk);
}

// A volume is as long as somebody asked for, and no acknowledged write is beyond its end.
void Judge::LookAtSize(const std::string& name, Volume* v, std::uint64_t blocks, bool steady) {
  if (v->sizes.count(blocks) == 0 && v->shrinks.count(blocks) == 0)
    return Fail(name + " has " + Number(blocks) + " blocks, and nobody asked for that");
  if (blocks > v->value.size()) v->value.resize(blocks, 0);
  if (blocks == v->value.size() || !steady) return;
  const bool forced = v->shrinks.count(blocks) != 0;
  const auto end = FsEnd(name);
  for (std::uint64_t b = blocks; b < v->value.size() && !forced; ++b) {
    if (end && b >= *end) break;
    if (v->value[b] != 0 && v->other.count(b) == 0)
      return Fail("block " + Number(b) + " of " + name + " is beyond its end");
  }
  v->value.resize(blocks);
  v->other.erase(v->other.lower_bound(blocks), v->other.end());
}

void Judge::LookAtVolume(const std::string& name, Volume* v, bool calm) {
  const auto it = m_.world.devices.find(name);
  if (it == m_.world.devices.end() || !it->second.live || it->second.suspended) {
    if (calm && v->state == Volume::State::kThere)
      Fail(name + " is not up although all its devices are there");
    return;
  }
  sim::SimTarget& target = *it->second.target;
  const sim::Metadata& meta = target.metadata();
  const bool steady = meta.phase == "steady";
  LookAtSize(name, v, meta.states.size(), steady);
  if (v->state == Volume::State::kGoing && v->destroy) return;  // they may be gone already
  const bool sick = !calm && LegIsSick(m_.world, target.table());
  for (std::uint64_t b = 0; b < meta.states.size(); ++b) {
    const auto found = target.Read(b);
    if (!found) {
      if (sick) continue;
      return Fail("block " + Number(b) + " of " + name + " cannot be read");
    }
    const auto other = v->other.find(b);
    if (other != v->other.end()) {
      const bool second = other->second == *found;
      v->other.erase(other);
      if (second) v->value[b] = *found;
    }
    if (*found != v->value[b])
      return Fail("block " + Number(b) + " of " + name + " was acknowledged as " +
                  Number(v->value[b]) + " and reads " + Number(*found));
  }
}

bool Judge::Look(bool asking) {
  const auto uses = Tables();
  LookAtHomes();
  LookAtRemoved();
  LookAtDevices(uses);
  LookAtOwners(uses, asking);
  for (auto& [name, v] : volumes_) {
    if (v.state == Volume::State::kAsked) continue;
    LookAtVolume(name, &v, false);
    // A removal that did not succeed.
    const auto device = m_.world.devices.find(name);
    if (v.state == Volume::State::kGoing && m_.engine() != nullptr && !asking &&
        device != m_.world.devices.end() && device->second.live &&
        Recorded(name, VolumeState::kActive))
      StillThere(name);
  }
  for (const auto& [name, device] : m_.world.devices) {
    if (volumes_.count(name) == 0) Fail("the device " + name + " is left, and is no volume");
  }
  return error_.empty();
}

bool Judge::Recorded(const std::string& volume, VolumeState state) {
  const auto all = m_.store().Volumes();
  if (!all.ok()) return false;
  return std::any_of(all->begin(), all->end(),
                     [&](const VolumeRecord& r) { return r.name == volume && r.state == state; });
}

void Judge::LearnAfterCrash() {
  if (m_.engine() == nullptr) return;
  std::set<std::string> listed;
  const auto list = m_.engine()->ListVolumes();
  if (!list.ok()) return Fail("the volumes cannot be listed: " + list.error().ToString());
  for (const VolumeInfo& info : *list) {
    listed.insert(info.name);
    if (volumes_.count(info.name) == 0)
      Fail("there is a volume " + info.name + " nobody asked for");
  }
  std::vector<std::string> names;
  for (const auto& [name, v] : volumes_) names.push_back(name);
  for (const std::string& name : names) {
    Volume& v = volumes_.at(name);
    const bool live = m_.world.devices.count(name) != 0 && m_.world.devices.at(name).live;
    const bool there = listed.count(name) != 0;
    if (v.state == Volume::State::kThere && !there) Fail("the volume " + name + " is forgotten");
    if (v.state == Volume::State::kAsked && !there)
      NotMade(name);
    else if (v.state == Volume::State::kAsked && live && Recorded(name, VolumeState::kActive))
      Made(name);
    else if (v.state == Volume::State::kGoing && !there)
      Gone(name, "");
    else if (v.state == Volume::State::kGoing && live && Recorded(name, VolumeState::kActive))
      StillThere(name);
  }
  Settle();
}

void Judge::Calm() {
  for (auto& [name, v] : volumes_) LookAtVolume(name, &v, true);
}

}  // namespace shadow::judge
