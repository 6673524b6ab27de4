// SPDX-License-Identifier: Apache-2.0
// Model and snapshot files: "SHPM" (model alone) and "SHPS" (with the state of every block), a
// version, the length, a CRC-32 of what follows, the parts. Written in host byte order, which
// bytes.h holds to little endian. Nothing read is trusted: the object in hand changes only when all
// fits.
#include <algorithm>
#include <cmath>

#include "pam/model/access_model.h"
#include "pam/model/bytes.h"
#include "pam/model/frame.h"

namespace shadow::pam {

void AccessModel::SaveParts(std::string* out) const {
  Put(out, options_.engine.window_us);
  Put(out, static_cast<std::uint8_t>(trained_ ? 1 : 0));
  if (trained_) {
    net_.Save(out);
    second_.Save(out);
    rivals_.Save(out);
  }
  for (const Mixer& m : mixers_) m.Save(out);
  for (const auto& horizon : calibrators_) {
    for (const Calibrator& c : horizon) c.Save(out);
  }
  for (const HitCurve& c : curves_) c.Save(out);
  Put(out, loss_);
  Put(out, loss_weight_);
  Put(out, trust_);
  for (const Ruler r : ruler_) Put(out, static_cast<std::uint8_t>(r));
}

Status AccessModel::LoadParts(std::string_view* in) {
  std::int64_t window_us = 0;
  std::uint8_t trained = 0;
  if (!Get(in, &window_us) || !Get(in, &trained) || trained > 1) {
    return MakeError(Code::kDataLoss, "the model file is cut short");
  }
  if (window_us != options_.engine.window_us) {
    return MakeError(Code::kInvalidArgument, "the model was trained for another window length",
                     "use the same --window or train again");
  }
  if (trained == 1) {
    SHADOW_TRY(net_.Load(in));
    SHADOW_TRY(second_.Load(in));
    SHADOW_TRY(rivals_.Load(in));
  }
  for (Mixer& m : mixers_) SHADOW_TRY(m.Load(in));
  for (auto& horizon : calibrators_) {
    for (Calibrator& c : horizon) SHADOW_TRY(c.Load(in));
  }
  for (HitCurve& c : curves_) SHADOW_TRY(c.Load(in));
  bool good = Get(in, &loss_) && Get(in, &loss_weight_) && Get(in, &trust_);
  for (Ruler& r : ruler_) {
    std::uint8_t value = 0;
    good = good && Get(in, &value) && value < kRulers;
    r = static_cast<Ruler>(value);
  }
  for (std::size_t j = 0; j < kHazards; ++j) {
    good = good && std::isfinite(loss_weight_[j]) && loss_weight_[j] >= 0;
    for (const double t : trust_[j]) good = good && t <= 0 && t > -1e9;
    for (const double l : loss_[j]) good = good && std::isfinite(l) && l >= 0;
  }
  if (!good) return MakeError(Code::kDataLoss, "the gate in the model file is damaged");
  trained_ = trained == 1;
  for (int j = 0; j < kHazards; ++j) Gate(j);
  return Ok();
}

std::string AccessModel::SaveModel() const {
  std::string body;
  SaveParts(&body);
  return Frame(kModelMagic, body);
}

Status AccessModel::LoadModel(std::string_view bytes) {
  SHADOW_ASSIGN(std::string_view body, Unframe(kModelMagic, bytes));
  AccessModel fresh(options_);
  SHADOW_TRY(fresh.LoadParts(&body));
  if (!body.empty()) return MakeError(Code::kDataLoss, "the model file has bytes too many");
  net_ = std::move(fresh.net_);
  second_ = std::move(fresh.second_);
  rivals_ = std::move(fresh.rivals_);
  mixers_ = fresh.mixers_;
  calibrators_ = fresh.calibrators_;
  curves_ = std::move(fresh.curves_);
  loss_ = fresh.loss_;
  loss_weight_ = fresh.loss_weight_;
  trust_ = fresh.trust_;
  share_ = fresh.share_;
  ruler_ = fresh.ruler_;
  trained_ = fresh.trained_;
  learned_to_ = anew_at_ = 0;  // of this record it has seen nothing
  for (auto& queue : pending_) queue.clear();
  for (std::size_t i = 0; i < lstm_.size(); ++i) lstm_[i] = LstmState{};
  return Ok();
}

void AccessModel::SaveBody(std::string* out, const Spill& spill) const {
  const std::string& identity = options_.identity;
  PutVector(out, std::vector<char>(identity.begin(), identity.end()));
  SaveParts(out);
  Put(out, tried_at_);
  Put(out, learned_to_);
  Put(out, anew_at_);
  Put(out, taken_then_);
  engine_.Save(out, spill);
  for (std::size_t i = 0; i < lstm_.size(); ++i) {
    Put(out, lstm_[i]);
    if (spill && i % 4096 == 0) spill(out);
  }
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    Put(out, scores_[i]);
    if (spill && i % 4096 == 0) spill(out);
  }
  PutVector(out, wheel_);
  Put(out, enlisted_);
  Put(out, unseen_hits_);
  Put(out, unseen_asked_);
  Put(out, unseen_now_);
  recorder_->Save(out, spill);
}

