// SPDX-License-Identifier: Apache-2.0
// Byte sources: plain files and memory, and one decompressing wrapper for each library.
// See byte_source.h for ownership, threads and errors.
#include "pam/trace/byte_source.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace shadow::pam {
namespace {

constexpr std::size_t kChunk = 1u << 16;
constexpr std::size_t kLongestLine = 1u << 16;

class FileSource : public ByteSource {
 public:
  FileSource(std::FILE* file, std::string path) : file_(file), path_(std::move(path)) {}
  ~FileSource() override { std::fclose(file_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  Result<std::size_t> Read(char* out, std::size_t size) override {
    const std::size_t got = std::fread(out, 1, size, file_);
    if (got == 0 && std::ferror(file_) != 0) {
      return MakeError(Code::kIoError, "cannot read " + path_ + ": " + std::strerror(errno));
    }
    return got;
  }

 private:
  std::FILE* file_;
  std::string path_;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view data) : data_(data) {}
  Result<std::size_t> Read(char* out, std::size_t size) override {
    const std::size_t n = std::min(size, data_.size());
    if (n > 0) std::memcpy(out, data_.data(), n);
    data_.remove_prefix(n);
    return n;
  }

 private:
  std::string_view data_;
};

/// A source whose first bytes were already taken to look at the magic number.
class PrefixedSource : public ByteSource {
 public:
  PrefixedSource(std::string prefix, std::unique_ptr<ByteSource> rest)
      : prefix_(std::move(prefix)), rest_(std::move(rest)) {}
  Result<std::size_t> Read(char* out, std::size_t size) override {
    if (used_ < prefix_.size()) {
      const std::size_t n = std::min(size, prefix_.size() - used_);
      std::memcpy(out, prefix_.data() + used_, n);
      used_ += n;
      return n;
    }
    return rest_->Read(out, size);
  }

 private:
  std::string prefix_;
  std::size_t used_ = 0;
  std::unique_ptr<ByteSource> rest_;
};

/// Common loop of the decompressors: keeps an input buffer, calls Step() until output appears.
class Inflater : public ByteSource {
 public:
  explicit Inflater(std::unique_ptr<ByteSource> in) : in_(std::move(in)), buffer_(kChunk) {}

  Result<std::size_t> Read(char* out, std::size_t size) override {
    while (!done_) {
      if (left_ == 0 && !input_end_) {
        SHADOW_ASSIGN(const std::size_t got, in_->Read(buffer_.data(), buffer_.size()));
        next_ = buffer_.data();
        left_ = got;
        input_end_ = got == 0;
      }
      SHADOW_ASSIGN(const std::size_t produced, Step(out, size));
      if (produced > 0) return produced;
      if (input_end_ && left_ == 0 && !done_) {
        if (AtBoundary()) break;
        return MakeError(Code::kDataLoss, std::string(Name()) + " data ends in the middle",
                         "the file was cut short; fetch it again");
      }
    }
    return std::size_t{0};
  }

 protected:
  /// Consumes from next_/left_, writes to out; sets done_ at the end of the stream.
  virtual Result<std::size_t> Step(char* out, std::size_t size) = 0;
  virtual const char* Name() const = 0;
  virtual bool AtBoundary() const { return false; }
  Error Damaged() const {
    return MakeError(Code::kDataLoss, std::string(Name()) + " data is damaged",
                     "fetch the file again");
  }

  const char* next_ = nullptr;
  std::size_t left_ = 0;
  bool input_end_ = false;
  bool done_ = false;

 private:
  std::unique_ptr<ByteSource> in_;
  std::vector<char> buffer_;
};

class GzipSource : public Inflater {
 public:
  explicit GzipSource(std::unique_ptr<ByteSource> in) : Inflater(std::move(in)) {
    ready_ = inflateInit2(&z_, 15 + 32) == Z_OK;
  }
  ~GzipSource() override {
    if (ready_) inflateEnd(&z_);
  }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

