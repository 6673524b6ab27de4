// SPDX-License-Identifier: Apache-2.0
// An array that grows by fixed chunks: no doubling, so memory per element stays what it says.
//
// One thread. Elements never move. Only grows; Clear() drops everything.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace shadow::pam {

template <typename T, std::size_t kChunk = 4096>
class Chunked {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return chunks_[i / kChunk][i % kChunk]; }
  const T& operator[](std::size_t i) const { return chunks_[i / kChunk][i % kChunk]; }
  /// Appends a value-initialised element.
  T& Add() {
    if (size_ % kChunk == 0 && size_ / kChunk == chunks_.size()) {
      chunks_.push_back(std::make_unique<T[]>(kChunk));
    }
    ++size_;
    return (*this)[size_ - 1];
  }
  void Clear() {
    chunks_.clear();
    size_ = 0;
  }
  /// Bytes held, index included.
  [[nodiscard]] std::size_t Bytes() const {
    return chunks_.size() * kChunk * sizeof(T) + chunks_.capacity() * sizeof(chunks_[0]);
  }

 private:
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace shadow::pam
