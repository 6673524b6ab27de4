// SPDX-License-Identifier: Apache-2.0
// The training record as bytes and back. The caller frames and checksums; every number is checked
// here all the same, so that a damaged record is refused and never followed. See recorder.h.
#include <algorithm>
#include <array>
#include <cmath>

#include "pam/features/fastmath.h"
#include "pam/model/bytes.h"
#include "pam/model/recorder.h"

namespace shadow::pam {
namespace {

Error Damaged() {
  return MakeError(Code::kDataLoss, "the training record is damaged",
                   "start without it: a record is collected again within a week");
}

constexpr std::uint64_t kMostHours = 1 << 20;

template <std::size_t kN>
void PutHalves(std::string* out, const float* x) {
  std::array<std::uint16_t, kN> halves;
  for (std::size_t i = 0; i < kN; ++i) halves[i] = ToHalf(x[i]);
  Put(out, halves);
}

template <std::size_t kN>
bool GetHalves(std::string_view* in, std::vector<float>* out) {
  std::array<std::uint16_t, kN> halves{};
  if (!Get(in, &halves)) return false;
  for (const std::uint16_t h : halves) {
    if ((h & 0x7fffu) > 0x7bffu) return false;
    out->push_back(FromHalf(h));
  }
  return true;
}

bool Positive(float x) { return std::isfinite(x) && x >= 0 && x < 1e30f; }

}  // namespace

void Recorder::Save(std::string* out, const Spill& spill) const {
  Put(out, data_.windows);
  Put(out, data_.settled_to);
  Put(out, keep_);
  Put(out, follow_);
  Put(out, taken_);
  Put(out, static_cast<std::uint64_t>(hours_.size()));
  for (const auto& [hour, rate] : hours_) {
    Put(out, hour);
    Put(out, rate);
  }
  const std::size_t events = data_.event_window.size();
  std::vector<std::uint32_t> owner(events, 0);
  for (std::uint32_t b = 0; b < data_.block_events.size(); ++b) {
    for (const std::uint32_t e : data_.block_events[b]) owner[e] = b;
  }
  Put(out, static_cast<std::uint64_t>(events));
  for (std::size_t e = 0; e < events; ++e) {
    Put(out, owner[e]);
    Put(out, data_.event_window[e]);
    Put(out, data_.event_count[e]);
    Put(out, data_.event_writes[e]);
    PutHalves<kEventInputs>(out, data_.events.data() + e * kEventInputs);
    if (spill && e % 4096 == 0) spill(out);
  }
  Put(out, static_cast<std::uint64_t>(data_.samples.size()));
  for (std::size_t i = 0; i < data_.samples.size(); ++i) {
    const Sample& s = data_.samples[i];
    Put(out, s.event);
    Put(out, s.at);
    Put(out, s.weight);
    Put(out, drawn_[i].idle);
    Put(out, drawn_[i].followed);
    Put(out, static_cast<std::uint8_t>(s.settled ? 1 : 0));
    if (s.settled) {
      Put(out, s.next);
      Put(out, s.exposure);
      Put(out, s.future);
      Put(out, s.future_writes);
      Put(out, s.mass);
    }
    PutHalves<kFeatures>(out, data_.feature(i));
    if (spill && i % 1024 == 0) spill(out);
  }
}

Status Recorder::LoadEvents(std::string_view* in) {
  std::uint64_t events = 0;
  if (!Get(in, &events) || events > in->size() / (16 + 2 * kEventInputs) || events >= kNever) {
    return Damaged();
  }
  MakeRoom(0, events);
  for (std::uint32_t e = 0; e < events; ++e) {
    std::uint32_t block = 0;
    std::uint32_t window = 0;
    std::uint32_t count = 0;
    std::uint32_t writes = 0;
    if (!Get(in, &block) || !Get(in, &window) || !Get(in, &count) || !Get(in, &writes) ||
        !GetHalves<kEventInputs>(in, &data_.events) || block >= data_.block_events.size() ||
        window >= data_.windows || count == 0 || writes > count ||
        (e > 0 && window < data_.event_window.back())) {
      return Damaged();
    }
    auto& list = data_.block_events[block];
    if (!list.empty() && data_.event_window[list.back()] >= window) return Damaged();
    list.push_back(e);
    data_.event_window.push_back(window);
    data_.event_count.push_back(count);
    data_.event_writes.push_back(writes);
  }
  return Ok();
}

Status Recorder::LoadSamples(std::string_view* in) {
  std::vector<std::uint32_t> owner(data_.event_window.size(), 0);
  for (std::uint32_t b = 0; b < data_.block_events.size(); ++b) {
    for (const std::uint32_t e : data_.block_events[b]) owner[e] = b;
  }
  std::uint64_t samples = 0;
  if (!Get(in, &samples) || samples > in->size() / (21 + 2 * kFeatures)) return Damaged();
  MakeRoom(samples, 0);
  for (std::uint64_t i = 0; i < samples; ++i) {
    Sample s;
    Drawn d;
    std::uint8_t settled = 0;
    if (!Get(in, &s.event) || !Get(in, &s.at) || !Get(in, &s.weight) || !Get(in, &d.idle) ||
        !Get(in, &d.followed) || !Get(in, &settled) || settled > 1) {
      return Damaged();
    }
    s.settled = settled == 1;
    if (s.settled && (!Get(in, &s.next) || !Get(in, &s.exposure) || !Get(in, &s.future) ||
                      !Get(in, &s.future_writes) || !Get(in, &s.mass))) {
      return Damaged();
    }
    if (!GetHalves<kFeatures>(in, &data_.features) || s.event >= owner.size() ||
        s.at > data_.windows || data_.event_window[s.event] >= s.at || !Positive(s.weight) ||
        s.weight < 0.5f || !(d.followed > 0 && d.followed <= 1) || !Positive(s.future) ||
        !Positive(s.future_writes) || !Positive(s.mass) ||
        (s.settled && s.exposure > data_.settled_to - std::min(data_.settled_to, s.at)) ||
        (s.settled && s.next != kNever && (s.next < s.at || s.next - s.at >= s.exposure)) ||
        (i > 0 && s.at < data_.samples.back().at)) {
      return Damaged();
    }
    s.block = owner[s.event];
    data_.samples.push_back(s);
    drawn_.push_back(d);
  }
  return Ok();
}

Status Recorder::Load(std::string_view* in, const FeatureEngine& engine) {
  std::uint64_t hours = 0;
  if (!Get(in, &data_.windows) || !Get(in, &data_.settled_to) || !Get(in, &keep_) ||
      !Get(in, &follow_) || !Get(in, &taken_) || !Get(in, &hours) || data_.windows > engine.now() ||
      data_.settled_to > data_.windows || !(keep_ > 0 && keep_ <= 1e9) ||
      !(follow_ > 0 && follow_ <= 1) || hours > kMostHours) {
    return Damaged();
  }
  for (std::uint64_t i = 0; i < hours; ++i) {
    std::uint32_t hour = 0;
    double rate = 0;
    if (!Get(in, &hour) || !Get(in, &rate) || !(rate > 0 && rate <= 1)) return Damaged();
    hours_[hour] = rate;
  }
  LearnBlocks(engine);
  SHADOW_TRY(LoadEvents(in));
  return LoadSamples(in);
}

}  // namespace shadow::pam
