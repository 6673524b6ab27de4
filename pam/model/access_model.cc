// SPDX-License-Identifier: Apache-2.0
// Rounds and scores. Outcomes and the gate are in access_gate.cc, training is in
// access_train.cc, bytes are in access_io.cc. See access_model.h.
#include "pam/model/access_model.h"

#include <algorithm>
#include <cmath>

#include "pam/features/fastmath.h"

namespace shadow::pam {
namespace {

constexpr std::size_t kWheel = 256;
constexpr std::size_t kAsk = 256;  // blocks per batch: features and outputs stay in the cache

float LogitOfHazard(float cumulated) {  // of 1 - exp(-cumulated)
  const float z = cumulated > 15 ? cumulated : std::log(std::expm1(std::max(cumulated, 1e-7f)));
  return std::clamp(z, -14.0f, 14.0f);
}

/// The same where cumulated = softplus(first) + ...; with one summand that is `first` itself.
float LogitUpTo(int j, float first, float cumulated) {
  return j == 0 ? std::clamp(first, -14.0f, 14.0f) : LogitOfHazard(cumulated);
}

float SoftPlusF(float z) { return z > 15 ? z : std::log1p(std::exp(z)); }

double SoftPlus(double z) { return z > 30 ? z : std::log1p(std::exp(z)); }

/// Before any training: the five-minute EWMA as a rate, shrunk; a stated fallback, not a model.
double UntrainedHazard(const float* features) {
  return std::min(3.0, std::expm1(static_cast<double>(features[kHit5])) * 0.12 + 1e-4);
}

/// Windows until an idle block deserves another look: at log-spaced ages, and when its last gap is
/// about to repeat.
std::uint32_t NextLook(const BlockState& s, std::uint32_t idle) {
  std::uint32_t step = std::clamp<std::uint32_t>(idle, 1, kWheel - 1);
  const float gap = FromHalf(s.gap);
  if (gap > static_cast<float>(idle) + 1.5f) {
    step = std::min(step, std::max<std::uint32_t>(1, static_cast<std::uint32_t>(gap) - idle - 1));
  }
  return step;
}

}  // namespace

const char* RulerName(Ruler ruler) {
  switch (ruler) {
    case Ruler::kModel:
      return "model";
    case Ruler::kRegression:
      return "regression";
    case Ruler::kEwma:
      return "ewma";
    case Ruler::kNetwork:
      return "network";
  }
  return "?";
}

AccessModel::AccessModel(const ModelOptions& options)
    : options_(options),
      ends_(HazardEnds(options.engine.window_us)),
      engine_(options.engine),
      recorder_(
          std::make_unique<Recorder>(options.engine.window_us, options.max_samples, options.seed)),
      wheel_(kWheel, FeatureEngine::kNone) {
  mixers_.fill(Mixer(options.mixer));
  for (std::size_t j = 0; j < kHazards; ++j) curves_[j] = HitCurve(ends_[j]);
  ruler_.fill(Ruler::kEwma);
}

AccessModel::~AccessModel() = default;
AccessModel::AccessModel(AccessModel&&) noexcept = default;
AccessModel& AccessModel::operator=(AccessModel&&) noexcept = default;

Status AccessModel::Check(const Window& window) const {
  std::uint32_t previous = 0;
  for (std::size_t i = 0; i < window.accesses.size(); ++i) {
    const Access& a = window.accesses[i];
    if (a.count == 0 || a.writes > a.count) {
      return MakeError(Code::kInvalidArgument, "block " + std::to_string(a.block) +
                                                   " has a count of " + std::to_string(a.count) +
                                                   " with " + std::to_string(a.writes) + " writes");
    }
    if (i > 0 && a.block <= previous) {
      return MakeError(Code::kInvalidArgument, "the blocks of a window are not in ascending order");
    }
    previous = a.block;
  }
  return Ok();
}

void AccessModel::UpdateUnseen(const Window& window) {
  if (engine_.now() == 0) return;
  const double keep = std::exp2(-1.0 / (4.0 * ends_[2]));  // a half-life of four hours
  for (std::size_t c = 0; c < unseen_hits_.size(); ++c) {
    unseen_hits_[c] *= keep;
    unseen_asked_[c] = unseen_asked_[c] * keep + static_cast<double>(unseen_now_[c]);
  }
  for (const Access& a : window.accesses) {
    if (engine_.Find(a.block) != FeatureEngine::kNone) continue;
    unseen_hits_[static_cast<std::size_t>(engine_.UnseenClass(a.block))] += 1;
  }
}

Result<RoundReport> AccessModel::CloseWindow(const Window& window) {
  SHADOW_TRY(Check(window));
  RoundReport report;
  Window cut;
  const Window* use = &window;
  if (options_.blocks != 0 && !window.accesses.empty() &&
      window.accesses.back().block >= options_.blocks) {
    cut = window;
    std::erase_if(cut.accesses, [this](const Access& a) { return a.block >= options_.blocks; });
    report.ignored = window.accesses.size() - cut.accesses.size();
    ignored_ += report.ignored;
    use = &cut;
  }
  UpdateUnseen(*use);
  engine_.Close(*use);
  report.window = engine_.now() - 1;
  report.active = static_cast<std::uint32_t>(engine_.active().size());
  while (lstm_.size() < engine_.size()) lstm_.Add();
  while (scores_.size() < engine_.size()) scores_.Add().next = FeatureEngine::kNone;
  if (trained_) {
    std::vector<LstmState*> states(engine_.active().size());
    for (std::size_t i = 0; i < states.size(); ++i) states[i] = &lstm_[engine_.active()[i]];
    if (!states.empty()) LstmStep(net_, engine_.event(0).data(), states.data(), states.size());
  }
  if (options_.record) recorder_->Observe(engine_, *use);
  for (int j = 0; j < kHazards; ++j) {
    Resolve(j);
  }
  ScoreRound(&report);
  if (options_.blocks != 0) unseen_now_ = engine_.UnseenPerClass(options_.blocks);
  report.ruler = ruler_;
  return report;
}

void AccessModel::RebuildStates(bool anew) {
  for (std::size_t i = 0; anew && i < lstm_.size(); ++i) lstm_[i] = LstmState{};
  // Runs every block's recorded events (the last 32 of them) through the new network.
  const Dataset& data = recorder_->data();
  constexpr std::size_t kMemory = 32;
  std::vector<std::uint32_t> blocks;
  std::size_t longest = 0;
  for (std::uint32_t b = 0; b < data.block_events.size(); ++b) {
    if (data.block_events[b].empty()) continue;
    blocks.push_back(b);
    longest = std::max(longest, std::min(kMemory, data.block_events[b].size()));
    lstm_[b] = LstmState{};
  }
  std::vector<float> events;
  std::vector<LstmState*> states;
  for (std::size_t t = 0; t < longest; ++t) {
    events.clear();
    states.clear();
    for (const std::uint32_t b : blocks) {
      const auto& list = data.block_events[b];
      const std::size_t n = std::min(kMemory, list.size());
      if (t >= n) continue;
      const float* ev = data.events.data() + std::size_t{list[list.size() - n + t]} * kEventInputs;
      events.insert(events.end(), ev, ev + kEventInputs);
      states.push_back(&lstm_[b]);
    }
    LstmStep(net_, events.data(), states.data(), states.size());
  }
}

void AccessModel::ScoreAgain() {
  for (int j = 0; j < kHazards; ++j) Gate(j);
  for (auto& queue : pending_) {  // what was said about the coming window is said again
    if (!queue.empty() && queue.back().at == engine_.now()) queue.pop_back();
  }
  RoundReport report;
  ScoreRound(&report);
}

std::uint32_t AccessModel::CatchUp(std::int64_t start_us) {
  if (start_us <= 0) return 0;
  const std::int64_t length = options_.engine.window_us;
  const std::int64_t passed = static_cast<std::int64_t>(engine_.now()) * length;
  const auto set = [&](std::int64_t time) {
    options_.engine.start_us = time - static_cast<std::int64_t>(engine_.now()) * length;
    options_.engine.wall_clock = true;
    engine_.SetClock(options_.engine.start_us);
  };
  if (engine_.now() == 0 || !options_.engine.wall_clock) {
    set(start_us);
    return 0;
  }
  const std::int64_t late = start_us - (options_.engine.start_us + passed);
  // A window is not cut to the microsecond: half of one says nothing. A clock that was put back is
  // followed, and time that did not pass is not taken back.
  if (late <= length / 2) {
    if (late < -length / 2) set(start_us);
    return 0;
  }
  constexpr std::int64_t kMost = 20'000;  // after longer silence nothing that is remembered counts
  const auto missed =
      static_cast<std::uint32_t>(std::clamp<std::int64_t>((late + length / 2) / length, 1, kMost));
  if (missed > kShortGap) {
    if (options_.record) recorder_->Cut();
    for (auto& queue : pending_) queue.clear();
  }
  const std::uint32_t before = engine_.now();
  engine_.Skip(missed);
  set(start_us);
  // Blocks whose look would have come in these windows are looked at now.
  const std::uint32_t now = engine_.now();
  std::uint32_t& here = wheel_[now % kWheel];
  for (std::uint32_t w = before + 1; w < now && w <= before + kWheel; ++w) {
    std::uint32_t& head = wheel_[w % kWheel];
    if (&head == &here) continue;
    while (head != FeatureEngine::kNone) {
      const std::uint32_t index = head;
      head = scores_[index].next;
      scores_[index].next = here;
      here = index;
    }
  }
  RoundReport report;
  ScoreRound(&report);
  if (options_.blocks != 0) unseen_now_ = engine_.UnseenPerClass(options_.blocks);
  return missed;
}

void AccessModel::Ask(std::span<const std::uint32_t> indices, std::vector<Opinion>* out) const {
  out->resize(indices.size());
  std::vector<float> features(kAsk * kFeatures);
  std::vector<float> raw(kAsk * kOutputs);
  std::vector<float> second(kAsk * kOutputs);
  std::vector<const LstmState*> states(kAsk);
  for (std::size_t first = 0; first < indices.size(); first += kAsk) {
    const std::size_t n = std::min(kAsk, indices.size() - first);
    for (std::size_t i = 0; i < n; ++i) {
      engine_.Query(indices[first + i], features.data() + i * kFeatures);
      states[i] = &lstm_[indices[first + i]];
    }
    if (trained_) {
      HeadForward(net_, states.data(), features.data(), n, raw.data());
      HeadForward(second_, nullptr, features.data(), n, second.data());
    }
    for (std::size_t i = 0; i < n; ++i) {
      Opinion& o = (*out)[first + i];
      const float* x = features.data() + i * kFeatures;
      float cumulated[2] = {0, 0};
      float floor = -14;
      for (int j = 0; j < kHazards; ++j) {
        const auto jj = static_cast<std::size_t>(j);
        if (trained_) {
          cumulated[0] += SoftPlusF(raw[i * kOutputs + jj]);
          cumulated[1] += SoftPlusF(second[i * kOutputs + jj]);
          o.logit[jj] = {LogitUpTo(j, raw[i * kOutputs], cumulated[0]), rivals_.Regression(j, x),
                         rivals_.Ewma(j, x), LogitUpTo(j, second[i * kOutputs], cumulated[1])};
          const float plain[kRulers] = {mixers_[jj].Mix(o.logit[jj]), o.logit[jj][1],
                                        o.logit[jj][2], (o.logit[jj][0] + o.logit[jj][3]) / 2};
          for (std::size_t r = 0; r < kRulers; ++r) {
            o.said[jj][2 * r] = plain[r];
            o.said[jj][2 * r + 1] = calibrators_[jj][r].Apply(plain[r]);
          }
        } else {
          const float z = LogitOfHazard(
              static_cast<float>(UntrainedHazard(x) * std::sqrt(ends_[jj] / (1.0 * ends_[0]))));
          o.logit[jj] = {z, z, z, z};
          o.said[jj].fill(z);
        }
        floor = std::max(floor, trained_ ? Rule(j, o.said[jj]) : o.said[jj][0]);
        o.ruled[jj] = floor;
      }
      if (trained_) {
        const float* one = raw.data() + i * kOutputs;
        const float* two = second.data() + i * kOutputs;
        o.log_future = std::clamp((one[kOutFuture] + two[kOutFuture]) / 2, -14.0f, 14.0f);
        o.log_writes = std::clamp((one[kOutWrites] + two[kOutWrites]) / 2, -14.0f, 14.0f);
      } else {
        o.log_future = std::log(std::expm1(x[kCount30]) + 1e-4f);
        o.log_writes = std::log(std::expm1(x[kWrites]) + 1e-4f);
      }
    }
  }
}

void AccessModel::Enlist(std::uint32_t index) {
  const std::uint32_t due = engine_.now() + NextLook(engine_.state(index), engine_.Idle(index));
  std::uint32_t& head = wheel_[due % kWheel];
  scores_[index].next = head;
  head = index;
}

void AccessModel::ScoreRound(RoundReport* report) {
  const std::uint32_t known = engine_.size();
  std::vector<std::uint32_t> todo;
  if (known <= options_.dense_limit) {
    todo.resize(known);
    for (std::uint32_t i = 0; i < known; ++i) todo[i] = i;
  } else {
    // Every block hangs in exactly one list of the wheel; those due now are taken out of theirs.
    while (enlisted_ < known) Enlist(enlisted_++);
    std::vector<std::uint32_t> due;
    std::uint32_t& head = wheel_[engine_.now() % kWheel];
    for (std::uint32_t i = head; i != FeatureEngine::kNone; i = scores_[i].next) due.push_back(i);
    head = FeatureEngine::kNone;
    todo = engine_.active();
    for (const std::uint32_t i : due) {
      // Active ones are scored anyway. With no time left, the next look comes as if this one had
      // been.
      if (engine_.Idle(i) != 0 && todo.size() < options_.max_scores) todo.push_back(i);
    }
    for (const std::uint32_t i : engine_.marked()) {
      if (todo.size() >= options_.max_scores) break;
      if (engine_.Idle(i) != 0) todo.push_back(i);
    }
    for (const std::uint32_t i : due) Enlist(i);
    std::sort(todo.begin(), todo.end());  // in the order of memory
    todo.erase(std::unique(todo.begin(), todo.end()), todo.end());
  }
  std::vector<Opinion> opinions;
  constexpr std::size_t kPart = 4096;
  const std::size_t parts = (todo.size() + kPart - 1) / kPart;
  for (std::size_t part = 0; part < parts; ++part) {
    const std::span<const std::uint32_t> some = std::span<const std::uint32_t>(todo).subspan(
        part * kPart, std::min(kPart, todo.size() - part * kPart));
    Ask(some, &opinions);
    for (std::size_t i = 0; i < some.size(); ++i) {
      BlockScore& s = scores_[some[i]];
      for (int j = 0; j < kHazards; ++j) s.logit[j] = ToHalf(opinions[i].ruled[j]);
      s.log_future = ToHalf(opinions[i].log_future);
      s.log_writes = ToHalf(opinions[i].log_writes);
    }
    if (trained_) {
      for (int j = 0; j < kHazards; ++j) Remember(j, some, opinions);
    }
  }
  report->scored = static_cast<std::uint32_t>(todo.size());
}

double AccessModel::ProbabilityOf(std::uint32_t index, double windows) const {
  if (index >= scores_.size() || !(windows > 0)) return 0;
  double start = 0;
  double hazard = 0;
  double rate = 0;
  for (std::size_t j = 0; j < kHazards; ++j) {
    const double end = ends_[j];
    const double z = FromHalf(scores_[index].logit[j]);
    const double total = SoftPlus(z);  // -log(1 - sigmoid(z))
    rate = std::max(0.0, total - hazard) / (end - start);
    if (windows <= end) return -std::expm1(-(hazard + rate * (windows - start)));
    hazard = std::max(hazard, total);
    start = end;
  }
  return -std::expm1(-(hazard + rate * (windows - start)));
}

double AccessModel::Probability(std::uint32_t block, double windows) const {
  const std::uint32_t index = engine_.Find(block);
  if (index != FeatureEngine::kNone) return ProbabilityOf(index, windows);
  if (options_.blocks != 0 && block >= options_.blocks) return 0;
  return UnseenProbability(engine_.UnseenClass(block), windows);
}

double AccessModel::UnseenProbability(int unseen_class, double windows) const {
  const auto c =
      static_cast<std::size_t>(std::clamp(unseen_class, 0, FeatureEngine::kRegionClasses - 1));
  if (!(windows > 0)) return 0;
  const double rate = (unseen_hits_[c] + 0.05) / (unseen_asked_[c] + 1000.0);
  return -std::expm1(std::log1p(-std::min(rate, 0.999)) * windows);
}

double AccessModel::ExpectedAccesses(std::uint32_t block) const {
  const std::uint32_t index = engine_.Find(block);
  return index == FeatureEngine::kNone ? 0 : std::exp(FromHalf(scores_[index].log_future));
}

double AccessModel::ExpectedWrites(std::uint32_t block) const {
  const std::uint32_t index = engine_.Find(block);
  return index == FeatureEngine::kNone ? 0 : std::exp(FromHalf(scores_[index].log_writes));
}

std::size_t AccessModel::StateBytes() const {
  return engine_.Bytes() + lstm_.Bytes() + scores_.Bytes();
}

std::size_t AccessModel::OtherBytes() const {
  std::size_t bytes = recorder_->Bytes();
  for (const auto& queue : pending_) {
    for (const Pending& p : queue) {
      bytes += p.index.capacity() * 4 + p.weight.capacity() * 4 +
               p.logit.capacity() * sizeof(p.logit[0]) + p.said.capacity() * sizeof(p.said[0]);
    }
  }
  return bytes;
}

}  // namespace shadow::pam
