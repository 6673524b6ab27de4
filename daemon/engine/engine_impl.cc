// SPDX-License-Identifier: Apache-2.0
// Life of the engine and its modifications. Volumes: volumes.cc. Tiers: tiers.cc. Checks:
// doctor.cc.
#include "daemon/engine/engine_impl.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "daemon/engine/volume_lock.h"
#include "daemon/modify/planner.h"
#include "daemon/modify/tables.h"
#include "daemon/store/codec.h"

namespace shadow {
namespace {

constexpr std::int64_t kEventWaitMs = 1000;
constexpr std::int64_t kMostWaitMs = 60'000;
// A burst of dm events must not make runners spin.
constexpr std::int64_t kLeastTickMs = 10;
constexpr std::size_t kFinishedRunners = 16;
constexpr std::int64_t kKeepMs = std::int64_t{90} * 24 * 3600 * 1000;  // finished modifications
constexpr std::int64_t kPruneUs = std::int64_t{24} * 3600 * 1'000'000;

Error NoModification(const std::string& id) {
  return MakeError(Code::kNotFound, "There is no modification " + id + ".",
                   "list them with shadowctl op list");
}

// A volume's keeper, whichever it has at the time.
class VolumeHeat final : public HeatSource {
 public:
  using FindFn = std::function<std::shared_ptr<TierKeeper>()>;
  explicit VolumeHeat(FindFn find) : find_(std::move(find)) {}
  [[nodiscard]] std::vector<WarmBlock> Warm() const override {
    const auto keeper = find_();
    return keeper ? keeper->Warm() : std::vector<WarmBlock>();
  }
  [[nodiscard]] std::uint64_t Version() const override {
    const auto keeper = find_();
    return keeper ? keeper->Version() : 0;
  }
  [[nodiscard]] bool Watching() const override {
    const auto keeper = find_();
    return keeper && keeper->Watching();
  }

