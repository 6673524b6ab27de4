// SPDX-License-Identifier: Apache-2.0
// The predictive access model of one volume: feed it closed windows, ask it for probabilities.
//
// One thread owns a model and calls everything. A round is CloseWindow(): state update, one LSTM
// step for each active block, scores for the blocks that deserve a fresh one, the outcome of older
// predictions into calibration and gate. Training (Train, Update) is separate: call it between
// rounds, or in a copy of the process, and hand over what was learned with Lesson() and Adopt().
// Deterministic for a seed and a thread count.
//
// Gate: for each horizon the mixture, the networks alone, the regression and the EWMA, each as it
// is and with a quick calibration of its own, are averaged with weights that follow their
// prequential log loss; the ruler is who holds most of the weight. Before any training the
// untrained rival is a plain EWMA with fixed calibration.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "pam/baseline/rivals.h"
#include "pam/features/engine.h"
#include "pam/model/calibrator.h"
#include "pam/model/dataset.h"
#include "pam/model/mixer.h"
#include "pam/model/net.h"
#include "pam/model/recorder.h"

namespace shadow::pam {

/// kModel is the mixture, kNetwork the mean of the two networks.
enum class Ruler : std::uint8_t { kModel = 0, kRegression = 1, kEwma = 2, kNetwork = 3 };
inline constexpr int kRulers = 4;
/// What the gate averages: 2 * ruler as it is, 2 * ruler + 1 with its quick calibration.
inline constexpr int kCandidates = 2 * kRulers;
const char* RulerName(Ruler ruler);

/// What an update does: go on from the networks there are, or fit everything anew: networks,
/// normalisers, rivals.
enum class Update : std::uint8_t { kNone = 0, kTune = 1, kAnew = 2 };

struct ModelOptions {
  EngineOptions engine;
  std::uint64_t blocks = 0;  // of the volume; accesses beyond are ignored and counted
  std::uint64_t seed = 1;
  int threads = 1;
  std::size_t max_samples = 200'000;   // kept for training
  std::uint32_t dense_limit = 65'536;  // up to so many known blocks all are scored every round
  std::uint32_t max_scores = 130'000;  // per round beyond that: active ones first, then due ones
  MixerOptions mixer;
  double gate_half_life_minutes = 120;
  bool recurrent = true;
  int epochs = 12;
  bool record = true;    // keep samples for training (off: inference only)
  std::string identity;  // of the volume; a snapshot of another one is refused. "": not known
};

struct RoundReport {
  std::uint32_t window = 0;  // number of the window just closed
  std::uint32_t active = 0;  // blocks accessed in it
  std::uint32_t scored = 0;
  std::uint64_t ignored = 0;  // accesses beyond the volume
  std::array<Ruler, kHazards> ruler{};
};

/// What every expert says about a block, in logits of "accessed within horizon j".
struct Opinion {
  /// Network (raw), regression, EWMA, second network (raw, without memory).
  std::array<std::array<float, kExperts>, kHazards> logit{};
  std::array<std::array<float, kCandidates>, kHazards> said{};  // the gate's candidates
  std::array<float, kHazards> ruled{};  // their average, by trust; never falls with j
  float log_future = 0;  // log of expected accesses, discounted with a half-life of 30 min
  float log_writes = 0;
};

class AccessModel {
 public:
  explicit AccessModel(const ModelOptions& options);
  ~AccessModel();
  AccessModel(AccessModel&&) noexcept;
  AccessModel& operator=(AccessModel&&) noexcept;

  /// Takes the next window (accesses ascending by block, counts at least 1); bad ones are refused
  /// with kInvalidArgument and change nothing.
  Result<RoundReport> CloseWindow(const Window& window);

