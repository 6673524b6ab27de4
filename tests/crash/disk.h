// SPDX-License-Identifier: Apache-2.0
// A disk with a volatile write cache, and what a power cut may leave of it.
//
// What was flushed, and FUA writes, are durable. Of everything later any subset of sectors may have
// reached the medium, older before newer: a write may be torn between two sectors of 512 bytes.
// Pure, single-threaded; data is not copied and must outlive the Disk.
#pragma once

#include <cstdint>
#include <random>
#include <unordered_set>
#include <vector>

namespace shadow::crash {

using Bytes = std::vector<std::uint8_t>;

enum class Keep : std::uint8_t { kNone, kAll, kSome };

/// Faults for the self test: a disk or a volume that lies.
enum class Plant : std::uint8_t {
  kNothing,
  kDropFlushed,  // one flushed write in twenty is lost
  kStale,        // the newest durable change is lost
};

class Disk {
 public:
  Disk(std::uint64_t sectors, std::uint8_t fill, Plant plant, std::uint64_t seed);

  /// `data`: count sectors, or nullptr for zeroes (a discard).
  void Write(std::uint64_t sector, std::uint64_t count, const std::uint8_t* data, bool fua);
  void Flush();
  /// A flush of any disk was logged: what comes now was done after the FUA writes before it.
  void OtherFlush() { after_fua_.clear(); }

  [[nodiscard]] std::size_t cached_writes() const { return cached_writes_; }
  [[nodiscard]] std::uint64_t sectors() const { return durable_.size() / 512; }
  /// The medium after a power cut. `fingerprint` takes up what was chosen.
  [[nodiscard]] Bytes Cut(Keep keep, std::mt19937_64& random, std::uint64_t* fingerprint) const;

 private:
  struct Piece {
    std::uint64_t sector;
    const std::uint8_t* data;  // nullptr: zeroes
    std::uint64_t write;
  };
  static void Put(Bytes& medium, const Piece& piece);

  Bytes durable_;
  Bytes older_;               // kStale: before the newest durable change
  std::vector<Piece> cache_;  // in order
  std::size_t cached_writes_ = 0;
  std::uint64_t writes_ = 0;
  std::unordered_set<std::uint64_t> after_fua_;  // sectors of FUA writes since the last flush
  Plant plant_;
  std::mt19937_64 random_;
};

}  // namespace shadow::crash
