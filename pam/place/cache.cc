// SPDX-License-Identifier: Apache-2.0
// See cache.h.
#include "pam/place/cache.h"

#include <algorithm>
#include <array>
#include <deque>
#include <list>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace shadow::pam {
namespace {

using Outcome = CachePolicy::Outcome;

/// A list in order of use with a look-up by block.
class Queue {
 public:
  [[nodiscard]] bool Has(std::uint32_t b) const { return at_.contains(b); }
  [[nodiscard]] std::size_t size() const { return at_.size(); }
  void PushFront(std::uint32_t b) {
    order_.push_front(b);
    at_[b] = order_.begin();
  }
  void Remove(std::uint32_t b) {
    const auto it = at_.find(b);
    if (it == at_.end()) return;
    order_.erase(it->second);
    at_.erase(it);
  }
  std::uint32_t PopBack() {
    const std::uint32_t b = order_.back();
    Remove(b);
    return b;
  }

 private:
  std::list<std::uint32_t> order_;
  std::unordered_map<std::uint32_t, std::list<std::uint32_t>::iterator> at_;
};

class Lru : public CachePolicy {
 public:
  explicit Lru(std::size_t capacity) : capacity_(capacity) {}
  Outcome Access(std::uint32_t b, std::size_t) override {
    if (q_.Has(b)) {
      q_.Remove(b);
      q_.PushFront(b);
      return {true, false};
    }
    if (q_.size() >= capacity_) q_.PopBack();
    q_.PushFront(b);
    return {false, true};
  }

 private:
  std::size_t capacity_;
  Queue q_;
};

class Lfu : public CachePolicy {  // counts are kept for all blocks; a tie goes to the newer one
 public:
  explicit Lfu(std::size_t capacity) : capacity_(capacity) {}
  Outcome Access(std::uint32_t b, std::size_t n) override {
    auto& [count, last] = stats_[b];
    const bool held = in_.erase({count, last, b}) > 0;
    ++count;
    last = n;
    if (held) {
      in_.insert({count, last, b});
      return {true, false};
    }
    if (in_.size() >= capacity_) {
      const auto victim = *in_.begin();
      if (std::get<0>(victim) > count) return {false, false};
      in_.erase(in_.begin());
    }
    in_.insert({count, last, b});
    return {false, true};
  }

 private:
  std::size_t capacity_;
  std::unordered_map<std::uint32_t, std::pair<std::size_t, std::size_t>> stats_;
  std::set<std::tuple<std::size_t, std::size_t, std::uint32_t>> in_;
};

class TwoQ : public CachePolicy {
 public:
  explicit TwoQ(std::size_t capacity)
      : in_max_(std::max<std::size_t>(1, capacity / 4)),
        out_max_(std::max<std::size_t>(1, capacity / 2)),
        capacity_(capacity) {}
  Outcome Access(std::uint32_t b, std::size_t) override {
    if (main_.Has(b)) {
      main_.Remove(b);
      main_.PushFront(b);
      return {true, false};
    }
    if (in_.Has(b)) return {true, false};
    const bool ghost = out_.Has(b);
    if (ghost) out_.Remove(b);
    if (in_.size() + main_.size() >= capacity_) {
      if (in_.size() > in_max_ || main_.size() == 0) {
        out_.PushFront(in_.PopBack());
        if (out_.size() > out_max_) out_.PopBack();
      } else {
        main_.PopBack();
      }
    }
    (ghost ? main_ : in_).PushFront(b);
    return {false, true};
  }