  using Progress = std::function<void(int, int)>;
  /// Trains from what was recorded so far, from scratch; choices are made on the newest 15 % of it.
  /// Errors: kFailedPrecondition with too little data.
  Status Train(const Progress& progress = {});
  /// What is due now. Tune every `update_minutes`, or after a third of them if the record grew by a
  /// quarter; anew while the record is below 30,000 samples (which is as quick), whenever its span
  /// has doubled, and once a day: inputs that were constant before get their scale then.
  [[nodiscard]] Update Due(int update_minutes) const;
  /// Learns on line; kNone is kTune. True: something better was found and is in use. What is
  /// learned is tried on the newest part of the record, which it was not trained on; networks and
  /// rivals are replaced only by better ones. Without a model yet it is Train().
  Result<bool> Learn(Update what);
  /// What Learn() came to, for the same model in another process, and its use there. The record and
  /// the outcomes of predictions may have gone on meanwhile. kDataLoss for damaged bytes, which
  /// change nothing.
  [[nodiscard]] std::string Lesson() const;
  Status Adopt(std::string_view lesson);
  /// Learning that was due came to nothing: it is not due again at once.
  void PutOff() { tried_at_ = engine_.now(); }
  [[nodiscard]] bool trained() const { return trained_; }

  /// The next window begins at this wall time, in us: windows that nobody saw are made up as empty
  /// ones (more than `kShortGap` of them are cut out of the record: what was not seen is no
  /// silence), and a clock that was set is followed. 0: not known, changes nothing. Returns the
  /// windows made up.
  std::uint32_t CatchUp(std::int64_t start_us);
  static constexpr std::uint32_t kShortGap = 2;
  /// The volume has another size now. Blocks beyond the end are ignored from now on.
  void Resize(std::uint64_t blocks) { options_.blocks = blocks; }

  [[nodiscard]] std::uint32_t known() const { return engine_.size(); }
  [[nodiscard]] const FeatureEngine& engine() const { return engine_; }
  [[nodiscard]] const Rivals& rivals() const { return rivals_; }
  [[nodiscard]] const NetWeights& net() const { return net_; }
  [[nodiscard]] Recorder& recorder() { return *recorder_; }
  [[nodiscard]] const Recorder& recorder() const { return *recorder_; }
  [[nodiscard]] const ModelOptions& options() const { return options_; }
  [[nodiscard]] const std::array<std::uint32_t, kHazards>& ends() const { return ends_; }
  [[nodiscard]] const Mixer& mixer(int j) const { return mixers_[static_cast<std::size_t>(j)]; }

  /// Probability that a block is accessed within `windows` from now (from its last score). Between
  /// the horizons the hazard is constant; beyond the last one its last rate goes on.
  [[nodiscard]] double Probability(std::uint32_t block, double windows) const;
  /// The same for a block by engine index.
  [[nodiscard]] double ProbabilityOf(std::uint32_t index, double windows) const;
  /// Probability of a first access of a block nobody touched yet, by its class.
  [[nodiscard]] double UnseenProbability(int unseen_class, double windows) const;
  /// Expected discounted (30 min) accesses and writes of a block.
  [[nodiscard]] double ExpectedAccesses(std::uint32_t block) const;
  [[nodiscard]] double ExpectedWrites(std::uint32_t block) const;

  /// Opinions of all experts, freshly computed. [indices]
  void Ask(std::span<const std::uint32_t> indices, std::vector<Opinion>* out) const;

  [[nodiscard]] Ruler ruler(int j) const { return ruler_[static_cast<std::size_t>(j)]; }
  /// Weights of the candidates; their sum is 1.
  [[nodiscard]] const std::array<float, kCandidates>& Shares(int j) const {
    return share_[static_cast<std::size_t>(j)];
  }
  /// Prequential log loss, decayed, of the better candidate of each Ruler; 0 before there is any
  /// outcome.
  [[nodiscard]] std::array<double, kRulers> Prequential(int j) const;

  /// Bytes of per-block state, and of everything else (training record, pending outcomes).
  [[nodiscard]] std::size_t StateBytes() const;
  [[nodiscard]] std::size_t OtherBytes() const;

  /// The model alone (network, rivals, calibration), and with the state of every block. Loading
  /// checks magic, version, sizes, checksum and ranges: kDataLoss or kInvalidArgument, and the
  /// model in hand stays as it was.
  [[nodiscard]] std::string SaveModel() const;
  Status LoadModel(std::string_view bytes);
  /// A snapshot holds the training record and the clock as well.
  [[nodiscard]] std::string Snapshot() const;
  /// The same in pieces of a megabyte, for a file: the first kHeadBytes are to be overwritten with
  /// what is returned. `write` returns false to stop; the result is "" then.
  [[nodiscard]] std::string WriteSnapshot(const std::function<bool(std::string_view)>& write) const;
  Status Restore(std::string_view bytes);

