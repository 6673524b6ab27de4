/* SPDX-License-Identifier: GPL-2.0-only */
// Words of a fuzzer's input: what a shell would give as arguments.
#ifndef SHADOW_ARGS_FUZZ_H
#define SHADOW_ARGS_FUZZ_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// The input cut at blanks; argv() points into it.
class FuzzWords {
 public:
  FuzzWords(const std::uint8_t* data, std::size_t size)
      : text_(reinterpret_cast<const char*>(data), size) {
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t end = std::min(text_.find_first_of(" \n", at), text_.size());
      // each in a buffer of its own, so that reading past one is seen
      if (end > at) words_.emplace_back(text_.begin() + static_cast<long>(at),
                                        text_.begin() + static_cast<long>(end));
      if (end > at) words_.back().push_back('\0');
      at = end + 1;
    }
    for (auto& w : words_) argv_.push_back(w.data());
    argv_.push_back(nullptr);
  }
  unsigned argc() const { return static_cast<unsigned>(words_.size()); }
  char** argv() { return argv_.data(); }

 private:
  std::string text_;
  std::vector<std::vector<char>> words_;
  std::vector<char*> argv_;
};

#endif  // SHADOW_ARGS_FUZZ_H