 private:
  FindFn find_;
};

}  // namespace

ModificationInfo InfoFromRecord(const ModificationRecord& r, std::vector<HistoryEntry> history) {
  ModificationInfo i;
  CopyRecord(r, i);
  i.bytes_done = i.phase == Phase::kCompleted ? r.bytes_total : 0;
  i.updated_ms = std::max(r.finished_ms, r.started_ms);
  if (!history.empty()) i.updated_ms = std::max(i.updated_ms, history.back().at_ms);
  i.history = std::move(history);
  return i;
}

const ModificationRecord* RunningOf(const std::string& volume,
                                    const std::vector<ModificationRecord>& modifications) {
  const auto it =
      std::find_if(modifications.rbegin(), modifications.rend(), [&](const ModificationRecord& m) {
        return m.volume == volume && m.state.step != Step::kEnd;
      });
  return it == modifications.rend() ? nullptr : &*it;
}

EngineImpl::EngineImpl(Deps deps, EngineOptions options)
    : deps_(std::move(deps)), options_(std::move(options)) {
  deps_.emit = [this](Event event) { Emit(std::move(event)); };
  deps_.heat = [this](const std::string& volume) {
    return std::make_shared<VolumeHeat>([this, volume] { return KeeperOf(volume); });
  };
  if (!options_.sleep) {
    options_.sleep = [](std::int64_t ms) {
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    };
  }
}

EngineImpl::~EngineImpl() { Stop(); }

// One event for each row of the store that is no record: it costs that volume, not the others.
Status EngineImpl::TellDamage() {
  SHADOW_ASSIGN(const std::vector<DamagedRow> damaged, deps_.store->Damaged());
  for (const DamagedRow& row : damaged) {
    const bool volume = row.what == "volume";
    if (volume) damaged_.insert(row.volume);
    Say("error", "damaged_record", row.volume,
        volume ? "The record of the volume in shadowd's state is damaged; the volume is left alone."
               : "A record of the volume in shadowd's state is damaged (" + row.what + " " +
                     row.key + ") and left out.");
  }
  return Ok();
}

void EngineImpl::TellDegraded(const Error& why) {
  {
    const std::lock_guard<std::mutex> lock(state_);
    degraded_.push_back(why);
  }
  Say("error", "degraded", "", why.ToString());
}

Status EngineImpl::Start() {
  SHADOW_TRY(TellDamage());
  pruned_us_ = deps_.clock->MonotonicUs();
  Prune();
  SHADOW_ASSIGN(const std::vector<VolumeRecord> volumes, deps_.store->Volumes());
  SHADOW_ASSIGN(const std::vector<ModificationRecord> modifications,
                deps_.store->Modifications(""));
  bool all_up = true;
  WakeLegs(volumes, modifications);
  for (const VolumeRecord& volume : volumes) {
    if (volume.state != VolumeState::kActive) continue;
    RememberVolume(volume);
    const ModificationRecord* running = RunningOf(volume.name, modifications);
    if (options_.on_activate) options_.on_activate(volume.name);
    const Status active = Activate(volume, running);
    if (!active.ok()) {
      Say("error", "activate", volume.name, active.error().ToString());
      NoteWaiting(volume.name, active.error(), false);
    }
    all_up = all_up && active.ok();
    if (active.ok()) ResumeTierJobs(volume);
    if (running != nullptr) StartRunner(*running, volume);
  }
  // A record that cannot be read may be of a device that would go.
  const auto damaged = deps_.store->Damaged();
  FinishInterrupted(volumes, all_up && damaged.ok() && damaged->empty());
  RecoverWhatIsUp();
  if (options_.threads) {
    event_thread_ = std::thread([this] { EventLoop(); });
    tier_thread_ = std::thread([this] { TierLoop(); });
    reconcile_thread_ = std::thread([this] { ReconcileLoop(); });
  }
  return Ok();
}

void EngineImpl::Stop() {
  if (stopping_.exchange(true)) return;
  std::vector<RunningPtr> all;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (auto& [id, running] : runners_) all.push_back(running);
    changed_.notify_all();
  }
  for (const RunningPtr& running : all) {
    if (running->thread.joinable()) running->thread.join();
    const Phase phase = running->runner->Info().phase;
    // Nobody would watch the latency: the copying waits until the daemon is back.
    if (options_.threads && (phase == Phase::kCopying || phase == Phase::kCatchingUp)) {
      (void)deps_.dm->Message(running->runner->volume_name(), "pause");
    }
    if (options_.threads) running->runner->OnStop();
  }
  if (event_thread_.joinable()) event_thread_.join();
  if (tier_thread_.joinable()) tier_thread_.join();
  if (reconcile_thread_.joinable()) reconcile_thread_.join();
  std::map<std::string, std::shared_ptr<TierKeeper>> last;  // ends traces, not under the lock
  const std::lock_guard<std::mutex> lock(state_);
  last.swap(keepers_);
}

// Runners that are over, but for the last few: their records are in the store.
void EngineImpl::ForgetFinished() {
  std::vector<RunningPtr> over;
  {
    const std::lock_guard<std::mutex> lock(state_);
    std::vector<std::pair<std::int64_t, std::string>> finished;
    for (const auto& [id, running] : runners_) {
      if (running->finished) finished.emplace_back(running->runner->Info().finished_ms, id);
    }
    std::sort(finished.begin(), finished.end());
    for (std::size_t i = 0; i + kFinishedRunners < finished.size(); ++i) {
      const auto it = runners_.find(finished[i].second);
      over.push_back(it->second);
      runners_.erase(it);
    }
  }
  for (const RunningPtr& running : over) {
    if (running->thread.joinable()) running->thread.join();
  }
}

// What is over is kept for a time that docs/daemon.md states.
void EngineImpl::Prune() {
  const Status pruned = deps_.store->Prune(deps_.clock->WallMs() - kKeepMs);
  if (!pruned.ok()) spdlog::warn("{}", pruned.error().ToString());
}

