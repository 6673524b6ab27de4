// SPDX-License-Identifier: Apache-2.0
// Every trace format, every compression, and what happens to bad input.
#include "pam/trace/reader.h"

#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdlib>
#include <cstring>

#include "pam/window/windowing.h"

namespace shadow::pam {
namespace {

template <typename T>
void Add(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string BlkRecord(std::uint64_t time_ns, std::uint64_t sector, std::uint32_t bytes,
                      std::uint32_t action, std::uint32_t device, std::uint16_t pdu = 0) {
  std::string r;
  Add<std::uint32_t>(&r, 0x65617407);
  Add<std::uint32_t>(&r, 0);
  Add(&r, time_ns);
  Add(&r, sector);
  Add(&r, bytes);
  Add(&r, action);
  Add<std::uint32_t>(&r, 1);
  Add(&r, device);
  Add<std::uint32_t>(&r, 0);
  Add<std::uint16_t>(&r, 0);
  Add(&r, pdu);
  return r + std::string(pdu, '\0');
}

constexpr std::uint32_t kQueueRead = 1 | 1u << 16;
constexpr std::uint32_t kQueueWrite = 1 | 2u << 16;
constexpr std::uint32_t kRemap = 15 | 2u << 16;

const char kCsv[] = "timestamp_us,offset_bytes,length_bytes,op\n10,4096,512,R\n20,8192,1024,W\n";

void ExpectTwo(const Result<Trace>& t, const char* format) {
  ASSERT_TRUE(t.ok()) << t.error().ToString();
  EXPECT_EQ(t->format, format);
  ASSERT_EQ(t->requests.size(), 2u);
  EXPECT_FALSE(t->requests[0].write);
  EXPECT_TRUE(t->requests[1].write);
  EXPECT_EQ(t->requests[0].offset, 4096u);
  EXPECT_EQ(t->requests[0].length, 512u);
  EXPECT_EQ(t->requests[1].offset, 8192u);
  EXPECT_EQ(t->requests[1].length, 1024u);
  EXPECT_EQ(t->requests[1].time_us - t->requests[0].time_us, 10);
}

TEST(Reader, Csv) { ExpectTwo(ReadTraceMemory(kCsv), "csv"); }

TEST(Reader, Msr) {
  ExpectTwo(ReadTraceMemory("128166372003061629,usr,0,Read,4096,512,99\n"
                            "128166372003061729,usr,0,Write,8192,1024,99\n"),
            "msr");
}

TEST(Reader, Spc) {
  ExpectTwo(ReadTraceMemory("0,8,512,r,0.000010\n0,16,1024,W,0.000020\n"), "spc");
}

TEST(Reader, Blkreplay) {
  ExpectTwo(ReadTraceMemory("start ; sector; length ; op ;  replay_delay ; replay_duration\n"
                            "0.000010000 ; 8 ; 1 ; R ; 0.0 ; 0.0\n0.000020000;16;2;W;0.0;0.0\n"),
            "blkreplay");
}

TEST(Reader, Blkparse) {
  ExpectTwo(ReadTraceMemory("  8,0    3        1     0.000010000   697  Q   R 8 + 1 [a]\n"
                            "  8,0    3        2     0.000012000   697  C   R 8 + 1 [0]\n"
                            "  8,0    3        3     0.000020000   697  Q  WS 16 + 2 [b c]\n"
                            "CPU0 (8,0):\n Reads Queued:           1,        1KiB\n"),
            "blkparse");
}

TEST(Reader, BlktraceOfEitherByteOrder) {
  const std::string data = BlkRecord(10'000, 8, 512, kQueueRead, 8 << 20, 16) +
                           BlkRecord(15'000, 8, 512, 8 | 1u << 16, 8 << 20) +
                           BlkRecord(20'000, 16, 1024, kQueueWrite, 8 << 20);
  ExpectTwo(ReadTraceMemory(data), "blktrace");
  std::string big;
  const int widths[] = {4, 4, 8, 8, 4, 4, 4, 4, 4, 2, 2};
  for (const std::string& record : {BlkRecord(10'000, 8, 512, kQueueRead, 8 << 20),
                                    BlkRecord(20'000, 16, 1024, kQueueWrite, 8 << 20)}) {
    std::size_t at = 0;
    for (const int width : widths) {
      std::string field = record.substr(at, static_cast<std::size_t>(width));
      at += static_cast<std::size_t>(width);
      big.append(field.rbegin(), field.rend());
    }
  }
  ExpectTwo(ReadTraceMemory(big), "blktrace");
}

TEST(Reader, StackedDevicesCountOnce) {
  // The same write on dm-0 (253,0) and, remapped, on sda (8,0).
  std::string data;
  for (std::uint64_t i = 0; i < 3; ++i) {
    data += BlkRecord(i * 1000, i * 8, 4096, kQueueWrite, 253u << 20);
    data += BlkRecord(i * 1000 + 1, i * 8 + 2048, 4096, kRemap, 8u << 20);
    data += BlkRecord(i * 1000 + 2, i * 8 + 2048, 4096, kQueueWrite, 8u << 20);
  }
  const auto top = ReadTraceMemory(data);
  ASSERT_TRUE(top.ok());
  EXPECT_EQ(top->requests.size(), 3u);
  EXPECT_EQ(top->devices, std::vector<std::string>{"253,0"});
  ReadOptions named;
  named.device = "8,0";
  const auto lower = ReadTraceMemory(data, named);
  ASSERT_TRUE(lower.ok());
  EXPECT_EQ(lower->requests[0].offset, 2048u * 512);
  named.device = "9,9";
  EXPECT_EQ(ReadTraceMemory(data, named).error().code, Code::kNotFound);
}

std::string Vscsi(int version) {
  std::string out;
  for (int i = 0; i < 2; ++i) {
    const std::uint16_t cmd = i == 0 ? 0x28 : 0x2a;
    const auto ver = static_cast<std::uint16_t>(version << 8);
    if (version == 2) {
      Add(&out, cmd);
      Add(&out, ver);
    }
    Add<std::uint32_t>(&out, static_cast<std::uint32_t>(i));
    Add<std::uint32_t>(&out, i == 0 ? 512 : 1024);
    Add<std::uint32_t>(&out, 1);
    if (version == 1) {
      Add(&out, cmd);
      Add(&out, ver);
    }
    Add<std::uint64_t>(&out, i == 0 ? 8 : 16);
    Add<std::uint64_t>(&out, i == 0 ? 1000 : 1010);
    if (version == 2) Add<std::uint64_t>(&out, 5);
  }
  return out;
}

TEST(Reader, Vscsi) {
  ExpectTwo(ReadTraceMemory(Vscsi(1)), "vscsi");
  ExpectTwo(ReadTraceMemory(Vscsi(2)), "vscsi");
}

std::string Gzip(const std::string& in) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(in.size() + 100, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  deflateEnd(&z);
  return out;
}

std::string Xz(const std::string& in) {
  std::string out(in.size() + 1000, '\0');
  std::size_t used = 0;
  lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr,
                          reinterpret_cast<const std::uint8_t*>(in.data()), in.size(),
                          reinterpret_cast<std::uint8_t*>(out.data()), &used, out.size());
  out.resize(used);
  return out;
}

std::string Zstd(const std::string& in) {
  std::string out(ZSTD_compressBound(in.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), in.data(), in.size(), 3));
  return out;
}

TEST(Reader, Compressed) {
  ExpectTwo(ReadTraceMemory(Gzip(kCsv)), "csv");
  ExpectTwo(ReadTraceMemory(Xz(kCsv)), "csv");
  ExpectTwo(ReadTraceMemory(Zstd(kCsv)), "csv");
}

TEST(Reader, CutOrDamagedCompressionIsRefused) {
  std::string text = "timestamp_us,offset_bytes,length_bytes,op\n";
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * 7919 % 100003) + ",4096,512,R\n";
  for (const std::string& whole : {Gzip(text), Xz(text), Zstd(text)}) {
    const auto cut = ReadTraceMemory(whole.substr(0, whole.size() / 2));
    ASSERT_FALSE(cut.ok());
    EXPECT_EQ(cut.error().code, Code::kDataLoss) << cut.error().message;
    std::string bad = whole;
    for (std::size_t i = bad.size() / 2; i < bad.size() / 2 + 40; ++i)
      bad[i] = static_cast<char>(~bad[i]);
    EXPECT_FALSE(ReadTraceMemory(bad).ok());
  }
}

TEST(Reader, DamagedLinesAreCountedAndNumbered) {
  const auto t = ReadTraceMemory("10,4096,512,R\n11,nan,512,R\n20,8192,1024,W\n30,1,0,R\n-,,,\n");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->requests.size(), 2u);
  EXPECT_EQ(t->skipped, 3u);
  ASSERT_EQ(t->damage.size(), 3u);
  EXPECT_EQ(t->damage[0].position, 2u);
  EXPECT_NE(t->damage[0].reason.find("offset"), std::string::npos);
  EXPECT_EQ(t->damage[1].position, 4u);
  ReadOptions strict;
  strict.max_damaged = 2;
  const auto refused = ReadTraceMemory("10,4096,512,R\nx\ny\nz\n", strict);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kDataLoss);
  EXPECT_NE(refused.error().message.find("number 4"), std::string::npos);
}

TEST(Reader, NumbersThatAreNone) {
  for (const char* time : {"nan", "inf", "1e9", "-", "", "99999999999999999999"}) {
    const std::string text = std::string("0,8,512,r,0.1\n0,8,512,r,") + time + "\n";
    const auto t = ReadTraceMemory(text);
    ASSERT_TRUE(t.ok()) << time;
    EXPECT_EQ(t->skipped, 1u) << time;
  }
}

TEST(Reader, EmptyAndUnknown) {
  EXPECT_EQ(ReadTraceMemory("").error().code, Code::kInvalidArgument);
  EXPECT_EQ(ReadTraceMemory("hello\nworld\n").error().code, Code::kInvalidArgument);
  EXPECT_FALSE(ReadTraceMemory("timestamp_us,offset_bytes,length_bytes,op\n").ok());
  EXPECT_EQ(ReadTrace("/nonexistent/trace").error().code, Code::kNotFound);
  EXPECT_FALSE(ReadTraceMemory(BlkRecord(1, 8, 512, kQueueRead, 8) +
                               "garbage that is long enough for a record, "
                               "really")
                   .ok());
}

TEST(Reader, TimeGoingBackwardsIsSortedAndCounted) {
  const auto t = ReadTraceMemory("30,4096,512,R\n10,0,512,R\n20,8192,512,R\n");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->reordered, 1u);
  EXPECT_EQ(t->requests[0].time_us, 10);
  EXPECT_EQ(t->requests[2].time_us, 30);
}

TEST(Windows, CutsCountsAndDropsBeyondTheEnd) {
  const auto t = ReadTraceMemory(
      "0,1048000,2000,R\n1,0,512,W\n59999999,5242880,512,W\n60000000,0,512,R\n200000000,0,1,R\n");
  ASSERT_TRUE(t.ok());
  WindowOptions o;
  o.volume_bytes = 4u << 20;
  const auto w = CutWindows(*t, o);
  ASSERT_TRUE(w.ok());
  ASSERT_EQ(w->windows.size(), 3u);  // the fourth is not complete
  EXPECT_EQ(w->beyond_end, 1u);
  ASSERT_EQ(w->windows[0].accesses.size(), 2u);
  EXPECT_EQ(w->windows[0].accesses[0].count, 2u);  // the first request touches blocks 0 and 1
  EXPECT_EQ(w->windows[0].accesses[0].writes, 1u);
  EXPECT_EQ(w->windows[0].accesses[1].block, 1u);
  EXPECT_EQ(w->windows[1].accesses.size(), 1u);
  EXPECT_TRUE(w->windows[2].accesses.empty());
}

TEST(Windows, RefusesWhatCannotBe) {
  Trace none;
  EXPECT_FALSE(CutWindows(none, {}).ok());
  const auto t = ReadTraceMemory("0,0,512,R\n4000000000000000,0,512,R\n");
  ASSERT_TRUE(t.ok());
  const auto w = CutWindows(*t, {});
  ASSERT_FALSE(w.ok());
  EXPECT_NE(w.error().message.find("windows"), std::string::npos);
  WindowOptions odd;
  odd.block_bytes = 3000;
  EXPECT_FALSE(CutWindows(*t, odd).ok());
}

TEST(Reader, TheSharedHostTrace) {
  const auto t = ReadTrace(std::string(PAM_TESTDATA) + "/oneandone_winshared.csv.xz");
  ASSERT_TRUE(t.ok()) << t.error().ToString();
  EXPECT_EQ(t->requests.size(), 1371u);
  EXPECT_EQ(t->skipped, 0u);
}

}  // namespace
}  // namespace shadow::pam
