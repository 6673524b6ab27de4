// SPDX-License-Identifier: Apache-2.0
// Requests, as clients of shadowd make them, and what the judge learns from each answer.
#include "daemon/base/error_table.h"
#include "tests/sim/daemon/world.h"

namespace shadow::judge {
namespace {

std::string Id(const std::array<std::uint32_t, 5>& a) {
  return a[4] % 4 == 0 ? "" : "r" + std::to_string(a[0]) + "." + std::to_string(a[4]);
}

}  // namespace

void World::Answer(const Status& status) {
  ++figures_.requests;
  figures_.granted += status.ok() ? 1 : 0;
  Say(status.ok() ? "granted" : "refused: " + status.error().ToString());
  if (status.ok()) return;
  if (status.error().code == Code::kInternal)
    judge_->Fail("a request was answered with an internal error: " + status.error().ToString());
  if (status.error().message.empty()) judge_->Fail("a request was refused without a word");
}

// A class or a device.
std::string World::Place(std::uint32_t n) const {
  switch (n % 8) {
    case 0:
    case 1:
      return "hdd";
    case 2:
    case 3:
      return "nvme";
    case 4:
      return "pool";
    default:
      return DiskAt(n / 8);
  }
}

std::string World::Overwrite(const std::string& place, std::uint32_t n) const {
  if (n % 4 == 1) return "data";
  if (n % 4 != 0) return "";
  const auto disk = m_->world.disks.find(place);
  if (disk == m_->world.disks.end() || disk->second.content.empty()) return "ext4";
  return sim::SignatureOf(disk->second.content[0]);
}

void World::Create(const Args& a) {
  CreateRequest r;
  r.name = "v" + std::to_string(a[0] % 4);
  const std::uint64_t blocks = 4 + a[1] % 16;
  r.size_bytes = blocks * kCell;
  r.to = Place(a[2]);
  r.block_bytes = kCell;
  r.request_id = Id(a);
  r.overwrite = Overwrite(r.to, a[3]);
  Say("create " + r.name + " of " + std::to_string(blocks) + " blocks on " + r.to +
      (r.overwrite.empty() ? "" : " over " + r.overwrite));
  const bool known = judge_->Find(r.name) != nullptr;
  if (!known) {
    judge_->Asked(r.name, false, blocks, {});
    judge_->Names(r.name, r.to, r.overwrite, false);
  }
  const auto made = m_->engine()->CreateVolume(r);
  Answer(made.ok() ? Ok() : Status(made.error()));
  if (known) return;
  made.ok() ? judge_->Made(r.name) : judge_->NotMade(r.name);
}

void World::Import(const Args& a) {
  ImportRequest r;
  r.name = "v" + std::to_string(a[0] % 4);
  r.device = DiskAt(a[1]);
  r.metadata = a[2] % 3 == 0 ? DiskAt(a[2] / 3) : a[2] % 3 == 1 ? "hdd" : "nvme";
  r.block_bytes = kCell;
  r.request_id = Id(a);
  r.overwrite = Overwrite(r.metadata, a[3]);
  Say("import " + r.device + " as " + r.name + ", metadata on " + r.metadata +
      (r.overwrite.empty() ? "" : " over " + r.overwrite));
  const bool known = judge_->Find(r.name) != nullptr;
  const auto disk = m_->world.disks.find(r.device);
  if (!known) {
    std::vector<std::uint64_t> data;
    if (disk != m_->world.disks.end()) data = disk->second.content;
    const std::uint64_t blocks = data.size();
    judge_->Asked(r.name, true, blocks, std::move(data));
    judge_->Names(r.name, r.metadata, r.overwrite, false);
    judge_->Names(r.name, r.device, "", true);
  }
  const auto made = m_->engine()->ImportVolume(r);
  Answer(made.ok() ? Ok() : Status(made.error()));
  if (known) return;
  made.ok() ? judge_->Made(r.name) : judge_->NotMade(r.name);
}

void World::Modify(const Args& a) {
  ModifyRequest r;
  r.volume = VolumeAt(a[0]);
  Volume* v = judge_->Find(r.volume);
  const std::uint64_t now = v == nullptr ? 8 : v->value.size();
  std::uint64_t blocks = now;
  if (a[1] % 5 == 0) blocks = now + 1 + a[1] / 5 % 6;
  if (a[1] % 5 == 1 && now > 2) blocks = 1 + a[1] / 5 % (now - 1);
  if (blocks != now) r.size_bytes = blocks * kCell;
  if (blocks == now || a[2] % 2 == 0) r.to = Place(a[2] / 2);
  r.impact = static_cast<Impact>(a[3] % 3);
  r.retire = static_cast<Retire>(a[3] / 3 % 3);
  r.grace_ms = static_cast<std::int64_t>(a[3] / 9 % 4) * 2000;
  r.force_shrink = a[3] / 36 % 2 == 0;
  r.trim_first = a[3] / 72 % 2 == 0;
  r.discard_origin = a[3] / 144 % 4 == 0;
  r.grow_filesystem = a[3] / 576 % 2 == 0;
  r.grow_now = a[3] / 1152 % 2 == 0;
  r.dry_run = a[3] / 2304 % 16 == 0;
  r.request_id = Id(a);
  if (!r.to.empty()) r.overwrite = Overwrite(r.to, a[4] / 4);
  Say("modify " + r.volume + (r.to.empty() ? "" : " to " + r.to) +
      (blocks == now ? "" : " to " + std::to_string(blocks) + " blocks") +
      (r.force_shrink && blocks < now ? " by force" : "") +
      (r.overwrite.empty() ? "" : " over " + r.overwrite));
  bool new_size = false, new_shrink = false;
  if (v != nullptr) {
    new_size = v->sizes.insert(blocks).second;
    if (r.force_shrink && blocks < now) new_shrink = v->shrinks.insert(blocks).second;
    if (!r.to.empty()) judge_->Names(r.volume, r.to, r.overwrite, false);
  }
  const auto started = m_->engine()->Modify(r);
  Answer(started.ok() ? Ok() : Status(started.error()));
  v = judge_->Find(r.volume);
  if (started.ok() || v == nullptr) return;
  if (new_size) v->sizes.erase(blocks);
  if (new_shrink) v->shrinks.erase(blocks);
  judge_->Settle();
}

void World::Ask(const Args& a) {
  const auto list = m_->engine()->ListModifications("", 6);
  if (!list.ok() || list->empty()) return;
  const ModificationInfo& info = (*list)[a[0] % list->size()];
  if (IsFinal(info.phase) && a[2] % 8 != 0) return;
  static constexpr std::array<const char*, 6> kWhat = {"pause",     "resume", "abort",
                                                       "roll back", "commit", "set the rate of"};
  const std::size_t what = a[1] % kWhat.size();
  Say(std::string(kWhat.at(what)) + " the modification of " + info.volume + " (" +
      PhaseName(info.phase) + ")");
  EngineImpl& e = *m_->engine();
  const auto answer = what == 0   ? e.Pause(info.id)
                      : what == 1 ? e.Resume(info.id)
                      : what == 2 ? e.Abort(info.id)
                      : what == 3 ? e.RollBack(info.id)
                      : what == 4 ? e.Commit(info.id)
                                  : e.SetRate(info.id, a[3] % 4 * 100'000, Impact::kFull);
  Answer(answer.ok() ? Ok() : Status(answer.error()));
}

// A removal that is refused while the volume is up has changed nothing.
void World::Refused(const std::string& name, bool was_there) {
  const auto device = m_->world.devices.find(name);
  if (was_there && device != m_->world.devices.end() && device->second.live)
    judge_->StillThere(name);
}

void World::Export(const Args& a) {
  const std::string name = VolumeAt(a[0]);
  Say("export " + name);
  const bool was_there = judge_->IsThere(name);
  judge_->Going(name, false, true);
  const auto plain = m_->engine()->ExportVolume(name);
  Answer(plain.ok() ? Ok() : Status(plain.error()));
  if (!plain.ok()) return Refused(name, was_there);
  judge_->Gone(name, *plain);
  m_->world.filesystems.erase(DevicePath(name));
}

void World::Delete(const Args& a) {
  DeleteRequest r;
  r.name = VolumeAt(a[0]);
  r.destroy_data = a[1] % 3 == 0;
  r.dry_run = a[2] % 8 == 0;
  Say("delete " + r.name + (r.destroy_data ? " and destroy its data" : "") +
      (r.dry_run ? " (dry run)" : ""));
  const Volume* v = judge_->Find(r.name);
  const bool destroy = r.destroy_data || (v != nullptr && !v->imported);
  const bool was_there = judge_->IsThere(r.name);
  if (!r.dry_run) judge_->Going(r.name, destroy, false);
  const auto gone = m_->engine()->DeleteVolume(r);
  Answer(gone.ok() ? Ok() : Status(gone.error()));
  if (!gone.ok()) return Refused(r.name, was_there);
  if (r.dry_run) return;
  judge_->Gone(r.name, "");
  m_->world.filesystems.erase(DevicePath(r.name));
}

void World::AddTier(const Args& a) {
  AddTierRequest r;
  r.volume = VolumeAt(a[0]);
  r.level = a[1] % 2 == 0 ? TierLevel::kTier1 : TierLevel::kTier2;
  r.to = Place(a[2]);
  if (r.to[0] != '/') r.size_bytes = (2 + a[3] % 6) * kCell;
  r.write_back = a[3] / 8 % 2 == 0;
  r.request_id = Id(a);
  r.overwrite = Overwrite(r.to, a[4] / 4);
  Say(std::string("add ") + TierName(r.level) + " on " + r.to + " to " + r.volume);
  if (judge_->Find(r.volume) != nullptr) judge_->Names(r.volume, r.to, r.overwrite, false);
  const auto added = m_->engine()->AddTier(r);
  Answer(added.ok() ? Ok() : Status(added.error()));
  if (!added.ok()) judge_->Settle();
}

void World::RemoveTier(const Args& a) {
  RemoveTierRequest r;
  r.volume = VolumeAt(a[0]);
  r.level = a[1] % 2 == 0 ? TierLevel::kTier1 : TierLevel::kTier2;
  r.forget = a[2] % 3 == 0;
  Say(std::string(r.forget ? "forget " : "remove ") + TierName(r.level) + " of " + r.volume);
  const auto removed = m_->engine()->RemoveTier(r);
  Answer(removed.ok() ? Ok() : Status(removed.error()));
}

// What the placement loop does, by dice.
void World::TierWork(const Args& a) {
  const std::string name = VolumeAt(a[0]);
  const auto it = m_->world.devices.find(name);
  if (it == m_->world.devices.end() || it->second.suspended) return;
  static constexpr std::array<const char*, 5> kWhat = {"promote tier1 ", "promote tier2 ",
                                                       "demote ", "writeback ", "promote tier1 "};
  const std::uint64_t blocks = it->second.target->metadata().states.size();
  const std::uint64_t first = a[2] % blocks;
  const std::uint64_t count = 1 + a[3] % (blocks - first);
  const std::string text =
      kWhat.at(a[1] % kWhat.size()) + std::to_string(first) + "+" + std::to_string(count);
  Say(name + ": " + text);
  (void)it->second.target->Message(text);
}

void World::Recover(const Args& a) {
  RecoverRequest r;
  if (m_->world.metadata.empty()) return;
  auto it = m_->world.metadata.begin();
  std::advance(it, a[0] % m_->world.metadata.size());
  r.metadata = it->first;
  // Only what shadowd knows already: the judge has no word for the rest.
  if (judge_->Find(it->second.name) == nullptr) return;
  Say("recover from " + r.metadata);
  const auto recovered = m_->engine()->RecoverVolume(r);
  Answer(recovered.ok() ? Ok() : Status(recovered.error()));
}

}  // namespace shadow::judge
