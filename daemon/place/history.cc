// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/history.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace shadow {
namespace {

constexpr int kSlow = kHalf240;  // of hits and writes
/// Windows without an access that every block is taken to have behind it: a block that was touched
/// in the first window of all is not hot yet.
constexpr double kPriorWindows = 30;

std::size_t Hash(std::uint32_t block) {
  return static_cast<std::size_t>((block * std::uint64_t{0x9e3779b97f4a7c15}) >> 24);
}

double Decay(int half_life, double windows) {
  return std::exp2(-windows / kHalfLifeWindows[static_cast<std::size_t>(half_life)]);
}

}  // namespace

std::size_t History::SlotOf(std::uint32_t block) const {
  std::size_t slot = Hash(block) % slots_.size();
  while (slots_[slot] != 0 && blocks_[slots_[slot] - 1].block != block) {
    if (++slot == slots_.size()) slot = 0;
  }
  return slot;
}

void History::Rehash(std::size_t slots) {
  slots_ = std::vector<std::uint32_t>(slots, 0);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    slots_[SlotOf(blocks_[i].block)] = static_cast<std::uint32_t>(i + 1);
  }
}

const BlockHistory* History::Find(std::uint32_t block) const {
  if (slots_.empty()) return nullptr;
  const std::uint32_t index = slots_[SlotOf(block)];
  return index == 0 ? nullptr : &blocks_[index - 1];
}

BlockHistory& History::FindOrAdd(std::uint32_t block) {
  // A load of 0.53 to 0.8: 5 to 7.5 bytes a block.
  if (blocks_.size() * 5 >= slots_.size() * 4) Rehash(slots_.size() + slots_.size() / 2 + 64);
  const std::size_t slot = SlotOf(block);
  if (slots_[slot] != 0) return blocks_[slots_[slot] - 1];
  BlockHistory& b = blocks_.Add();
  b.block = block;
  b.last = tick_;
  slots_[slot] = static_cast<std::uint32_t>(blocks_.size());
  return b;
}

void History::Add(const AccessWindow& part, double windows) {
  if (windows > 0) rest_ += std::min(windows, 1e6) * kTicks;
  const auto ticks = static_cast<std::uint32_t>(rest_);
  tick_ += ticks;
  rest_ -= ticks;
  const std::uint32_t window = tick_ == 0 ? 0 : (tick_ - 1) / kTicks;
  for (const BlockAccess& a : part.blocks) {
    if (a.count == 0) continue;
    BlockHistory& b = FindOrAdd(a.block);
    const double idle = Idle(b);
    for (int h = 0; h < kHalfLives; ++h) {
      float& count = b.count[static_cast<std::size_t>(h)];
      count = static_cast<float>(count * Decay(h, idle)) + static_cast<float>(a.count);
    }
    const auto slow = static_cast<float>(Decay(kSlow, idle));
    const bool same = b.hits > 0 && b.last > 0 && (b.last - 1) / kTicks == window;
    b.hits = b.hits * slow + (same ? 0.0F : 1.0F);
    b.writes = b.writes * slow + static_cast<float>(std::min(a.writes, a.count));
    b.last = tick_;
  }
}

double History::Idle(const BlockHistory& b) const {
  return static_cast<double>(tick_ - b.last) / kTicks;
}

double History::Count(const BlockHistory& b, int half_life) const {
  return b.count[static_cast<std::size_t>(half_life)] * Decay(half_life, Idle(b));
}

double History::Seen(int half_life) const {
  const double h = kHalfLifeWindows[static_cast<std::size_t>(half_life)];
  return kPriorWindows + h / std::numbers::ln2 * (1 - std::exp2(-now() / h));
}

double History::Expected(const BlockHistory& b, int half_life) const {
  return Count(b, half_life) / Seen(half_life) * kDiscountWindows / std::numbers::ln2;
}

double History::WriteShare(const BlockHistory& b) {
  const float count = b.count[kSlow];
  return count > 0 ? std::clamp(static_cast<double>(b.writes / count), 0.0, 1.0) : 0;
}

double History::Heat(const BlockHistory& b, double windows) const {
  const double idle = Idle(b);
  const double rate = b.hits * Decay(kSlow, idle) / Seen(kSlow);  // windows with an access
  // A silence that is long for this block says that it may be over: odds of rate * idle squared,
  // because gaps have heavy tails.
  const double missed = rate * idle;
  return -std::expm1(-rate * windows) / (1 + 0.03 * missed * missed);
}

std::size_t History::Bytes() const {
  return blocks_.Bytes() + slots_.capacity() * sizeof(slots_[0]);
}

}  // namespace shadow
