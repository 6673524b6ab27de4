// SPDX-License-Identifier: Apache-2.0
// The training record of a volume: what a Dataset is made of, window by window, within bounds, and
// as bytes, so that a restart forgets nothing.
//
// One thread. Bounds: `max_samples` samples and twice as many events, whatever the load. What goes
// first when there are more:
//   1. samples of idle blocks, the longer they are idle the more of them;
//   2. whole hours of a block, so that the last two hours keep half of the room and the seven days
//      before share the rest evenly;
//   3. blocks, if the events of the last day alone are too many: only a share of the blocks is
//      followed then, and it grows again when there is room.
// Each rule draws with a hash of its own, so a sample that was kept under a low rate would also
// have been kept under a higher one; its weight is 1 / the product of the rates. Events of the last
// day are complete for followed blocks, because labels look a day ahead. Older samples have final
// labels ("settled"), and only the events that lead up to them are kept.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "pam/model/dataset.h"

namespace shadow::pam {

/// Called while something is written, so that the bytes so far can go where they belong; clears the
/// string or leaves it alone. May be empty.
using Spill = std::function<void(std::string*)>;

class Recorder {
 public:
  Recorder(std::int64_t window_us, std::size_t max_samples, std::uint64_t seed);
  /// After engine.Close(window). Takes the window's events and the samples about the next window.
  void Observe(const FeatureEngine& engine, const Window& window);
  /// What comes next is not known, for windows: labels end with what was observed.
  void Cut();
  [[nodiscard]] const Dataset& data() const { return data_; }
  /// Labels as of now: from everything observed so far, nothing later.
  Dataset& Labelled();
  [[nodiscard]] std::size_t Bytes() const;
  /// Samples taken since the start, those that are gone included.
  [[nodiscard]] std::uint64_t taken() const { return taken_; }

  /// As bytes and back. Floats are kept with 11 bits. `engine`: what the record was taken from.
  /// Load refuses with kDataLoss what does not fit; the record in hand is undefined then.
  void Save(std::string* out, const Spill& spill) const;
  Status Load(std::string_view* in, const FeatureEngine& engine);

 private:
  struct Drawn {             // beside each sample: what it was drawn with
    std::uint32_t idle = 0;  // windows
    float followed = 1;      // share of the blocks that were followed
  };
  [[nodiscard]] std::uint32_t HourOf(std::uint32_t window) const { return window / per_hour_; }
  [[nodiscard]] double HourRate(std::uint32_t hour) const;
  [[nodiscard]] bool Follows(std::uint32_t block, double rate) const;
  [[nodiscard]] bool Keeps(std::size_t sample) const;
  [[nodiscard]] std::size_t Kept() const;
  [[nodiscard]] std::size_t RecentEvents() const;
  void LearnBlocks(const FeatureEngine& engine);
  void MakeRoom(std::size_t samples, std::size_t events);
  Status LoadEvents(std::string_view* in);
  Status LoadSamples(std::string_view* in);
  void Choose(const FeatureEngine& engine, std::vector<std::uint32_t>* out) const;
  void Tighten();
  void Thin();
  void LevelHours(std::size_t target);
  void Compact();

  Dataset data_;
  std::vector<Drawn> drawn_;           // [samples]
  std::vector<std::uint32_t> blocks_;  // per engine index: its number in the volume
  std::size_t max_samples_;
  std::uint64_t seed_;
  std::uint32_t per_hour_, week_;          // windows
  double keep_ = 1e9;                      // of idle blocks; see SampleRate()
  double follow_ = 1;                      // share of the blocks
  std::map<std::uint32_t, double> hours_;  // share of the blocks that an hour keeps; 1 if not here
  std::uint64_t taken_ = 0;
};

}  // namespace shadow::pam