 private:
  struct BlockScore {
    std::array<std::uint16_t, kHazards> logit{};
    std::uint16_t log_future = 0, log_writes = 0;
    std::uint32_t next = 0;  // in its wheel bucket
  };
  struct Pending {  // predictions of one window, waiting for their outcome
    std::uint32_t at = 0;
    std::vector<std::uint32_t> index;
    std::vector<float> weight;
    std::vector<std::array<float, kExperts>> logit;
    std::vector<std::array<float, kCandidates>> said;
  };

  Status Check(const Window& window) const;
  void Resolve(int j);
  using Outcomes = std::array<std::vector<Outcome>, kRulers>;
  void LearnFrom(int j, const Pending& p, Outcomes* resolved);
  void Remember(int j, std::span<const std::uint32_t> scored, std::span<const Opinion> opinions);
  void Gate(int j);
  [[nodiscard]] double GateHalfLife(int j) const;  // windows
  /// Moves the weights by the mean losses of `windows` windows with `rows` predictions each.
  void Trust(int j, const std::array<double, kCandidates>& loss, double rows, double windows);
  [[nodiscard]] float Rule(int j, const std::array<float, kCandidates>& said) const;
  [[nodiscard]] std::uint32_t FirstHit(const Pending& p, std::size_t i) const;
  /// Scores the coming window again, after the model has changed.
  void ScoreAgain();
  [[nodiscard]] std::uint32_t Windows(double minutes) const;  // at least 1
  Status FitNetworks(const Dataset& data, std::uint64_t seed, const Progress& progress);
  Result<bool> Retrain(Update what, const std::function<void(int, int)>& progress);
  void ScoreRound(RoundReport* report);
  void Enlist(std::uint32_t index);
  void UpdateUnseen(const Window& window);
  /// Runs recorded events through the network. `anew`: states of an earlier network mean nothing.
  void RebuildStates(bool anew);
  void SaveParts(std::string* out) const;
  void SaveBody(std::string* out, const Spill& spill) const;
  Status LoadParts(std::string_view* in);

  ModelOptions options_;
  std::array<std::uint32_t, kHazards> ends_;
  FeatureEngine engine_;
  Chunked<LstmState> lstm_;
  Chunked<BlockScore> scores_;
  NetWeights net_;
  NetWeights second_;  // the same head without memory, of another seed: no state, other mistakes
  Rivals rivals_;
  std::array<Mixer, kHazards> mixers_;
  std::array<std::array<Calibrator, kRulers>, kHazards> calibrators_;
  std::array<HitCurve, kHazards> curves_;
  bool trained_ = false;
  std::unique_ptr<Recorder> recorder_;
  std::array<std::deque<Pending>, kHazards> pending_;
  std::array<std::array<double, kCandidates>, kHazards> loss_{};
  std::array<double, kHazards> loss_weight_{};
  std::array<std::array<double, kCandidates>, kHazards> trust_{};  // log weights less a constant
  std::array<std::array<float, kCandidates>, kHazards> share_{};   // the weights, sum 1
  std::array<Ruler, kHazards> ruler_{};
  std::array<double, FeatureEngine::kRegionClasses> unseen_hits_{}, unseen_asked_{};
  std::array<std::uint64_t, FeatureEngine::kRegionClasses> unseen_now_{};
  std::vector<std::uint32_t> wheel_;  // heads of 256 lists of block indices
  std::uint32_t enlisted_ = 0;        // blocks [0, enlisted_) hang in the wheel
  std::uint64_t ignored_ = 0;
  // When what was learned, in windows; of this record, so not in a model file.
  std::uint32_t tried_at_ = 0;      // the last update, whatever came of it
  std::uint32_t learned_to_ = 0;    // the networks have seen the record up to here
  std::uint32_t anew_at_ = 0;       // the last fit of everything
  std::uint64_t taken_then_ = 0;    // samples taken until the last update
  Update learned_ = Update::kNone;  // what Learn() did last, for Lesson()
};

}  // namespace shadow::pam