void EngineImpl::StartRunner(const ModificationRecord& record, const VolumeRecord& volume) {
  ForgetFinished();
  auto running = std::make_shared<Running>();
  running->runner = std::make_unique<ModificationRunner>(deps_, record, volume);
  {
    const std::lock_guard<std::mutex> lock(state_);
    runners_[record.id] = running;
  }
  if (options_.threads) running->thread = std::thread([this, running] { RunnerLoop(running); });
}

void EngineImpl::RunnerLoop(const RunningPtr& running) {
  while (!stopping_) {
    std::uint64_t wakes = 0;
    {
      const std::lock_guard<std::mutex> lock(state_);
      wakes = wakes_;
    }
    const std::int64_t wait = running->runner->Tick();
    AfterTick(running, wait == ModificationRunner::kFinished);
    if (wait == ModificationRunner::kFinished) return;
    if (wait == 0) continue;
    std::unique_lock<std::mutex> lock(state_);
    const auto woken = [&] { return stopping_ || wakes_ != wakes; };
    if (changed_.wait_for(lock, std::chrono::milliseconds(wait), woken) && !stopping_) {
      changed_.wait_for(lock, std::chrono::milliseconds(kLeastTickMs),
                        [&] { return stopping_.load(); });
    }
  }
}

void EngineImpl::AfterTick(const RunningPtr& running, bool finished) {
  const VolumeRecord volume = running->runner->Volume();
  const std::lock_guard<std::mutex> lock(state_);
  if (running->finished) return;
  if (volumes_.count(volume.name) != 0) volumes_[volume.name] = volume;
  running->finished = finished;
  changed_.notify_all();
}

std::size_t EngineImpl::Step() {
  std::vector<RunningPtr> all;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (auto& [id, running] : runners_) {
      if (!running->finished) all.push_back(running);
    }
  }
  std::size_t left = 0;
  for (const RunningPtr& running : all) {
    const bool finished = running->runner->Tick() == ModificationRunner::kFinished;
    AfterTick(running, finished);
    if (!finished) ++left;
  }
  (void)TickTiers();
  Reconcile();
  return left;
}

void EngineImpl::EventLoop() {
  std::int64_t last_watch_us = 0;
  while (!stopping_) {
    const auto event = deps_.dm->WaitEvent(kEventWaitMs);
    if (!event.ok()) {
      std::unique_lock<std::mutex> lock(state_);
      changed_.wait_for(lock, std::chrono::milliseconds(kEventWaitMs),
                        [&] { return stopping_.load(); });
    } else if (*event) {
      const std::lock_guard<std::mutex> lock(state_);
      ++wakes_;
      ++tier_wakes_;
      changed_.notify_all();
    }
    const std::int64_t now = deps_.clock->MonotonicUs();
    const bool due = now - last_watch_us > 5'000'000 || (event.ok() && *event);
    if (!due || now - last_watch_us < 200'000) continue;
    last_watch_us = now;
    WatchVolumes();
    if (now - pruned_us_ >= kPruneUs) {
      pruned_us_ = now;
      Prune();
    }
  }
}

// Tells of what the kernel found by itself: failing legs, failing metadata.
void EngineImpl::WatchVolumes() {
  std::vector<std::string> names;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, volume] : volumes_) names.push_back(name);
  }
  for (const std::string& name : names) {
    const auto status = ReadStatus(*deps_.dm, name);
    if (!status.ok()) continue;
    const KernelStatus& k = status->kernel;
    LastSeen before;
    {
      const std::lock_guard<std::mutex> lock(state_);
      before = seen_[name];
      seen_[name] = {k.mode, k.failovers, k.stale, k.needs_check};
    }
    if (k.mode != "rw" && k.mode != before.mode) {
      Say("error", "mode", name,
          "The volume is in mode " + k.mode + " after a failure of its metadata.");
    }
    if (k.failovers > before.failovers && !before.mode.empty()) {
      Say("warning", "failover", name,
          std::to_string(k.failovers - before.failovers) + " reads were answered by another copy.");
    }
    if (k.stale > before.stale && !before.mode.empty()) {
      Say("warning", "stale", name,
          std::to_string(k.stale - before.stale) + " copies were dropped after failed writes.");
    }
    if (k.needs_check && !before.needs_check) {
      Say("error", "needs_check", name, "The volume's metadata needs shadow_check.");
    }
  }
}

