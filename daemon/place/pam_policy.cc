// SPDX-License-Identifier: Apache-2.0
// The policy `pam`: the model's expectations, blended with EWMA's; EWMA alone, with the reason in
// State(), while the model is untrained, late, gone, or itself says that EWMA is better.
//
// A window goes to the worker with a question for the heat behind it. A round waits kAnswerMs for
// the answers; one that is late is used when it comes, unless the heat is older than kStale
// windows by then.
#include <algorithm>
#include <cmath>
#include <deque>

#include "daemon/place/pam_client.h"
#include "daemon/place/policies.h"
#include "daemon/place/ranking.h"
#include "pam/v1/worker.pb.h"

namespace shadow {
namespace {

using ::pam::v1::Reply;
using ::pam::v1::Request;

constexpr std::int64_t kAnswerMs = 2'000;
constexpr std::size_t kMostQueued = 16;       // windows that wait for the worker
constexpr std::uint64_t kStale = 3;           // windows
constexpr std::uint64_t kFirstTraining = 15;  // windows; training is the worker's own business
constexpr std::uint64_t kAskAgain = 15;       // windows after which what was refused is tried again
constexpr std::uint64_t kMostBlocks = 1'000'000;  // of a window
constexpr std::size_t kMostAnswered = 800'000;    // an answer has to fit into a frame
constexpr std::size_t kHourHorizon = 2;           // index of 1 h among the worker's horizons

class Pam final : public PlacementPolicy {
 public:
  Pam(const History& history, const PolicySettings& settings, PamVolume volume)
      : history_(history), settings_(settings), volume_(std::move(volume)) {}

  ~Pam() override {
    if (volume_.client == nullptr || generation_ != volume_.client->generation()) return;
    Request close;
    close.mutable_close()->set_volume(volume_.volume);
    volume_.client->Tell(std::move(close));
    volume_.client->Pump(kAnswerMs);
  }
  Pam(const Pam&) = delete;
  Pam& operator=(const Pam&) = delete;

  void Observe(const AccessWindow& window) override {
    ++windows_;
    if (volume_.client == nullptr) return;
    queue_.push_back(window);
    if (queue_.size() > kMostQueued) queue_.pop_front();
    Collect();
    Talk();
    if (heat_id_ != 0) volume_.client->Pump(kAnswerMs, status_id_);
    Collect();
  }

  std::vector<BlockHeat> Rank(std::size_t most) override {
    most_ = std::clamp<std::size_t>(most, 1, kMostAnswered);
    reason_ = WhyNot();
    if (!reason_.empty()) return RankEwma(history_, settings_, most);
    // Blocks that only one of the two thinks of are kept: the other says what it says of them.
    std::vector<BlockHeat> all = heat_;
    std::sort(all.begin(), all.end(),
              [](const BlockHeat& a, const BlockHeat& b) { return a.block < b.block; });
    const std::size_t of_model = all.size();
    const float share = static_cast<float>(std::clamp(settings_.model_share, 0.0, 1.0));
    for (std::size_t i = 0; i < of_model; ++i) {
      BlockHeat& h = all[i];
      const BlockHistory* b = history_.Find(h.block);
      const BlockHeat e = b == nullptr ? BlockHeat{} : EwmaHeat(history_, *b, settings_);
      h.accesses = share * h.accesses + (1 - share) * e.accesses;
      h.writes = std::min(h.accesses, share * h.writes + (1 - share) * e.writes);
    }
    if (share < 1) {
      for (const BlockHeat& e : RankEwma(history_, settings_, most)) {
        const auto end = all.begin() + static_cast<std::ptrdiff_t>(of_model);
        const auto at = std::lower_bound(
            all.begin(), end, e.block,
            [](const BlockHeat& h, std::uint32_t block) { return h.block < block; });
        if (at != end && at->block == e.block) continue;
        all.push_back({e.block, e.heat, (1 - share) * e.accesses, (1 - share) * e.writes});
      }
    }
    return TopBlocks(std::move(all), most);
  }

  void Resize(std::uint64_t blocks) override {
    volume_.blocks = blocks;
    std::erase_if(heat_, [blocks](const BlockHeat& h) { return h.block >= blocks; });
    reopen_ = true;
  }

  [[nodiscard]] PolicyState State() const override {
    PolicyState s{"pam", "pam", "", windows_, history_.size(), history_.Bytes() + model_bytes_};
    s.reason = WhyNot();
    if (!s.reason.empty()) s.ruling = "ewma";
    return s;
  }

 private:
  /// Why EWMA ranks; "" if the model does.
  [[nodiscard]] std::string WhyNot() const {
    if (volume_.client == nullptr) return "The model was not built into this version.";
    if (!volume_.client->running()) {
      return "The worker of the model is not there: " + volume_.client->trouble() + ".";
    }
    if (!refused_.empty()) return "The model refused: " + refused_;
    if (!trained_) {
      return "The model is not trained yet; it has seen " + std::to_string(windows_) +
             " windows here, and is trained after " + std::to_string(kFirstTraining) + ".";
    }
    if (ewma_rules_) return "The model's own gate finds EWMA more accurate at present.";
    if (heat_window_ == 0 || windows_ - heat_window_ >= kStale) {
      return "The model's last answer is " + std::to_string(windows_ - heat_window_) +
             " windows old; it may be training.";
    }
    return {};
  }

  void Open() {
    PamClient& client = *volume_.client;
    Request open;
    auto* o = open.mutable_open();
    o->set_volume(volume_.volume);
    o->set_blocks(volume_.blocks);
    o->set_window_us(volume_.window_us);
    o->set_start_us(queue_.empty() ? 0 : StartOf(queue_.front()));
    o->set_identity(volume_.identity);
    refused_.clear();
    opened_window_ = windows_;
    reopen_ = false;
    const auto id = client.Send(std::move(open));
    open_id_ = id.ok() ? *id : 0;
    generation_ = client.generation();
  }

