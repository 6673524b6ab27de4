// SPDX-License-Identifier: Apache-2.0
// One picture of the daemon, taken by threads of its own and read by every page and every scrape.
//
// No reader asks the engine for what it shows, so fifty pages cost what one does, and a device that
// does not answer makes a picture old, not a scrape slow. Three threads, because they wait for
// different things: `state` (status lines and the store; a second apart while somebody looks or
// something moves, ten otherwise), `io` (messages to devices; a volume that was slow to answer is
// asked again after a minute), `slow` (LVM: classes and doctor, five minutes apart).
// Pictures are immutable and shared.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/engine/engine.h"
#include "daemon/health/health.h"

namespace shadow::http {

/// What the application did on a volume of late. Rates are per second over the last seconds.
struct IoView {
  AppTotals totals;
  std::int64_t at_us = 0;  // when the totals were read; 0: never
  double reads = 0, writes = 0, bytes = 0;
  std::uint64_t p50_us = 0, p99_us = 0;  // 0: no I/O
  std::uint64_t usual_p99_us = 0;        // median of the last hour's minutes; 0: not known yet
};

struct VolumeView {
  VolumeInfo info;
  TiersInfo tiers;
  IoView io;
};

/// A moment of a modification, for its curves. Bytes per second, microseconds.
struct Moment {
  std::int64_t at_ms = 0;
  std::uint64_t rate = 0, limit = 0;  // limit 0: none
  std::uint64_t p50_us = 0, p99_us = 0;
  std::uint64_t done = 0;  // bytes
};

/// The whole course of a modification in at most kMostMoments moments, equally far apart.
struct Course {
  std::vector<Moment> moments;
  std::int64_t step_ms = 0;
};
inline constexpr std::size_t kMostMoments = 600;

struct Picture {
  std::uint64_t number = 0;  // grows by one
  std::int64_t at_ms = 0, at_us = 0, took_us = 0;
  std::string error;  // why the lists below are those of an earlier picture; "" when they are new
  std::vector<VolumeView> volumes;
  std::vector<ModificationInfo> modifications;  // running ones first, then the newest
  std::map<std::string, std::shared_ptr<const Course>> courses;  // by id
  std::vector<Event> events;                                     // the newest, oldest first
  std::map<std::string, std::uint64_t> events_by_severity;       // since the daemon started
  std::vector<ClassInfo> classes;
  std::vector<Check> checks;
  std::int64_t checked_ms = 0;  // 0: not yet
  Health health;
};
using PicturePtr = std::shared_ptr<const Picture>;

class Sampler {
 public:
  /// Both must outlive it. Starts its threads.
  Sampler(Engine& engine, const Clock& clock);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  /// The newest picture. If it is older than two seconds a new one is asked for and waited for, at
  /// most `wait_ms`. Null only while the first one is being taken.
  [[nodiscard]] PicturePtr Latest(std::int64_t wait_ms);
  /// The first picture with a greater number, or the newest after `wait_ms`. Counts as a look.
  [[nodiscard]] PicturePtr After(std::uint64_t number, std::int64_t wait_ms);
  /// Takes the next picture soon: something was changed.
  void Hurry();
  void Stop();

 private:
  struct Counted {
    std::deque<std::pair<std::int64_t, AppTotals>> recent;  // of the last seconds
    std::deque<std::uint64_t> minutes;                      // p99 of each
    std::int64_t minute_us = 0;
    AppTotals minute;
    std::int64_t not_before_us = 0;
    IoView view;
  };

  void StateLoop();
  void IoLoop();
  void SlowLoop();
  /// Waits until `us` (of the monotonic clock), a hurry that counts, or the end; false: the end.
  void Take();
  void TakeEvents();
  void Note(const ModificationInfo& m, const Picture& picture);
  void Count(const std::string& volume);
  [[nodiscard]] bool Watched() const;  // mutex_ is held

  Engine& engine_;
  const Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_, wake_;
  bool stop_ = false;
  bool hurry_ = false;
  std::int64_t looked_us_ = 0;  // when somebody last did
  PicturePtr picture_;
  std::map<std::string, Counted> counted_;  // by volume
  std::vector<ClassInfo> classes_;
  std::vector<Check> checks_;
  std::int64_t checked_ms_ = 0;
  // Only the state thread's.
  std::map<std::string, Course> courses_;
  std::deque<Event> events_;
  std::map<std::string, std::uint64_t> events_by_severity_;
  std::uint64_t last_event_ = 0;
  bool events_primed_ = false;
  std::thread state_, io_, slow_;
};

}  // namespace shadow::http