void EngineImpl::Emit(Event event) {
  const auto seq = deps_.store->AddEvent(event);
  spdlog::log(event.severity == "error"     ? spdlog::level::err
              : event.severity == "warning" ? spdlog::level::warn
                                            : spdlog::level::info,
              "{}: {}", event.volume.empty() ? "shadowd" : event.volume, event.message);
  if (!seq.ok()) spdlog::error("{}", seq.error().ToString());
  const std::lock_guard<std::mutex> lock(state_);
  changed_.notify_all();
}

void EngineImpl::Say(const char* severity, const char* what, const std::string& volume,
                     const std::string& text) {
  Event e;
  e.at_ms = deps_.clock->WallMs();
  e.volume = volume;
  e.severity = severity;
  e.what = what;
  e.message = text;
  Emit(std::move(e));
}

Result<EngineImpl::RunningPtr> EngineImpl::FindRunning(const std::string& id) {
  const std::lock_guard<std::mutex> lock(state_);
  const auto it = runners_.find(id);
  if (it == runners_.end()) return NoModification(id);
  return it->second;
}

EngineImpl::RunningPtr EngineImpl::RunningOn(const std::string& volume) {
  const std::lock_guard<std::mutex> lock(state_);
  for (const auto& [id, running] : runners_) {
    if (!running->finished && running->runner->volume_name() == volume) return running;
  }
  return nullptr;
}

Result<VolumeRecord> EngineImpl::FindVolume(const std::string& name) {
  std::optional<VolumeRecord> record;
  {
    const std::lock_guard<std::mutex> lock(state_);
    const auto it = volumes_.find(name);
    if (it != volumes_.end()) record = it->second;
  }
  if (record) return Located(*deps_.identities, std::move(*record));
  return MakeError(Code::kNotFound, "There is no volume " + name + ".",
                   "list them with shadowctl volume list");
}

void EngineImpl::RememberVolume(const VolumeRecord& record) {
  const std::lock_guard<std::mutex> lock(state_);
  volumes_[record.name] = record;
  changed_.notify_all();
}

// The object that an earlier request of this id made, if there was one.
Result<std::optional<std::string>> EngineImpl::Replayed(const std::string& request_id,
                                                        const char* kind, const std::string& body) {
  if (request_id.empty()) return std::optional<std::string>();
  if (request_id.size() > 256) {
    return MakeError(Code::kInvalidArgument, "The request id is longer than 256 characters.");
  }
  SHADOW_ASSIGN(const std::optional<RequestRecord> known, deps_.store->FindRequest(request_id));
  if (!known) return std::optional<std::string>();
  if (known->kind == kind && known->body == body) return std::optional<std::string>(known->object);
  return MakeError(Code::kAlreadyExists,
                   "The request id " + request_id + " was used for another request.",
                   "use a new request id for a new request");
}

// A volume that was not made to the end, or is on its way out, can only be deleted.
Status EngineImpl::CheckWhole(const VolumeRecord& volume) {
  if (volume.state == VolumeState::kActive) return Ok();
  return MakeError(
      Code::kFailedPrecondition,
      "The " + std::string(volume.state == VolumeState::kCreating ? "creation" : "removal") +
          " of the volume " + volume.name + " was interrupted.",
      "delete it to finish that");
}

