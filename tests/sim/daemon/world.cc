// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/daemon/world.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace shadow::judge {

bool World::Run(std::uint64_t seed, std::uint32_t steps, std::vector<Step>* made) {
  const std::vector<Step> list = StepsOf(seed, steps);
  if (made != nullptr) *made = list;
  return Steps(seed, list, nullptr);
}

bool World::Replay(std::uint64_t seed, const std::vector<Step>& steps,
                   std::vector<std::string>* told) {
  return Steps(seed, steps, told);
}

bool World::Steps(std::uint64_t seed, const std::vector<Step>& steps,
                  std::vector<std::string>* told) {
  spdlog::set_level(spdlog::level::off);
  ++figures_.runs;
  telling_ = told != nullptr;
  error_.clear();
  next_value_ = 1;
  last_request_ = Step{};
  m_ = std::make_unique<Machine>(seed);
  judge_ = std::make_unique<Judge>(m_.get());
  judge_->Begin();
  m_->Start();
  for (const Step& s : steps) {
    words_.clear();
    ++figures_.steps;
    One(s);
    const bool good = judge_->Look();
    if (telling_ && (!words_.empty() || !good)) told->push_back(words_);
    if (good) continue;
    error_ = judge_->error();
    break;
  }
  if (error_.empty()) {
    words_.clear();
    Calm();
    if (!judge_->Look()) error_ = judge_->error();
    if (telling_) told->push_back(words_);
  }
  judge_.reset();
  m_.reset();
  return error_.empty();
}

void World::One(const Step& s) {
  sim::SimWorld& w = m_->world;
  w.CrashAt(0);
  w.MeanwhileAt(0, nullptr);
  if (!s.plain && s.between == Between::kCrash) w.CrashAt(s.at);
  if (!s.plain && s.between == Between::kSomebody) {
    w.MeanwhileAt(s.at, [this, &s] {
      ++figures_.interruptions;
      (void)judge_->Look(true);
      Say("meanwhile");
      Do(s.who, s.b, true);
      (void)judge_->Look(true);
      Say("so much for that");
    });
  }
  try {
    Do(s.verb, s.a, false);
    w.CrashAt(0);
  } catch (const sim::SimCrash& crash) {
    w.CrashAt(0);
    ticking_ = starting_ = false;
    ++figures_.crashes;
    Say("the daemon is killed " + crash.where);
    m_->Kill();
    if (s.b[0] % 4 == 0)
      Reboot(s.b);
    else if (s.b[1] % 2 == 0)
      Start();
  }
  w.MeanwhileAt(0, nullptr);
}

void World::Do(Verb verb, const Args& a, bool inside) {
  if (DoClient(verb, a, inside) || DoApplication(verb, a) || DoAdmin(verb, a)) return;
  DoMachine(verb, a);
}

bool World::DoClient(Verb verb, const Args& a, bool inside) {
  if (verb < Verb::kCreate || verb > Verb::kRecover) return false;
  if (verb == Verb::kRepeat) {
    if (last_request_.verb != Verb::kTick) Do(last_request_.verb, last_request_.a, inside);
    return true;
  }
  if (verb == Verb::kTierWork) return TierWork(a), true;
  if (m_->engine() == nullptr || starting_) return true;
  if (!inside && verb != Verb::kAsk) {
    last_request_.verb = verb;
    last_request_.a = a;
  }
  switch (verb) {
    case Verb::kCreate:
      return Create(a), true;
    case Verb::kImport:
      return Import(a), true;
    case Verb::kModify:
      return Modify(a), true;
    case Verb::kAsk:
      return Ask(a), true;
    case Verb::kExport:
      return Export(a), true;
    case Verb::kDelete:
      return Delete(a), true;
    case Verb::kAddTier:
      return AddTier(a), true;
    case Verb::kRemoveTier:
      return RemoveTier(a), true;
    case Verb::kRecover:
      return Recover(a), true;
    default:
      break;
  }
  const std::string name = VolumeAt(a[0]);
  Say("activate " + name);
  const auto up = m_->engine()->ActivateVolume(name, false);
  Answer(up.ok() ? Ok() : Status(up.error()));
  return true;
}

