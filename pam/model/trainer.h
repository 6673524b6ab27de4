// SPDX-License-Identifier: Apache-2.0
// Training of the network with LibTorch. The only header the rest of the project needs: LibTorch
// stays inside trainer.cc.
//
// One call, one thread unless told otherwise (it sets LibTorch's global thread count);
// deterministic for a given seed and thread count. Exceptions of LibTorch become kInternal.
#pragma once

#include <cstdint>
#include <functional>

#include "daemon/base/result.h"
#include "pam/model/dataset.h"
#include "pam/model/net.h"

namespace shadow::pam {

struct TrainOptions {
  std::uint64_t seed = 1;
  int threads = 1;
  int epochs = 12;
  double learning_rate = 4e-3;
  double weight_decay = 1e-3;
  double dropout = 0.1;  // on the head's hidden layers
  double poisson_weight = 0.3;
  int batch = 2048;        // samples per step, about
  bool recurrent = true;   // false: h is zero (the ablation without memory)
  std::uint32_t from = 0;  // only samples at windows [from, to) are trained on
  std::uint32_t to = kNever;
  /// Samples at [to, valid_to) tell after each epoch how good it is; the best epoch is kept.
  std::uint32_t valid_to = 0;
  const NetWeights* start = nullptr;  // go on from these (on-line update): normaliser kept
};

struct TrainReport {
  int epochs = 0;
  int best_epoch = 0;
  double train_loss = 0;           // last epoch, mean per sample
  std::vector<double> valid_loss;  // log loss of the first hazard, per epoch
  double seconds = 0;
};

/// progress(done, total) is called after every step. Labels must have been set by Label() with an
/// end that suits from/to. Errors: kFailedPrecondition if there are no samples or no events.
Result<NetWeights> TrainNet(const Dataset& data, const TrainOptions& options, TrainReport* report,
                            const std::function<void(int, int)>& progress = {});

/// Outputs for the samples at windows [from, to), in order of Dataset::samples, with 16 to 31
/// events of memory as in training; out: [selected, kOutputs]; `which` gets their numbers.
Result<std::vector<float>> PredictTorch(const NetWeights& net, const Dataset& data,
                                        std::uint32_t from, std::uint32_t to,
                                        std::vector<std::uint32_t>* which);

/// Forward pass through LibTorch over each sample's whole event history; out: [samples, kOutputs].
/// For tests and for predictions in bulk.
Result<std::vector<float>> ForwardTorch(const NetWeights& net, const Dataset& data);

}  // namespace shadow::pam