// Can anything be done to volumes at all?
Status EngineImpl::CheckReady() {
  SHADOW_TRY(deps_.dm->CheckControl());
  SHADOW_ASSIGN([[maybe_unused]] const std::string version, deps_.dm->TargetVersion());
  return Ok();
}

Result<Plan> EngineImpl::PlanModification(const ModifyRequest& request) {
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(request.volume));
  SHADOW_ASSIGN(const Planned planned, PlanFor(volume, request));
  return planned.plan;
}

Result<Planned> EngineImpl::PlanFor(const VolumeRecord& volume, const ModifyRequest& request) {
  SHADOW_TRY(CheckReady());
  SHADOW_TRY(CheckWhole(volume));
  if (const RunningPtr running = RunningOn(request.volume)) {
    return MakeError(Code::kFailedPrecondition,
                     "The volume " + request.volume + " is being modified already (" +
                         running->runner->Info().id + ").",
                     "wait for it, or abort it");
  }
  SHADOW_TRY(CheckNoTierJob(request.volume));
  if (options_.measure_classes) MeasureClasses();
  return MakePlan(deps_, volume, request);
}

Result<ModificationInfo> EngineImpl::Modify(const ModifyRequest& asked) {
  ModifyRequest request = asked;
  const std::string body = RequestBody(request);
  SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, "modify", body));
  if (replayed) return GetModification(*replayed);
  const VolumeLock lock(this, request.volume);
  SHADOW_TRY(lock.Check());
  // Once more: the first one of this id may have ended between the look and the lock.
  SHADOW_ASSIGN(const auto meanwhile, Replayed(request.request_id, "modify", body));
  if (meanwhile) return GetModification(*meanwhile);
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(request.volume));
  if (request.grace_ms < 0) request.grace_ms = deps_.default_grace_ms;
  // The record takes the target. Another request may be faster: then the plan is made again, and
  // finds another device of the class, or says who has this one.
  Result<ModificationRecord> taken = TakePlanned(volume, request, body);
  for (int i = 0; i < kMostPicks && !taken.ok() && taken.error().code == Code::kAborted; ++i) {
    taken = TakePlanned(volume, request, body);
  }
  if (!taken.ok()) return taken.error();
  if (request.dry_run) return InfoFromRecord(*taken, {});
  StartRunner(*taken, volume);
  return GetModification(taken->id);
}

Result<ModificationRecord> EngineImpl::TakePlanned(const VolumeRecord& volume,
                                                   const ModifyRequest& request,
                                                   const std::string& body) {
  SHADOW_ASSIGN(const Planned planned, PlanFor(volume, request));
  ModificationRecord record;
  record.volume = volume.name;
  record.request = request;
  record.plan = planned.plan;
  record.state.kind = planned.kind;
  record.origin = planned.origin;
  record.target = planned.target;
  record.old_sectors = planned.old_sectors;
  record.new_sectors = planned.new_sectors;
  record.bytes_total = planned.plan.bytes_to_copy;
  record.started_ms = deps_.clock->WallMs();
  if (request.dry_run) return record;

  record.id = deps_.ids->NewUuid();
  const RequestRecord request_record{request.request_id, "modify", body, record.id};
  ModificationUpdate update;
  update.record = &record;
  update.history = HistoryEntry{record.started_ms, Phase::kPlanned, "Planned."};
  update.request = &request_record;
  SHADOW_TRY(deps_.store->PutModification(update));
  return record;
}

Result<ModificationInfo> EngineImpl::GetModification(const std::string& id) {
  const auto running = FindRunning(id);
  if (running.ok()) return (*running)->runner->Info();
  SHADOW_ASSIGN(const std::optional<ModificationRecord> record, deps_.store->FindModification(id));
  if (!record) return NoModification(id);
  SHADOW_ASSIGN(std::vector<HistoryEntry> history, deps_.store->History(id));
  return InfoFromRecord(*record, std::move(history));
}