std::string AccessModel::WriteSnapshot(const std::function<bool(std::string_view)>& write) const {
  constexpr std::size_t kPiece = 1 << 20;
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  bool good = write(std::string(kHeadBytes, '\0'));
  const auto pass = [&](std::string* piece) {
    size += piece->size();
    crc = CrcOf(crc, *piece);
    good = good && write(*piece);
    piece->clear();
  };
  std::string piece;
  SaveBody(&piece, [&](std::string* out) {
    if (out->size() >= kPiece) pass(out);
  });
  pass(&piece);
  return good ? Head(kSnapshotMagic, size, crc) : std::string();
}

std::string AccessModel::Snapshot() const {
  std::string all;
  const std::string head = WriteSnapshot([&all](std::string_view piece) {
    all += piece;
    return true;
  });
  return all.replace(0, head.size(), head);
}

Status AccessModel::Restore(std::string_view bytes) {
  SHADOW_ASSIGN(std::string_view body, Unframe(kSnapshotMagic, bytes));
  AccessModel fresh(options_);
  std::vector<char> identity;
  if (!GetVector(&body, &identity, 256)) {
    return MakeError(Code::kDataLoss, "the snapshot is cut short");
  }
  if (!options_.identity.empty() && !identity.empty() &&
      options_.identity != std::string(identity.begin(), identity.end())) {
    return MakeError(Code::kInvalidArgument, "the snapshot is of another volume",
                     "start without it");
  }
  SHADOW_TRY(fresh.LoadParts(&body));
  if (!Get(&body, &fresh.tried_at_) || !Get(&body, &fresh.learned_to_) ||
      !Get(&body, &fresh.anew_at_) || !Get(&body, &fresh.taken_then_)) {
    return MakeError(Code::kDataLoss, "the snapshot is cut short");
  }
  SHADOW_TRY(fresh.engine_.Load(&body));
  if (std::max({fresh.tried_at_, fresh.learned_to_, fresh.anew_at_}) > fresh.engine_.now()) {
    return MakeError(Code::kDataLoss, "the snapshot's times of training are damaged");
  }
  const std::uint32_t known = fresh.engine_.size();
  const auto damaged = [] {
    return MakeError(Code::kDataLoss, "the snapshot's scores are damaged");
  };
  for (std::uint32_t i = 0; i < known; ++i) {
    if (!Get(&body, &fresh.lstm_.Add())) return damaged();
    for (const std::uint16_t c : fresh.lstm_[i].c) {
      if ((c & 0x7fffu) > 0x7bffu) return damaged();
    }
  }
  // Each block hangs in at most one list of the wheel: a list that meets a block again is a loop.
  std::vector<bool> met(known, false);
  for (std::uint32_t i = 0; i < known; ++i) {
    BlockScore& s = fresh.scores_.Add();
    if (!Get(&body, &s)) return damaged();
    for (const std::uint16_t z : s.logit) {
      if ((z & 0x7fffu) > 0x7bffu) return damaged();
    }
    if ((s.log_future & 0x7fffu) > 0x7bffu || (s.log_writes & 0x7fffu) > 0x7bffu ||
        (s.next != FeatureEngine::kNone && s.next >= known)) {
      return damaged();
    }
  }
  if (!GetVector(&body, &fresh.wheel_, 256) || fresh.wheel_.size() != 256 ||
      !Get(&body, &fresh.enlisted_) || fresh.enlisted_ > known ||
      !Get(&body, &fresh.unseen_hits_) || !Get(&body, &fresh.unseen_asked_) ||
      !Get(&body, &fresh.unseen_now_)) {
    return damaged();
  }
  SHADOW_TRY(fresh.recorder_->Load(&body, fresh.engine_));
  if (!body.empty()) return damaged();
  for (const std::uint32_t head : fresh.wheel_) {
    for (std::uint32_t i = head; i != FeatureEngine::kNone; i = fresh.scores_[i].next) {
      if (i >= known || met[i]) return damaged();
      met[i] = true;
    }
  }
  for (std::uint32_t i = 0; i < known; ++i) {
    if (met[i] != (i < fresh.enlisted_)) return damaged();
  }
  for (std::size_t c = 0; c < fresh.unseen_hits_.size(); ++c) {
    if (!(fresh.unseen_hits_[c] >= 0 && fresh.unseen_hits_[c] < 1e300) ||
        !(fresh.unseen_asked_[c] >= 0 && fresh.unseen_asked_[c] < 1e300)) {
      return damaged();
    }
  }
  fresh.options_.engine = fresh.engine_.options();  // the clock
  *this = std::move(fresh);
  return Ok();
}