 private:
  std::size_t in_max_, out_max_, capacity_;
  Queue in_, out_, main_;
};

class Arc : public CachePolicy {
 public:
  explicit Arc(std::size_t capacity) : c_(capacity) {}
  Outcome Access(std::uint32_t b, std::size_t) override {
    if (t1_.Has(b) || t2_.Has(b)) {
      t1_.Remove(b);
      t2_.Remove(b);
      t2_.PushFront(b);
      return {true, false};
    }
    if (b1_.Has(b)) {
      p_ = std::min(
          c_, p_ + std::max<std::size_t>(1, b2_.size() / std::max<std::size_t>(1, b1_.size())));
      Replace(false);
      b1_.Remove(b);
      t2_.PushFront(b);
      return {false, true};
    }
    if (b2_.Has(b)) {
      const std::size_t d =
          std::max<std::size_t>(1, b1_.size() / std::max<std::size_t>(1, b2_.size()));
      p_ = p_ > d ? p_ - d : 0;
      Replace(true);
      b2_.Remove(b);
      t2_.PushFront(b);
      return {false, true};
    }
    if (t1_.size() + b1_.size() >= c_) {
      if (t1_.size() < c_) {
        b1_.PopBack();
        Replace(false);
      } else {
        t1_.PopBack();
      }
    } else if (t1_.size() + t2_.size() + b1_.size() + b2_.size() >= c_) {
      if (t1_.size() + t2_.size() + b1_.size() + b2_.size() >= 2 * c_) b2_.PopBack();
      Replace(false);
    }
    t1_.PushFront(b);
    return {false, true};
  }

 private:
  void Replace(bool in_b2) {
    if (t1_.size() + t2_.size() < c_) return;
    if (t1_.size() > 0 && (t1_.size() > p_ || (in_b2 && t1_.size() == p_) || t2_.size() == 0)) {
      b1_.PushFront(t1_.PopBack());
    } else {
      b2_.PushFront(t2_.PopBack());
    }
  }
  std::size_t c_, p_ = 0;
  Queue t1_, t2_, b1_, b2_;
};

class S3Fifo : public CachePolicy {
 public:
  explicit S3Fifo(std::size_t capacity)
      : small_max_(std::max<std::size_t>(1, capacity / 10)), capacity_(capacity) {}
  Outcome Access(std::uint32_t b, std::size_t) override {
    if (small_.Has(b) || main_.Has(b)) {
      auto& f = freq_[b];
      f = std::min(f + 1, 3);
      return {true, false};
    }
    while (small_.size() + main_.size() >= capacity_) Evict();
    const bool ghost = ghost_.Has(b);
    if (ghost) ghost_.Remove(b);
    (ghost ? main_ : small_).PushFront(b);
    freq_[b] = 0;
    return {false, true};
  }

 private:
  void Evict() {
    if (small_.size() >= small_max_ || main_.size() == 0) {
      const std::uint32_t b = small_.PopBack();
      if (freq_[b] > 0) {
        freq_[b] = 0;
        main_.PushFront(b);
      } else {
        freq_.erase(b);
        ghost_.PushFront(b);
        if (ghost_.size() > capacity_) ghost_.PopBack();
      }
      return;
    }
    while (true) {
      const std::uint32_t b = main_.PopBack();
      if (freq_[b] == 0) {
        freq_.erase(b);
        return;
      }
      --freq_[b];
      main_.PushFront(b);
    }
  }
  std::size_t small_max_, capacity_;
  Queue small_, main_, ghost_;
  std::unordered_map<std::uint32_t, int> freq_;
};

/// Stochastic multiqueue: blocks live in levels; a hit lifts a block a level, a level that is too
/// full lets its oldest sink. The hotspot queue decides who is promoted: only blocks whose level
/// among all (seen) blocks is in the upper half.
class Smq : public CachePolicy {
 public:
  explicit Smq(std::size_t capacity) : capacity_(capacity) {}
  Outcome Access(std::uint32_t b, std::size_t) override {
    const int hot = Lift(hotspot_, hot_level_, b, 4 * capacity_);
    if (level_.contains(b)) {
      Lift(cache_, level_, b, capacity_);
      return {true, false};
    }
    if (level_.size() < capacity_) {
      Lift(cache_, level_, b, capacity_);
      return {false, true};
    }
    if (hot < kLevels / 2) return {false, false};
    for (Queue& q : cache_) {
      if (q.size() == 0) continue;
      level_.erase(q.PopBack());
      break;
    }
    Lift(cache_, level_, b, capacity_);
    return {false, true};
  }