  /// Wall time at which a window began, us; 0: it is not one of the clock on the wall.
  [[nodiscard]] std::int64_t StartOf(const AccessWindow& w) const {
    return volume_.wall_clock ? std::max<std::int64_t>(0, w.start_us) : 0;
  }

  void Talk() {
    PamClient& client = *volume_.client;
    const bool lost = !client.running() || generation_ != client.generation();
    if (lost) {
      heat_id_ = status_id_ = 0;
      trained_ = false;
      heat_window_ = 0;
    }
    // To open what is open sets its size and clock.
    if (lost || reopen_ || (!refused_.empty() && windows_ - opened_window_ >= kAskAgain)) {
      Open();
      if (open_id_ == 0) return;
    }
    if (heat_id_ != 0) return;  // one set of questions at a time
    for (const AccessWindow& w : queue_) {
      const auto sent = client.Send(ToRequest(w));
      if (!sent.ok()) refused_ = sent.error().ToString();
      if (sent.ok()) close_ids_.push_back(*sent);
    }
    queue_.clear();
    Request heat;
    heat.mutable_heat()->set_volume(volume_.volume);
    heat.mutable_heat()->set_horizon_us(std::clamp<std::int64_t>(
        std::llround(settings_.horizon_windows * static_cast<double>(volume_.window_us)), 1'000'000,
        86'400'000'000));
    heat.mutable_heat()->set_most(static_cast<std::uint32_t>(most_));
    Request status;
    status.mutable_status()->set_volume(volume_.volume);
    const auto heat_id = client.Send(std::move(heat));
    const auto status_id = client.Send(std::move(status));
    heat_id_ = heat_id.ok() ? *heat_id : 0;
    status_id_ = status_id.ok() ? *status_id : 0;
    asked_window_ = windows_;
  }

  [[nodiscard]] Request ToRequest(const AccessWindow& window) const {
    Request request;
    auto* w = request.mutable_window();
    w->set_volume(volume_.volume);
    w->set_ops(window.ops);
    w->set_bytes(window.bytes);
    w->set_start_us(StartOf(window));
    std::uint32_t previous = 0;
    for (const BlockAccess& a : window.blocks) {
      if (a.count == 0 || a.block >= volume_.blocks) continue;
      w->add_block_delta(a.block - previous);
      w->add_count(a.count);
      w->add_writes(std::min(a.writes, a.count));
      previous = a.block;
      if (static_cast<std::uint64_t>(w->count_size()) >= kMostBlocks) break;
    }
    return request;
  }

  void Collect() {
    PamClient& client = *volume_.client;
    client.Pump(0);
    if (generation_ != client.generation() || !client.running()) {
      heat_id_ = status_id_ = open_id_ = 0;
      close_ids_.clear();
      return;
    }
    Reply reply;
    if (open_id_ != 0 && client.Take(open_id_, &reply)) {
      if (!reply.error().empty()) refused_ = reply.error();
      open_id_ = 0;
    }
    std::erase_if(close_ids_, [&](std::uint64_t id) {
      if (!client.Take(id, &reply)) return false;
      if (!reply.error().empty()) refused_ = reply.error();
      return true;
    });
    if (heat_id_ != 0 && client.Take(heat_id_, &reply)) {
      heat_id_ = 0;
      TakeHeat(reply);
    }
    if (status_id_ != 0 && client.Take(status_id_, &reply)) {
      status_id_ = 0;
      TakeStatus(reply);
    }
  }

  void TakeHeat(const Reply& reply) {
    const auto& h = reply.heat();
    const int n = h.block_size();
    if (!reply.error().empty() || h.probability_size() != n || h.accesses_size() != n ||
        h.writes_size() != n) {
      refused_ = reply.error().empty() ? "its columns differ in length" : reply.error();
      return;
    }
    heat_.clear();
    heat_.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
      const BlockHeat b{h.block(i), h.probability(i), h.accesses(i), h.writes(i)};
      const bool good = b.block < volume_.blocks && b.heat >= 0 && b.heat <= 1 && b.accesses >= 0 &&
                        b.accesses < 1e9F && b.writes >= 0 && b.writes < 1e9F;
      if (good) heat_.push_back(b);
    }
    heat_window_ = asked_window_;
  }

  void TakeStatus(const Reply& reply) {
    if (!reply.error().empty()) return;
    const auto& s = reply.status();
    trained_ = s.trained();
    model_bytes_ = s.state_bytes();
    ewma_rules_ = s.ruler_size() > static_cast<int>(kHourHorizon) && s.ruler(0) == "ewma" &&
                  s.ruler(1) == "ewma";
  }

  const History& history_;
  PolicySettings settings_;
  PamVolume volume_;
  std::deque<AccessWindow> queue_;
  std::vector<BlockHeat> heat_;
  std::vector<std::uint64_t> close_ids_;
  std::uint64_t windows_ = 0, heat_window_ = 0, asked_window_ = 0;
  std::uint64_t opened_window_ = 0;
  std::uint64_t generation_ = 0, open_id_ = 0, heat_id_ = 0, status_id_ = 0;
  std::uint64_t model_bytes_ = 0;
  std::size_t most_ = 4096;
  bool trained_ = false, ewma_rules_ = false, reopen_ = false;
  std::string refused_, reason_;
};

}  // namespace

std::unique_ptr<PlacementPolicy> MakePam(const History& history, const PolicySettings& settings,
                                         PamVolume volume) {
  return std::make_unique<Pam>(history, settings, std::move(volume));
}

}  // namespace shadow