bool World::DoApplication(Verb verb, const Args& a) {
  if (verb > Verb::kClose) return false;
  const std::string name = VolumeAt(a[0]);
  const auto it = m_->world.devices.find(name);
  Volume* v = judge_->Find(name);
  if (it == m_->world.devices.end() || v == nullptr || !it->second.live) return true;
  sim::SimDevice& device = it->second;
  if (verb == Verb::kOpen) return ++device.open_count, true;
  if (verb == Verb::kClose) return device.open_count = 0, true;
  if (device.suspended || v->state == Volume::State::kAsked) return true;
  const std::uint64_t blocks = device.target->metadata().states.size();
  if (v->value.size() < blocks) v->value.resize(blocks, 0);
  std::uint64_t at = a[1] % blocks;
  if (verb == Verb::kMakeFs) {
    FsInfo fs;
    fs.type = "ext4";
    fs.end_bytes = (1 + a[2] % blocks) * kCell;
    m_->world.filesystems[DevicePath(name)] = fs;
    at = 0;
  }
  const std::uint64_t count = verb == Verb::kWrite ? 1 + a[2] % 4 : 1;
  for (std::uint64_t b = at; b < std::min(blocks, at + count); ++b) {
    if (verb == Verb::kDiscard) {
      device.target->DiscardBlock(b);
      v->value[b] = 0;
      v->other.erase(b);
      continue;
    }
    const std::uint64_t value =
        verb == Verb::kMakeFs ? sim::SignedValue(0, ++next_value_) : ++next_value_;
    if (device.target->Write(b, value)) {
      v->value[b] = value;
      v->other.erase(b);
    } else {
      v->other[b] = value;
    }
  }
  Say((verb == Verb::kDiscard  ? "discard "
       : verb == Verb::kMakeFs ? "mkfs "
                               : "write ") +
      name + " " + std::to_string(at) + "+" + std::to_string(count));
  return true;
}

void World::Start() {
  if (m_->engine() != nullptr) return;
  Say("the daemon starts");
  starting_ = true;
  m_->Start();
  starting_ = false;
  m_->world.MeanwhileAt(0, nullptr);
  if (!m_->start_failed.empty()) judge_->Fail("the daemon does not start: " + m_->start_failed);
  judge_->LearnAfterCrash();
}

void World::Reboot(const Args& a) {
  ++figures_.reboots;
  m_->Reboot();
  Say("the machine boots again");
  sim::SimWorld& w = m_->world;
  for (auto& [path, disk] : w.disks) {
    disk.opened_by.clear();
    disk.used_by.clear();
    judge_->SomebodyActed(path);
  }
  if (a[2] % 3 == 0) {
    const std::string one = DiskAt(a[3]), two = DiskAt(a[4]);
    if (one != two && w.lvs.count(one) == 0 && w.lvs.count(two) == 0 && one < "/dev/v" &&
        two < "/dev/v") {
      Say(one + " and " + two + " have each other's name");
      w.SwapNames(one, two);
    }
  }
  if (a[1] % 3 == 0) {
    Say("volumes come up before the daemon");
    m_->ActivateFromMetadata(
        [this](const std::string& name) { return judge_->Find(name) != nullptr; });
  }
  if (a[0] % 8 < 4) Start();
}

void World::Tick(std::uint32_t times) {
  ticking_ = true;
  for (std::uint32_t i = 0; i < times && m_->engine() != nullptr; ++i) {
    ++figures_.ticks;
    (void)m_->engine()->Step();
    m_->Pass(100);
  }
  ticking_ = false;
}

void World::DoMachine(Verb verb, const Args& a) {
  switch (verb) {
    case Verb::kTick:
      if (m_->engine() == nullptr) return;
      Say("the daemon works");
      return Tick(1 + a[0] % 4);
    case Verb::kPass:
      m_->Pass(a[0] % 5000);
      return Say(std::to_string(a[0] % 5000) + " ms pass");
    case Verb::kSetClock:
      m_->clock.StepWallMs((static_cast<std::int64_t>(a[0] % 200) - 100) * 3'600'000);
      return Say("the clock is set");
    case Verb::kStop:
      if (m_->engine() == nullptr) return;
      m_->engine()->Stop();
      m_->Kill();
      return Say("the daemon is stopped");
    case Verb::kStart:
      return Start();
    case Verb::kReboot:
      m_->Kill();
      return Reboot(a);
    case Verb::kCalm:
      return Calm();
    default:
      return;
  }
}

// Everything is there and nothing fails: every volume comes up, and keeps what it has.
void World::Calm() {
  Say("calm");
  sim::SimWorld& w = m_->world;
  w.CrashAt(0);
  w.MeanwhileAt(0, nullptr);
  w.failures.clear();
  while (!w.away().empty()) w.Connect(w.away().begin()->first);
  for (auto& [path, disk] : w.disks) {
    disk.fail_reads = disk.fail_writes = false;
    disk.opened_by.clear();
    disk.used_by.clear();
    judge_->SomebodyActed(path);
  }
  m_->Kill();
  Start();
  Tick(30);
  (void)judge_->Look();
  judge_->Calm();
}

}  // namespace shadow::judge