std::string AccessModel::Lesson() const {
  std::string out;
  Put(&out, learned_);
  Put(&out, tried_at_);
  Put(&out, learned_to_);
  Put(&out, anew_at_);
  Put(&out, taken_then_);
  return learned_ == Update::kNone ? out : out + SaveModel();
}

Status AccessModel::Adopt(std::string_view lesson) {
  Update what = Update::kNone;
  std::uint32_t tried_at = 0;
  std::uint32_t learned_to = 0;
  std::uint32_t anew_at = 0;
  std::uint64_t taken_then = 0;
  if (!Get(&lesson, &what) || !Get(&lesson, &tried_at) || !Get(&lesson, &learned_to) ||
      !Get(&lesson, &anew_at) || !Get(&lesson, &taken_then) || what > Update::kAnew ||
      std::max({tried_at, learned_to, anew_at}) > engine_.now()) {
    return MakeError(Code::kDataLoss, "what was learned is damaged");
  }
  if (what == Update::kNone) {
    if (!lesson.empty()) return MakeError(Code::kDataLoss, "what was learned is damaged");
    tried_at_ = std::max(tried_at_, tried_at);
    anew_at_ = anew_at;
    taken_then_ = taken_then;
    return Ok();
  }
  SHADOW_ASSIGN(std::string_view body, Unframe(kModelMagic, lesson));
  AccessModel fresh(options_);
  SHADOW_TRY(fresh.LoadParts(&body));
  if (!body.empty() || !fresh.trained_) {
    return MakeError(Code::kDataLoss, "what was learned is damaged");
  }
  net_ = std::move(fresh.net_);
  second_ = std::move(fresh.second_);
  rivals_ = std::move(fresh.rivals_);
  if (!trained_) {  // else these have gone on learning from outcomes here
    mixers_ = fresh.mixers_;
    calibrators_ = fresh.calibrators_;
    curves_ = std::move(fresh.curves_);
    loss_ = fresh.loss_;
    loss_weight_ = fresh.loss_weight_;
    trust_ = fresh.trust_;
    for (auto& queue : pending_) queue.clear();
  }
  trained_ = true;
  tried_at_ = std::max(tried_at_, tried_at);
  learned_to_ = learned_to;
  anew_at_ = anew_at;
  taken_then_ = taken_then;
  RebuildStates(what == Update::kAnew);
  ScoreAgain();
  return Ok();
}

}  // namespace shadow::pam