 private:
  static constexpr int kLevels = 16;
  using Levels = std::array<Queue, kLevels>;
  static int Lift(Levels& levels, std::unordered_map<std::uint32_t, int>& level, std::uint32_t b,
                  std::size_t most) {
    const auto it = level.find(b);
    int now = 0;
    if (it == level.end()) {
      if (level.size() >= most) {
        for (Queue& q : levels) {
          if (q.size() == 0) continue;
          level.erase(q.PopBack());
          break;
        }
      }
    } else {
      levels[static_cast<std::size_t>(it->second)].Remove(b);
      now = std::min(it->second + 1, kLevels - 1);
    }
    level[b] = now;
    levels[static_cast<std::size_t>(now)].PushFront(b);
    const std::size_t target = std::max<std::size_t>(1, most / kLevels);
    for (auto l = static_cast<std::size_t>(now); l > 0 && levels[l].size() > target; --l) {
      const std::uint32_t down = levels[l].PopBack();
      level[down] = static_cast<int>(l) - 1;
      levels[l - 1].PushFront(down);
    }
    return level[b];
  }
  std::size_t capacity_;
  Levels cache_, hotspot_;
  std::unordered_map<std::uint32_t, int> level_, hot_level_;
};

class Static : public CachePolicy {  // the most accessed blocks of the whole trace, from the start
 public:
  Static(std::size_t capacity, std::span<const BlockRequest> future) {
    std::unordered_map<std::uint32_t, std::size_t> count;
    for (const auto& r : future) ++count[r.block];
    std::vector<std::pair<std::size_t, std::uint32_t>> order;
    order.reserve(count.size());
    for (const auto& [b, n] : count) order.emplace_back(n, b);
    std::sort(order.rbegin(), order.rend());
    for (std::size_t i = 0; i < std::min(capacity, order.size()); ++i) in_.insert(order[i].second);
  }
  Outcome Access(std::uint32_t b, std::size_t) override {
    if (!in_.contains(b)) return {};
    return met_.insert(b).second ? Outcome{false, true} : Outcome{true, false};
  }

 private:
  std::unordered_set<std::uint32_t> in_, met_;
};

class Belady : public CachePolicy {
 public:
  Belady(std::size_t capacity, std::span<const BlockRequest> future)
      : capacity_(capacity), next_(future.size()) {
    std::unordered_map<std::uint32_t, std::size_t> seen;
    for (std::size_t i = future.size(); i-- > 0;) {
      const auto it = seen.find(future[i].block);
      next_[i] = it == seen.end() ? future.size() + i : it->second;
      seen[future[i].block] = i;
    }
  }
  Outcome Access(std::uint32_t b, std::size_t n) override {
    const auto it = in_.find(b);
    const std::size_t next = next_[n];
    if (it != in_.end()) {
      order_.erase({it->second, b});
      it->second = next;
      order_.insert({next, b});
      return {true, false};
    }
    if (in_.size() >= capacity_) {
      const auto victim = *order_.rbegin();
      if (victim.first <= next) return {};  // everything held is needed sooner
      order_.erase(victim);
      in_.erase(victim.second);
    }
    in_[b] = next;
    order_.insert({next, b});
    return {false, true};
  }

 private:
  std::size_t capacity_;
  std::vector<std::size_t> next_;
  std::unordered_map<std::uint32_t, std::size_t> in_;
  std::set<std::pair<std::size_t, std::uint32_t>> order_;
};

}  // namespace

std::unique_ptr<CachePolicy> MakeCachePolicy(const std::string& name, std::size_t capacity,
                                             std::span<const BlockRequest> future) {
  capacity = std::max<std::size_t>(1, capacity);
  if (name == "lru") return std::make_unique<Lru>(capacity);
  if (name == "lfu") return std::make_unique<Lfu>(capacity);
  if (name == "2q") return std::make_unique<TwoQ>(capacity);
  if (name == "arc") return std::make_unique<Arc>(capacity);
  if (name == "s3fifo") return std::make_unique<S3Fifo>(capacity);
  if (name == "smq") return std::make_unique<Smq>(capacity);
  if (name == "static") return std::make_unique<Static>(capacity, future);
  if (name == "belady") return std::make_unique<Belady>(capacity, future);
  return nullptr;
}

}  // namespace shadow::pam
