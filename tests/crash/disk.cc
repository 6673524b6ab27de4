// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/disk.h"

#include <algorithm>
#include <cstring>

namespace shadow::crash {

Disk::Disk(std::uint64_t sectors, std::uint8_t fill, Plant plant, std::uint64_t seed)
    : durable_(sectors * 512, fill), older_(durable_), plant_(plant), random_(seed) {}

void Disk::Put(Bytes& medium, const Piece& piece) {
  std::uint8_t* at = medium.data() + piece.sector * 512;
  if (piece.data == nullptr) {
    std::memset(at, 0, 512);
  } else {
    std::memcpy(at, piece.data, 512);
  }
}

void Disk::Write(std::uint64_t sector, std::uint64_t count, const std::uint8_t* data, bool fua) {
  ++writes_;
  if (fua && plant_ == Plant::kStale) older_ = durable_;
  if (fua) {
    std::erase_if(cache_, [&](const Piece& piece) {
      return piece.sector >= sector && piece.sector < sector + count;
    });
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    const Piece piece{sector + i, data == nullptr ? nullptr : data + i * 512, writes_};
    if (fua) {
      after_fua_.insert(piece.sector);
      Put(durable_, piece);
    } else if (!after_fua_.contains(piece.sector)) {
      cache_.push_back(piece);
    }
  }
  if (!fua) ++cached_writes_;
}

void Disk::Flush() {
  if (plant_ == Plant::kStale && !cache_.empty()) older_ = durable_;
  std::uint64_t write = 0;
  bool drop = false;
  for (const Piece& piece : cache_) {
    if (piece.write != write) {
      write = piece.write;
      drop = plant_ == Plant::kDropFlushed && random_() % 20 == 0;
    }
    if (!drop) Put(durable_, piece);
  }
  cache_.clear();
  cached_writes_ = 0;
}

Bytes Disk::Cut(Keep keep, std::mt19937_64& random, std::uint64_t* fingerprint) const {
  Bytes medium = plant_ == Plant::kStale ? older_ : durable_;
  if (keep == Keep::kNone) return medium;
  // Some cuts lose nearly all of the cache and some nearly nothing.
  const std::uint64_t likely = 10 + random() % 3 * 40;
  std::uint64_t write = 0;
  bool torn = false;
  bool kept = true;
  for (const Piece& piece : cache_) {
    if (keep == Keep::kSome) {
      if (piece.write != write) {
        write = piece.write;
        torn = random() % 4 == 0;
        kept = random() % 100 < likely;
      }
      if (torn) kept = random() % 2 == 0;
    }
    if (kept) Put(medium, piece);
    *fingerprint = (*fingerprint ^ (piece.sector * 2 + (kept ? 1 : 0))) * 0x100000001B3u;
  }
  return medium;
}

}  // namespace shadow::crash
