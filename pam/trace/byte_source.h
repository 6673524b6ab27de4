// SPDX-License-Identifier: Apache-2.0
// Bytes from a file or from memory, decompressed on the way: gzip (zlib), xz (liblzma), zstd.
//
// Used by one thread. The kind of compression is told by the magic number, never by the file name.
// A stream that ends early or is damaged gives kDataLoss; nothing is guessed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow::pam {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Reads up to `size` bytes into `out`; 0 means the end. Errors: kIoError, kDataLoss.
  virtual Result<std::size_t> Read(char* out, std::size_t size) = 0;
};

/// Opens `path` and decompresses it as its magic number says. Errors: kNotFound, kIoError.
Result<std::unique_ptr<ByteSource>> OpenBytes(const std::string& path);

/// The same over memory that must outlive the source (tests, fuzzing, frames).
Result<std::unique_ptr<ByteSource>> OpenMemory(std::string_view data);

/// Buffers a source: whole lines, or exact counts of bytes, and a look ahead at the start.
class BufferedSource {
 public:
  explicit BufferedSource(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {}

  /// Up to `size` bytes from the current position, without consuming them.
  Result<std::string_view> Peek(std::size_t size);
  /// Exactly `size` bytes; fewer (possibly none) at the end of the data.
  Result<std::string_view> Take(std::size_t size);
  /// The next line without its end; false at the end. Lines longer than 64 KiB are cut there, and
  /// the rest is dropped.
  Result<bool> Line(std::string_view* line);

 private:
  Status Fill(std::size_t want);

  std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  std::size_t begin_ = 0;
  bool end_ = false;
};

}  // namespace shadow::pam
