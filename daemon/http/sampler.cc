// SPDX-License-Identifier: Apache-2.0
#include "daemon/http/sampler.h"

#include <algorithm>
#include <chrono>
#include <set>

namespace shadow::http {
namespace {

constexpr std::int64_t kUs = 1'000'000;
constexpr std::int64_t kBusyUs = kUs, kIdleUs = 10 * kUs;
constexpr std::int64_t kLookUs = 15 * kUs;  // for so long a look counts
constexpr std::int64_t kFreshUs = 2 * kUs;
constexpr std::int64_t kSlowUs = 300 * kUs;
constexpr std::int64_t kWindowUs = 10 * kUs;  // of rates and percentiles
constexpr std::int64_t kMinuteUs = 60 * kUs;
constexpr std::size_t kMinutes = 60;
constexpr std::int64_t kLateUs = kUs;  // an answer that took longer is not asked for soon
constexpr std::int64_t kBackoffUs = 60 * kUs;
constexpr std::size_t kNewest = 50;
constexpr std::size_t kEvents = 200;
constexpr std::size_t kEventBatch = 1000;

std::uint64_t Since(std::uint64_t now, std::uint64_t before) {
  return now >= before ? now - before : now;
}

std::vector<std::uint64_t> Since(const AppTotals& now, const AppTotals& before) {
  std::vector<std::uint64_t> counts = now.counts;
  for (std::size_t i = 0; i < counts.size() && i < before.counts.size(); ++i) {
    counts[i] = Since(counts[i], before.counts[i]);
  }
  return counts;
}

// Half as many moments, twice as far apart.
void Thin(Course* course) {
  std::vector<Moment> half;
  for (std::size_t i = 0; i < course->moments.size(); i += 2) half.push_back(course->moments[i]);
  course->moments = std::move(half);
  course->step_ms *= 2;
}

}  // namespace

Sampler::Sampler(Engine& engine, const Clock& clock) : engine_(engine), clock_(clock) {
  state_ = std::thread([this] { StateLoop(); });
  io_ = std::thread([this] { IoLoop(); });
  slow_ = std::thread([this] { SlowLoop(); });
}

Sampler::~Sampler() { Stop(); }

void Sampler::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  changed_.notify_all();
  for (std::thread* thread : {&state_, &io_, &slow_}) {
    if (thread->joinable()) thread->join();
  }
}

bool Sampler::Watched() const {
  const std::int64_t now = clock_.MonotonicUs();
  if (looked_us_ != 0 && now - looked_us_ < kLookUs) return true;
  return picture_ && std::any_of(picture_->modifications.begin(), picture_->modifications.end(),
                                 [](const ModificationInfo& m) { return !IsFinal(m.phase); });
}

PicturePtr Sampler::Latest(std::int64_t wait_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto fresh = [&] { return picture_ && clock_.MonotonicUs() - picture_->at_us < kFreshUs; };
  if (!fresh()) {
    hurry_ = true;
    wake_.notify_all();
    changed_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return stop_ || fresh(); });
  }
  return picture_;
}

PicturePtr Sampler::After(std::uint64_t number, std::int64_t wait_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool was = Watched();
  looked_us_ = clock_.MonotonicUs();
  if (!was) {
    hurry_ = true;
    wake_.notify_all();
  }
  changed_.wait_for(lock, std::chrono::milliseconds(wait_ms),
                    [&] { return stop_ || (picture_ && picture_->number > number); });
  looked_us_ = clock_.MonotonicUs();
  return picture_;
}

void Sampler::Hurry() {
  const std::lock_guard<std::mutex> lock(mutex_);
  hurry_ = true;
  wake_.notify_all();
}

void Sampler::StateLoop() {
  while (true) {
    Take();
    std::unique_lock<std::mutex> lock(mutex_);
    const std::int64_t every = Watched() ? kBusyUs : kIdleUs;
    wake_.wait_for(lock, std::chrono::microseconds(every), [&] { return stop_ || hurry_; });
    if (stop_) return;
    hurry_ = false;
  }
}

