// SPDX-License-Identifier: Apache-2.0
#include "daemon/trace/blktrace_source.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/trace/access_counter.h"
#include "pam/trace/blktrace_record.h"

namespace shadow {
namespace {

constexpr std::size_t kChunk = 64u << 10;
constexpr std::int64_t kSlowest = 200'000, kFastest = 10'000;  // us between polls

// What one CPU has logged: the cut-off record of the last read, and the last sequence number.
struct CpuStream {
  std::string rest;
  std::uint32_t sequence = 0;
};

class BlktraceSource final : public AccessSource {
 public:
  BlktraceSource(std::unique_ptr<BlktraceChannel> channel, std::uint64_t block_bytes,
                 RequestSink* sink)
      : channel_(std::move(channel)), sink_(sink), counter_(block_bytes), chunk_(kChunk, '\0') {}
  ~BlktraceSource() override { channel_->Close(); }

  std::string Name() const override { return "blktrace"; }
  std::int64_t PollUs() const override { return poll_us_; }

  Status Start(std::int64_t now_us) override {
    Stop();
    SHADOW_TRY(channel_->Open());
    streams_.clear();
    window_ = {};
    window_.start_us = now_us;
    dropped_ = 0;
    base_us_ = 0;
    poll_us_ = kSlowest;
    return Ok();
  }

  Status Poll(std::int64_t /*now_us*/) override {
    std::size_t most = 0;
    streams_.resize(std::max(streams_.size(), channel_->Cpus()));
    for (std::size_t cpu = 0; cpu < channel_->Cpus(); ++cpu) {
      SHADOW_ASSIGN(const std::size_t bytes, Drain(cpu));
      most = std::max(most, bytes);
    }
    // A quarter full is as full as a buffer should be when it is read; half the distance if not.
    if (most > channel_->BufferBytes() / 4) poll_us_ = std::max(poll_us_ / 2, kFastest);
    if (most < channel_->BufferBytes() / 16) poll_us_ = std::min(poll_us_ * 2, kSlowest);
    return Ok();
  }

  Result<AccessWindow> CloseWindow(std::int64_t now_us) override {
    SHADOW_TRY(Poll(now_us));
    SHADOW_ASSIGN(const std::uint64_t dropped, channel_->Dropped());
    window_.lost += dropped >= dropped_ ? dropped - dropped_ : dropped;
    dropped_ = dropped;
    window_.length_us = now_us - window_.start_us;
    window_.blocks = counter_.Take();
    AccessWindow closed = std::move(window_);
    window_ = {};
    window_.start_us = now_us;
    return closed;
  }

  void Stop() override {
    channel_->Close();
    counter_.Clear();
  }

 private:
  // What the CPU has logged by now, but no more than its buffers hold: a CPU that logs as fast as
  // it is read must not keep the others waiting.
  Result<std::size_t> Drain(std::size_t cpu) {
    std::size_t bytes = 0;
    while (bytes < channel_->BufferBytes()) {
      SHADOW_ASSIGN(const std::size_t got, channel_->Read(cpu, chunk_.data(), chunk_.size()));
      if (got == 0) break;
      bytes += got;
      SHADOW_TRY(Take(&streams_[cpu], std::string_view(chunk_).substr(0, got)));
    }
    return bytes;
  }

  Status Take(CpuStream* stream, std::string_view data) {
    if (!stream->rest.empty()) {
      stream->rest.append(data);
      data = stream->rest;
    }
    while (data.size() >= pam::kBlktraceRecord) {
      const pam::BlktraceRecord record = pam::DecodeBlktrace(data);
      if (record.kind == pam::BlktraceRecord::kNoMagic ||
          record.kind == pam::BlktraceRecord::kNewer) {
        return MakeError(Code::kDataLoss, "The kernel's trace cannot be understood.",
                         "blktrace records of version 7 are known");
      }
      const std::size_t whole = pam::kBlktraceRecord + record.pdu_len;
      if (data.size() < whole) break;
      Take(stream, record, data.substr(pam::kBlktraceRecord, record.pdu_len));
      data.remove_prefix(whole);
    }
    stream->rest = std::string(data);  // less than one record
    return Ok();
  }

  void Take(CpuStream* stream, const pam::BlktraceRecord& record, std::string_view pdu) {
    if (record.kind == pam::BlktraceRecord::kTimestamp) {
      base_us_ = pam::WallClockBaseUs(record, pdu);
    }
    // The kernel does not number its notes.
    if (record.kind == pam::BlktraceRecord::kTimestamp ||
        record.kind == pam::BlktraceRecord::kNote) {
      return;
    }
    const std::uint32_t missing = record.sequence - stream->sequence - 1;  // wraps
    if (missing >> 31 != 0) {
      ++window_.lost;  // an old record in the place of one that was not finished
      return;
    }
    window_.lost += missing;
    stream->sequence = record.sequence;
    if (record.kind != pam::BlktraceRecord::kRequest) return;
    const std::uint64_t offset = record.sector * kSectorBytes;
    counter_.AddRequest(offset, record.bytes, record.write);
    ++window_.ops;
    window_.bytes += record.bytes;
    if (sink_ != nullptr) {
      sink_->Take({.time_us = base_us_ + static_cast<std::int64_t>(record.time_ns / 1000),
                   .offset = offset,
                   .length = record.bytes,
                   .write = record.write});
    }
  }

  const std::unique_ptr<BlktraceChannel> channel_;
  RequestSink* const sink_;
  AccessCounter counter_;
  std::string chunk_;
  std::vector<CpuStream> streams_;
  AccessWindow window_;  // that is open; its blocks are in counter_
  std::uint64_t dropped_ = 0;
  std::int64_t base_us_ = 0;  // CLOCK_MONOTONIC to the epoch
  std::int64_t poll_us_ = kSlowest;
};

}  // namespace

std::unique_ptr<AccessSource> MakeBlktraceSource(std::unique_ptr<BlktraceChannel> channel,
                                                 std::uint64_t block_bytes, RequestSink* sink) {
  return std::make_unique<BlktraceSource>(std::move(channel), block_bytes, sink);
}

}  // namespace shadow