 protected:
  Result<std::size_t> Step(char* out, std::size_t size) override {
    if (!ready_) return MakeError(Code::kInternal, "zlib could not be started");
    if (boundary_) {
      if (left_ == 0) return std::size_t{0};
      inflateReset(&z_);  // several gzip members in one file are one stream
      boundary_ = false;
    }
    const std::size_t room = std::min<std::size_t>(size, kChunk);
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(next_));
    z_.avail_in = static_cast<uInt>(left_);
    z_.next_out = reinterpret_cast<Bytef*>(out);
    z_.avail_out = static_cast<uInt>(room);
    const int rc = inflate(&z_, Z_NO_FLUSH);
    next_ += left_ - z_.avail_in;
    left_ = z_.avail_in;
    if (rc == Z_STREAM_END) {
      boundary_ = true;
    } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
      return Damaged();
    }
    return room - z_.avail_out;
  }
  const char* Name() const override { return "gzip"; }
  bool AtBoundary() const override { return boundary_; }

 private:
  z_stream z_{};
  bool ready_ = false;
  bool boundary_ = false;
};

class XzSource : public Inflater {
 public:
  explicit XzSource(std::unique_ptr<ByteSource> in) : Inflater(std::move(in)) {
    ready_ = lzma_stream_decoder(&x_, 256u << 20, LZMA_CONCATENATED) == LZMA_OK;
  }
  ~XzSource() override { lzma_end(&x_); }
  XzSource(const XzSource&) = delete;
  XzSource& operator=(const XzSource&) = delete;

 protected:
  Result<std::size_t> Step(char* out, std::size_t size) override {
    if (!ready_) return MakeError(Code::kInternal, "liblzma could not be started");
    x_.next_in = reinterpret_cast<const std::uint8_t*>(next_);
    x_.avail_in = left_;
    x_.next_out = reinterpret_cast<std::uint8_t*>(out);
    x_.avail_out = size;
    const lzma_ret rc = lzma_code(&x_, input_end_ ? LZMA_FINISH : LZMA_RUN);
    next_ += left_ - x_.avail_in;
    left_ = x_.avail_in;
    if (rc == LZMA_STREAM_END) {
      done_ = true;
    } else if (rc != LZMA_OK && rc != LZMA_BUF_ERROR) {
      return Damaged();
    }
    return size - x_.avail_out;
  }
  const char* Name() const override { return "xz"; }

 private:
  lzma_stream x_ = LZMA_STREAM_INIT;
  bool ready_ = false;
};