void Sampler::Take() {
  auto next = std::make_shared<Picture>();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (picture_) *next = *picture_;
  }
  const std::int64_t begin = clock_.MonotonicUs();
  next->error.clear();
  auto volumes = engine_.ListVolumes();
  auto newest = engine_.ListModifications("", kNewest);
  if (!volumes.ok() || !newest.ok()) {
    next->error = (volumes.ok() ? newest.error() : volumes.error()).message;
  } else {
    std::vector<VolumeView> views;
    std::vector<ModificationInfo> modifications;
    for (VolumeInfo& info : *volumes) {
      VolumeView view;
      const bool tiers = info.kernel.tiers[0] || info.kernel.tiers[1];
      const bool had = std::any_of(
          next->volumes.begin(), next->volumes.end(),
          [&](const VolumeView& v) { return v.info.name == info.name && !v.tiers.tiers.empty(); });
      // A tier on its way in or out is in the store only; a volume without any is not asked.
      if (tiers || had || info.kernel.mode.empty()) {
        if (auto all = engine_.ListTiers(info.name); all.ok()) view.tiers = std::move(*all);
      }
      // More than the newest may run.
      const bool listed = std::any_of(newest->begin(), newest->end(),
                                      [&](const auto& m) { return m.id == info.modification_id; });
      if (!info.modification_id.empty() && !listed) {
        if (auto m = engine_.GetModification(info.modification_id); m.ok())
          modifications.push_back(std::move(*m));
      }
      view.info = std::move(info);
      views.push_back(std::move(view));
    }
    for (ModificationInfo& m : *newest) modifications.push_back(std::move(m));
    std::stable_partition(modifications.begin(), modifications.end(),
                          [](const ModificationInfo& m) { return !IsFinal(m.phase); });
    next->volumes = std::move(views);
    next->modifications = std::move(modifications);
    next->at_ms = clock_.WallMs();
    next->at_us = clock_.MonotonicUs();
    for (const ModificationInfo& m : next->modifications) Note(m, *next);
  }
  TakeEvents();
  next->events.assign(events_.begin(), events_.end());
  next->events_by_severity = events_by_severity_;
  next->took_us = clock_.MonotonicUs() - begin;
  next->number += 1;
  std::set<std::string> known;
  for (const ModificationInfo& m : next->modifications) known.insert(m.id);
  std::erase_if(courses_, [&](const auto& c) { return known.count(c.first) == 0; });
  next->courses.clear();
  for (const auto& [id, course] : courses_) {
    next->courses[id] = std::make_shared<const Course>(course);
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (VolumeView& v : next->volumes) v.io = counted_[v.info.name].view;
    next->classes = classes_;
    next->checks = checks_;
    next->checked_ms = checked_ms_;
    HealthInput input;
    for (const VolumeView& v : next->volumes) input.volumes.push_back(v.info);
    input.modifications = next->modifications;
    input.classes = next->classes;
    input.checks = next->checks;
    next->health = Assess(input);
    picture_ = std::move(next);
  }
  changed_.notify_all();
}

void Sampler::Note(const ModificationInfo& m, const Picture& picture) {
  if (IsFinal(m.phase)) return;
  Course& course = courses_[m.id];
  if (course.step_ms == 0) course.step_ms = kBusyUs / 1000;
  if (!course.moments.empty() &&
      picture.at_ms - course.moments.back().at_ms < course.step_ms * 9 / 10) {
    return;
  }
  Moment now;
  now.at_ms = picture.at_ms;
  now.rate = m.rate;
  now.p50_us = m.app_p50_us;
  now.p99_us = m.app_p99_us;
  now.done = m.bytes_done;
  for (const VolumeView& v : picture.volumes) {
    if (v.info.name == m.volume) now.limit = v.info.kernel.copy_limit;
  }
  course.moments.push_back(now);
  if (course.moments.size() >= kMostMoments) Thin(&course);
}