Result<std::vector<ModificationInfo>> EngineImpl::ListModifications(const std::string& volume,
                                                                    std::size_t limit) {
  SHADOW_ASSIGN(const std::vector<ModificationRecord> all,
                deps_.store->NewestModifications(volume, limit));
  std::vector<ModificationInfo> infos;
  for (const ModificationRecord& record : all) {
    const auto running = FindRunning(record.id);
    if (running.ok()) {
      infos.push_back((*running)->runner->Info());
      continue;
    }
    SHADOW_ASSIGN(std::vector<HistoryEntry> history, deps_.store->History(record.id));
    infos.push_back(InfoFromRecord(record, std::move(history)));
  }
  return infos;
}

Result<ModificationInfo> EngineImpl::Ask(const std::string& id, ModEvent event) {
  const auto running = FindRunning(id);
  if (!running.ok()) {
    // Known but finished before this start of the daemon, or not known at all.
    SHADOW_ASSIGN(const ModificationInfo info, GetModification(id));
    return MakeError(Code::kFailedPrecondition, "The modification is over.",
                     std::string("it is ") + PhaseName(info.phase));
  }
  SHADOW_ASSIGN(ModificationInfo info, (*running)->runner->Request(event));
  const std::lock_guard<std::mutex> lock(state_);
  ++wakes_;
  changed_.notify_all();
  return info;
}

Result<ModificationInfo> EngineImpl::Pause(const std::string& id) {
  return Ask(id, ModEvent::kPause);
}
Result<ModificationInfo> EngineImpl::Resume(const std::string& id) {
  return Ask(id, ModEvent::kResume);
}
Result<ModificationInfo> EngineImpl::Abort(const std::string& id) {
  return Ask(id, ModEvent::kAbort);
}
Result<ModificationInfo> EngineImpl::RollBack(const std::string& id) {
  return Ask(id, ModEvent::kRollBack);
}
Result<ModificationInfo> EngineImpl::Commit(const std::string& id) {
  return Ask(id, ModEvent::kCommit);
}

Result<ModificationInfo> EngineImpl::SetRate(const std::string& id, std::uint64_t rate,
                                             Impact impact) {
  SHADOW_ASSIGN(const RunningPtr running, FindRunning(id));
  return running->runner->SetRate(rate, impact);
}

Result<ModificationInfo> EngineImpl::WaitModification(const std::string& id,
                                                      std::int64_t seen_updated_ms,
                                                      std::int64_t timeout_ms) {
  const auto deadline =
      std::chrono::steady_clock::now() +
      std::chrono::milliseconds(std::clamp<std::int64_t>(timeout_ms, 0, kMostWaitMs));
  while (true) {
    SHADOW_ASSIGN(ModificationInfo info, GetModification(id));
    const bool late = std::chrono::steady_clock::now() >= deadline;
    if (info.updated_ms != seen_updated_ms || IsFinal(info.phase) || late || stopping_) return info;
    std::unique_lock<std::mutex> lock(state_);
    changed_.wait_until(lock, std::min(deadline, std::chrono::steady_clock::now() +
                                                     std::chrono::milliseconds(200)));
  }
}

Result<std::vector<Event>> EngineImpl::WaitEvents(std::uint64_t after_seq, std::size_t limit,
                                                  std::int64_t timeout_ms) {
  const auto deadline =
      std::chrono::steady_clock::now() +
      std::chrono::milliseconds(std::clamp<std::int64_t>(timeout_ms, 0, kMostWaitMs));
  while (true) {
    SHADOW_ASSIGN(std::vector<Event> events, deps_.store->EventsAfter(after_seq, limit));
    const bool late = std::chrono::steady_clock::now() >= deadline;
    if (!events.empty() || late || stopping_) return events;
    std::unique_lock<std::mutex> lock(state_);
    changed_.wait_until(lock, std::min(deadline, std::chrono::steady_clock::now() +
                                                     std::chrono::milliseconds(200)));
  }
}

}  // namespace shadow