class ZstdSource : public Inflater {
 public:
  explicit ZstdSource(std::unique_ptr<ByteSource> in)
      : Inflater(std::move(in)), d_(ZSTD_createDStream()) {
    if (d_ != nullptr) ZSTD_DCtx_setParameter(d_, ZSTD_d_windowLogMax, 27);
  }
  ~ZstdSource() override { ZSTD_freeDStream(d_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

 protected:
  Result<std::size_t> Step(char* out, std::size_t size) override {
    if (d_ == nullptr) return MakeError(Code::kInternal, "zstd could not be started");
    ZSTD_inBuffer in{next_, left_, 0};
    ZSTD_outBuffer to{out, size, 0};
    const std::size_t rc = ZSTD_decompressStream(d_, &to, &in);
    if (ZSTD_isError(rc) != 0) return Damaged();
    next_ += in.pos;
    left_ -= in.pos;
    // Asked without any input after the end of a frame it wants the next one's header.
    if (in.pos > 0 || to.pos > 0) boundary_ = rc == 0;
    return to.pos;
  }
  const char* Name() const override { return "zstd"; }
  bool AtBoundary() const override { return boundary_; }

 private:
  ZSTD_DStream* d_;
  bool boundary_ = false;
};

bool StartsWith(std::string_view data, std::initializer_list<unsigned char> magic) {
  if (data.size() < magic.size()) return false;
  return std::equal(magic.begin(), magic.end(), data.begin(),
                    [](unsigned char a, char b) { return a == static_cast<unsigned char>(b); });
}

Result<std::unique_ptr<ByteSource>> Wrap(std::unique_ptr<ByteSource> raw) {
  std::string head(6, '\0');
  std::size_t have = 0;
  while (have < head.size()) {
    SHADOW_ASSIGN(const std::size_t got, raw->Read(head.data() + have, head.size() - have));
    if (got == 0) break;
    have += got;
  }
  head.resize(have);
  const bool gz = StartsWith(head, {0x1f, 0x8b});
  const bool xz = StartsWith(head, {0xfd, '7', 'z', 'X', 'Z', 0});
  const bool zstd = StartsWith(head, {0x28, 0xb5, 0x2f, 0xfd});
  std::unique_ptr<ByteSource> all =
      std::make_unique<PrefixedSource>(std::move(head), std::move(raw));
  if (gz) return std::unique_ptr<ByteSource>(std::make_unique<GzipSource>(std::move(all)));
  if (xz) return std::unique_ptr<ByteSource>(std::make_unique<XzSource>(std::move(all)));
  if (zstd) return std::unique_ptr<ByteSource>(std::make_unique<ZstdSource>(std::move(all)));
  return all;
}

}  // namespace

Result<std::unique_ptr<ByteSource>> OpenBytes(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    const Code code = errno == ENOENT ? Code::kNotFound : Code::kIoError;
    return MakeError(code, "cannot open " + path + ": " + std::strerror(errno));
  }
  return Wrap(std::make_unique<FileSource>(file, path));
}

Result<std::unique_ptr<ByteSource>> OpenMemory(std::string_view data) {
  return Wrap(std::make_unique<MemorySource>(data));
}

Status BufferedSource::Fill(std::size_t want) {
  while (!end_ && buffer_.size() - begin_ < want) {
    if (begin_ > kChunk) {
      buffer_.erase(0, begin_);
      begin_ = 0;
    }
    const std::size_t old = buffer_.size();
    buffer_.resize(old + kChunk);
    auto got = source_->Read(buffer_.data() + old, kChunk);
    if (!got.ok()) {
      buffer_.resize(old);
      return got.error();
    }
    buffer_.resize(old + *got);
    end_ = *got == 0;
  }
  return Ok();
}

Result<std::string_view> BufferedSource::Peek(std::size_t size) {
  SHADOW_TRY(Fill(size));
  return std::string_view(buffer_).substr(begin_, size);
}

Result<std::string_view> BufferedSource::Take(std::size_t size) {
  SHADOW_TRY(Fill(size));
  const std::string_view out = std::string_view(buffer_).substr(begin_, size);
  begin_ += out.size();
  return out;
}

Result<bool> BufferedSource::Line(std::string_view* line) {
  std::size_t searched = 0;
  while (true) {
    const char* start = buffer_.data() + begin_;
    const std::size_t have = buffer_.size() - begin_;
    const void* nl =
        have > searched ? std::memchr(start + searched, '\n', have - searched) : nullptr;
    if (nl != nullptr || end_) {
      const std::size_t length =
          nl != nullptr ? static_cast<std::size_t>(static_cast<const char*>(nl) - start) : have;
      if (nl == nullptr && have == 0) return false;
      *line = std::string_view(start, std::min(length, kLongestLine));
      if (!line->empty() && line->back() == '\r') line->remove_suffix(1);
      begin_ += length + (nl != nullptr ? 1 : 0);
      return true;
    }
    searched = have;
    if (have > 16 * kLongestLine) {
      return MakeError(Code::kDataLoss, "a line is longer than 1 MiB", "this is no text trace");
    }
    SHADOW_TRY(Fill(have + 1));
  }
}

}  // namespace shadow::pam