void Sampler::TakeEvents() {
  while (true) {
    const auto events = engine_.WaitEvents(last_event_, kEventBatch, 0);
    if (!events.ok() || events->empty()) break;
    for (const Event& e : *events) {
      last_event_ = e.seq;
      // Those of earlier runs are shown, and not counted.
      if (events_primed_) ++events_by_severity_[e.severity];
      events_.push_back(e);
      if (events_.size() > kEvents) events_.pop_front();
    }
    if (events->size() < kEventBatch) break;
  }
  events_primed_ = true;
}

void Sampler::IoLoop() {
  std::int64_t last_us = 0;
  while (true) {
    std::vector<std::string> volumes;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait_for(lock, std::chrono::microseconds(kBusyUs), [&] { return stop_; });
      if (stop_) return;
      const std::int64_t now = clock_.MonotonicUs();
      // Whoever begins to look need not wait for the end of the idle interval.
      const bool due = last_us == 0 || Watched() || now - last_us >= kIdleUs;
      if (!picture_ || !due) continue;
      last_us = now;
      std::set<std::string> known;
      for (const VolumeView& v : picture_->volumes) {
        known.insert(v.info.name);
        if (v.info.kernel.mode.empty()) continue;
        if (counted_[v.info.name].not_before_us <= now) volumes.push_back(v.info.name);
      }
      std::erase_if(counted_, [&](const auto& c) { return known.count(c.first) == 0; });
    }
    for (const std::string& volume : volumes) Count(volume);
  }
}

void Sampler::Count(const std::string& volume) {
  const std::int64_t begin = clock_.MonotonicUs();
  const auto totals = engine_.ReadCounters(volume);
  const std::int64_t now = clock_.MonotonicUs();
  const std::lock_guard<std::mutex> lock(mutex_);
  Counted& c = counted_[volume];
  if (now - begin > kLateUs) c.not_before_us = now + kBackoffUs;
  if (!totals.ok()) return;
  while (!c.recent.empty() && now - c.recent.front().first > kWindowUs && c.recent.size() > 1) {
    c.recent.pop_front();
  }
  c.view.totals = *totals;
  c.view.at_us = now;
  if (!c.recent.empty()) {
    const AppTotals& before = c.recent.front().second;
    const double s =
        static_cast<double>(std::max<std::int64_t>(1, now - c.recent.front().first)) / 1e6;
    const auto rate = [&](std::uint64_t a, std::uint64_t b) {
      return static_cast<double>(Since(a, b)) / s;
    };
    c.view.reads = rate(totals->reads, before.reads);
    c.view.writes = rate(totals->writes, before.writes);
    c.view.bytes = rate(totals->read_bytes, before.read_bytes) +
                   rate(totals->written_bytes, before.written_bytes);
    const auto counts = Since(*totals, before);
    c.view.p50_us = PercentileNs(counts, 0.50) / 1000;
    c.view.p99_us = PercentileNs(counts, 0.99) / 1000;
  }
  c.recent.emplace_back(now, *totals);
  if (c.minute_us == 0) {
    c.minute_us = now;
    c.minute = *totals;
  } else if (now - c.minute_us >= kMinuteUs) {
    const std::uint64_t p99 = PercentileNs(Since(*totals, c.minute), 0.99) / 1000;
    if (p99 != 0) c.minutes.push_back(p99);
    if (c.minutes.size() > kMinutes) c.minutes.pop_front();
    c.minute_us = now;
    c.minute = *totals;
    if (!c.minutes.empty()) {
      std::vector<std::uint64_t> sorted(c.minutes.begin(), c.minutes.end());
      std::sort(sorted.begin(), sorted.end());
      c.view.usual_p99_us = sorted[sorted.size() / 2];
    }
  }
}

void Sampler::SlowLoop() {
  while (true) {
    const auto classes = engine_.ListClasses();
    const auto checks = engine_.Doctor();
    std::unique_lock<std::mutex> lock(mutex_);
    if (classes.ok()) classes_ = *classes;
    if (checks.ok()) {
      checks_ = *checks;
      checked_ms_ = clock_.WallMs();
    }
    wake_.wait_for(lock, std::chrono::microseconds(kSlowUs), [&] { return stop_; });
    if (stop_) return;
  }
}

}  // namespace shadow::http
