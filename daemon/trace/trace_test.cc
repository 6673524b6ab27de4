// SPDX-License-Identifier: Apache-2.0
// The sources on recorded and made-up streams; the same on the kernel's own:
// tests/guest/trace_sources.sh.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>

#include "daemon/trace/access_bits_source.h"
#include "daemon/trace/access_counter.h"
#include "daemon/trace/blktrace_source.h"
#include "daemon/trace/recorder.h"
#include "daemon/trace/source_switch.h"
#include "pam/trace/reader.h"

namespace shadow {
namespace {

constexpr std::uint64_t kBlock = 64 << 10;
constexpr std::int64_t kMinute = 60'000'000;
constexpr std::uint32_t kReadQ = 1 | 1u << 20 | 1u << 16, kWriteQ = 1 | 1u << 20 | 1u << 17;

std::string Event(std::uint32_t sequence, std::uint32_t action, std::uint64_t sector,
                  std::uint32_t bytes, const std::string& pdu = "", std::uint64_t time_ns = 5000) {
  std::string r(48, '\0');
  const auto put = [&](std::size_t at, auto value) { std::memcpy(&r[at], &value, sizeof(value)); };
  put(0, std::uint32_t{0x65617407});
  put(4, sequence);
  put(8, time_ns);
  put(16, sector);
  put(24, bytes);
  put(28, action);
  put(46, static_cast<std::uint16_t>(pdu.size()));
  return r + pdu;
}
std::string Timestamp(std::uint32_t seconds) {
  std::string pdu(8, '\0');
  std::memcpy(pdu.data(), &seconds, 4);
  // The kernel leaves whatever was there before as the number of a note.
  return Event(0xdeadbeef, 1 | 1u << 26, 0, 0, pdu, 0);
}

/// Gives the pieces of each CPU, one for each call.
class ScriptedChannel final : public BlktraceChannel {
 public:
  Status Open() override {
    ++opened;
    if (refuse) return MakeError(Code::kUnavailable, "Somebody else traces it.");
    open = true;
    return Ok();
  }
  std::size_t Cpus() const override { return pieces.size(); }
  std::size_t BufferBytes() const override { return 1 << 20; }
  Result<std::size_t> Read(std::size_t cpu, char* out, std::size_t size) override {
    auto& queue = pieces.at(cpu);
    if (queue.empty()) return std::size_t{0};
    const std::size_t n = std::min(size, queue.front().size());
    std::memcpy(out, queue.front().data(), n);
    queue.front().erase(0, n);
    if (queue.front().empty()) queue.pop_front();
    return n;
  }
  Result<std::uint64_t> Dropped() override {
    if (ended) return MakeError(Code::kUnavailable, "Somebody ended the trace.");
    return dropped;
  }
  void Close() override { open = false; }

  std::vector<std::deque<std::string>> pieces;
  std::uint64_t dropped = 0;
  bool refuse = false, ended = false, open = false;
  int opened = 0;
};

struct Blktrace {
  explicit Blktrace(std::size_t cpus = 1, RequestSink* sink = nullptr) {
    auto made = std::make_unique<ScriptedChannel>();
    channel = made.get();
    channel->pieces.resize(cpus);
    source = MakeBlktraceSource(std::move(made), kBlock, sink);
  }
  ScriptedChannel* channel;
  std::unique_ptr<AccessSource> source;
};

std::string Text(const AccessWindow& w) {
  std::string out;
  for (const BlockAccess& a : w.blocks) {
    out += std::to_string(a.block) + ":" + std::to_string(a.count) + "/" +
           std::to_string(a.writes) + " ";
  }
  return out;
}

/// Answers `access` from a script and `status` with a number of blocks; nothing else is asked.
class ScriptedMapper final : public DeviceMapper {
 public:
  Status CheckControl() override { return Ok(); }
  Result<std::string> TargetVersion() override { return std::string("1.0.0"); }
  Status Create(const std::string&, const std::string&, std::uint64_t,
                const std::string&) override {
    return Ok();
  }
  Status Load(const std::string&, std::uint64_t, const std::string&) override { return Ok(); }
  Status ClearInactive(const std::string&) override { return Ok(); }
  Status Suspend(const std::string&) override { return Ok(); }
  Status Resume(const std::string&) override { return Ok(); }
  Status Remove(const std::string&) override { return Ok(); }
  Result<std::string> Message(const std::string&, const std::string& text) override {
    asked.push_back(text);
    if (!refused.empty()) return MakeError(refusal_code, refused);
    if (answers.empty()) return std::string("end");
    std::string answer = answers.front();
    answers.pop_front();
    return answer;
  }
  Result<DmTarget> StatusOf(const std::string&) override {
    return DmTarget{2048, "shadow", "rw steady 1000 128"};
  }
  Result<DmTarget> TableOf(const std::string&) override { return DmTarget{}; }
  Result<DmInfo> Info(const std::string& name) override {
    if (missing) return MakeError(Code::kNotFound, "There is no device-mapper device v.");
    return DmInfo{.name = name, .uuid = "", .major = 254, .minor = 7};
  }
  Result<std::vector<DmInfo>> List(const std::string&) override { return std::vector<DmInfo>{}; }
  Result<bool> WaitEvent(std::int64_t) override { return false; }

  std::deque<std::string> answers;
  std::vector<std::string> asked;
  std::string refused;
  Code refusal_code = Code::kFailedPrecondition;
  bool missing = false;
};

std::filesystem::path Scratch() {
  const auto path = std::filesystem::temp_directory_path() /
                    ("shadow_trace_test." + std::to_string(getpid()) + "." +
                     testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

// --- counting ------------------------------------------------------------------------------------

TEST(AccessCounter, CountsARequestOncePerBlock) {
  AccessCounter counter(kBlock);
  counter.AddRequest(kBlock - 512, 1024, true);
  counter.AddRequest(0, 3 * kBlock, false);
  counter.AddRequest(kBlock, kBlock, false);
  AccessWindow w;
  w.blocks = counter.Take();
  EXPECT_EQ(Text(w), "0:2/1 1:3/1 2:1/0 ");
  EXPECT_TRUE(counter.Take().empty());
}

TEST(AccessCounter, AgreesWithAMapOnAnything) {
  EXPECT_TRUE(rc::check("counts as a map does", [] {
    const auto seed = *rc::gen::arbitrary<std::uint32_t>();
    AccessCounter counter(kBlock);
    std::map<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>> truth;
    std::uint64_t x = seed | 1;
    const auto next = [&x] { return x = x * 6364136223846793005u + 1442695040888963407u; };
    const int requests = (next() >> 40) % 200'000;
    for (int i = 0; i < requests; ++i) {
      const std::uint64_t offset = (next() >> 40) % (5000 * kBlock);
      const std::uint64_t length = 1 + (next() >> 45) % (2 * kBlock);
      const bool write = (next() >> 60) % 2 == 1;
      counter.AddRequest(offset, length, write);
      for (auto b = offset / kBlock; b <= (offset + length - 1) / kBlock; ++b) {
        auto& [count, writes] = truth[static_cast<std::uint32_t>(b)];
        ++count;
        writes += write ? 1 : 0;
      }
    }
    const auto got = counter.Take();
    RC_ASSERT(got.size() == truth.size());
    auto t = truth.begin();
    for (const BlockAccess& a : got) {
      RC_ASSERT(a.block == t->first && a.count == t->second.first && a.writes == t->second.second);
      ++t;
    }
  }));
}

// --- blktrace ------------------------------------------------------------------------------------

TEST(BlktraceSource, TakesReadsAndWritesOfAllCpusOnce) {
  Blktrace t(2);
  ASSERT_TRUE(t.source->Start(0).ok());
  t.channel->pieces[0] = {Timestamp(1'700'000'000), Event(1, kWriteQ, 0, 4096),
                          Event(2, kReadQ, 127, 1024)};
  t.channel->pieces[1] = {Event(1, kReadQ, 256, 65536) +
                          Event(2, kWriteQ | 1u << 29, 512, 1 << 20) +  // a discard
                          Event(3, kWriteQ, 0, 0) +                     // an empty flush
                          Event(4, 8 | 1u << 23, 256, 65536)};          // a completion
  const auto w = t.source->CloseWindow(kMinute);
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(Text(*w), "0:2/1 1:1/0 2:1/0 ");
  EXPECT_EQ(w->ops, 3u);
  EXPECT_EQ(w->bytes, 4096u + 1024 + 65536);
  EXPECT_EQ(w->lost, 0u);
  EXPECT_EQ(w->start_us, 0);
  EXPECT_EQ(w->length_us, kMinute);
  const auto next = t.source->CloseWindow(2 * kMinute);
  ASSERT_TRUE(next.ok());
  EXPECT_TRUE(next->blocks.empty());
  EXPECT_EQ(next->start_us, kMinute);
}

TEST(BlktraceSource, FindsRecordsHoweverTheStreamIsCut) {
  std::string stream = Timestamp(1'700'000'000);
  for (std::uint32_t i = 1; i <= 40; ++i) {
    stream += Event(i, kReadQ | 1u << 8, i * 128, 512, std::string(8, 'c'));  // from a cgroup
  }
  for (std::size_t cut = 1; cut < 200; ++cut) {
    Blktrace t;
    ASSERT_TRUE(t.source->Start(0).ok());
    for (std::size_t at = 0; at < stream.size(); at += cut) {
      t.channel->pieces[0].push_back(stream.substr(at, cut));
      if (at % 3 == 0) {
        ASSERT_TRUE(t.source->Poll(0).ok());
      }
    }
    const auto w = t.source->CloseWindow(kMinute);
    ASSERT_TRUE(w.ok());
    ASSERT_EQ(w->ops, 40u) << "in pieces of " << cut;
    ASSERT_EQ(w->blocks.size(), 40u);
    ASSERT_EQ(w->lost, 0u);
  }
}

TEST(BlktraceSource, CountsWhatIsLost) {
  Blktrace t;
  ASSERT_TRUE(t.source->Start(0).ok());
  t.channel->pieces[0] = {Event(1, kReadQ, 0, 512), Event(5, kReadQ, 0, 512),
                          Event(2, kReadQ, 128, 512)};  // of the lap before
  t.channel->dropped = 7;
  auto w = t.source->CloseWindow(kMinute);
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->lost, 3u + 1 + 7);
  EXPECT_EQ(Text(*w), "0:2/0 ");
  t.channel->dropped = 9;
  w = t.source->CloseWindow(2 * kMinute);
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->lost, 2u);
}

TEST(BlktraceSource, SaysWhenItIsNoStreamOrOver) {
  Blktrace t;
  ASSERT_TRUE(t.source->Start(0).ok());
  t.channel->pieces[0] = {std::string(48, 'x')};
  EXPECT_EQ(t.source->Poll(0).error().code, Code::kDataLoss);
  t.channel->pieces[0].clear();
  ASSERT_TRUE(t.source->Start(0).ok());
  t.channel->ended = true;
  EXPECT_EQ(t.source->CloseWindow(kMinute).error().code, Code::kUnavailable);
  t.source->Stop();
  t.source->Stop();
  EXPECT_FALSE(t.channel->open);
}

TEST(BlktraceSource, NeverFallsOverAnyBytes) {
  EXPECT_TRUE(rc::check("any bytes give a window or an error", [] {
    const auto noise = *rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    Blktrace t;
    RC_ASSERT(t.source->Start(0).ok());
    std::string good = Event(1, kReadQ, 0, 512), odd = good;
    std::copy_n(noise.begin(), std::min<std::size_t>(noise.size(), 44), odd.begin() + 4);
    t.channel->pieces[0] = {good + odd, odd + noise, noise + good};
    const auto w = t.source->CloseWindow(kMinute);
    RC_ASSERT((w.ok() || w.error().code == Code::kDataLoss));
  }));
}

TEST(BlktraceSource, IsReadMoreOftenWhenTheBuffersFill) {
  Blktrace t;
  ASSERT_TRUE(t.source->Start(0).ok());
  const std::int64_t slow = t.source->PollUs();
  std::string much;
  for (std::uint32_t i = 1; i <= 10'000; ++i) much += Event(i, kReadQ, 0, 512);
  t.channel->pieces[0] = {much};
  ASSERT_TRUE(t.source->Poll(0).ok());
  EXPECT_EQ(t.source->PollUs(), slow / 2);
  ASSERT_TRUE(t.source->Poll(0).ok());
  EXPECT_EQ(t.source->PollUs(), slow);
}

TEST(BlktraceChannel, IsNotToBeHadWithoutATraceableDevice) {
  auto missing = MakeBlktraceChannel({.device = "/dev/mapper/no-such-volume"});
  EXPECT_EQ(missing->Open().error().code, Code::kNotFound);
  auto no_disk = MakeBlktraceChannel({.device = "/dev/null"});
  EXPECT_FALSE(no_disk->Open().ok());
  no_disk->Close();
}

// --- access bits ---------------------------------------------------------------------------------

TEST(AccessBitsSource, CountsHarvestsAndAsksOn) {
  ScriptedMapper dm;
  auto source = MakeAccessBitsSource(&dm, {"v", kBlock, kMinute, "/nonexistent"});
  dm.answers = {"0+100:rw end"};  // old bits
  ASSERT_TRUE(source->Start(0).ok());
  dm.answers = {"1+2:r 5+1:w next=10", "10+1:rw end", "2+1:w 5+1:w end"};
  ASSERT_TRUE(source->Poll(5'000'000).ok());
  ASSERT_TRUE(source->Poll(5'000'001).ok());  // too early: nothing is asked
  const auto w = source->CloseWindow(kMinute);
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(Text(*w), "1:1/0 2:2/1 5:2/2 10:2/1 ");
  EXPECT_EQ(w->ops, 7u);
  EXPECT_EQ(dm.asked, (std::vector<std::string>{"access", "access", "access 10+990", "access"}));
}

TEST(AccessBitsSource, TakesRequestsAndBytesFromTheBlockLayer) {
  const auto sysfs = Scratch();
  std::filesystem::create_directories(sysfs / "dev/block/254:7");
  const auto set = [&](const char* line) { std::ofstream(sysfs / "dev/block/254:7/stat") << line; };
  ScriptedMapper dm;
  auto source = MakeAccessBitsSource(&dm, {"v", kBlock, kMinute, sysfs.string()});
  set("      10        0       80       4       5        0      100       1        0        5   5");
  ASSERT_TRUE(source->Start(0).ok());
  set("      11        0       88       4      25        0      260       1        0        5   5");
  const auto w = source->CloseWindow(kMinute);
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->ops, 21u);
  EXPECT_EQ(w->bytes, (8u + 160) * 512);
}

TEST(AccessBitsSource, WaitsForASuspendedVolumeButNotForAWindow) {
  ScriptedMapper dm;
  auto source = MakeAccessBitsSource(&dm, {"v", kBlock, kMinute, "/nonexistent"});
  ASSERT_TRUE(source->Start(0).ok());
  dm.refused = "the volume is suspended";
  ASSERT_TRUE(source->Poll(5'000'000).ok());
  dm.refused.clear();
  dm.answers = {"3+1:r end"};
  ASSERT_TRUE(source->Poll(10'000'000).ok());
  dm.refused = "the volume is suspended";
  auto w = source->CloseWindow(kMinute);
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(Text(*w), "3:1/0 ");
  w = source->CloseWindow(2 * kMinute);
  ASSERT_FALSE(w.ok());
  EXPECT_EQ(w.error().code, Code::kUnavailable);
  dm.missing = true;
  EXPECT_EQ(source->Start(0).error().code, Code::kNotFound);
}

// --- the switch ----------------------------------------------------------------------------------

struct Switched {
  Switched() {
    auto made = std::make_unique<ScriptedChannel>();
    channel = made.get();
    channel->pieces.resize(1);
    both = std::make_unique<SourceSwitch>(
        MakeBlktraceSource(std::move(made), kBlock, nullptr),
        MakeAccessBitsSource(&dm, {"v", kBlock, kMinute, "/nonexistent"}),
        [this](const std::string& s) { said.push_back(s); }, 2);
  }
  Result<AccessWindow> Close() { return both->CloseWindow(now += kMinute); }
  ScriptedMapper dm;
  ScriptedChannel* channel;
  std::vector<std::string> said;
  std::unique_ptr<SourceSwitch> both;
  std::int64_t now = 0;
};

TEST(SourceSwitch, GoesToTheOtherAfterLossesAndBackLater) {
  Switched s;
  ASSERT_TRUE(s.both->Start(0).ok());
  EXPECT_EQ(s.both->Name(), "blktrace");
  s.channel->dropped = 3;
  auto w = s.Close();
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->lost, 3u);
  EXPECT_EQ(s.both->State().ruling, "access");
  EXPECT_NE(s.both->State().reason.find("lost 3 events"), std::string::npos);
  EXPECT_FALSE(s.channel->open) << "a trace nobody reads runs on";
  ASSERT_EQ(s.said.size(), 1u);
  s.channel->dropped = 0;
  s.dm.answers = {"7+1:r end"};
  w = s.Close();
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(Text(*w), "7:1/0 ");
  ASSERT_TRUE(s.Close().ok());
  EXPECT_EQ(s.both->State().ruling, "blktrace");
  EXPECT_EQ(s.both->State().reason, "");
  EXPECT_EQ(s.both->State().switches, 2u);
  EXPECT_EQ(s.both->State().lost, 3u);
  EXPECT_EQ(s.both->State().windows, 3u);
  // The next time it is left alone for twice as long.
  s.channel->dropped = 1;
  ASSERT_TRUE(s.Close().ok());
  s.channel->dropped = 0;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(s.Close().ok());
    EXPECT_EQ(s.both->Name(), "access");
  }
  ASSERT_TRUE(s.Close().ok());
  EXPECT_EQ(s.both->Name(), "blktrace");
}

TEST(SourceSwitch, BeginsWithTheOtherIfTheFirstIsNotToBeHad) {
  Switched s;
  s.channel->refuse = true;
  ASSERT_TRUE(s.both->Start(0).ok());
  EXPECT_EQ(s.both->Name(), "access");
  EXPECT_EQ(s.both->PollUs(), kMinute / kHarvests);
  const int tries = s.channel->opened;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(s.Close().ok());
  EXPECT_EQ(s.channel->opened, tries + 1);
  EXPECT_EQ(s.both->Name(), "access");
  EXPECT_TRUE(s.said.empty()) << "nothing has changed";
}

TEST(SourceSwitch, MarksAWindowThatWasCut) {
  Switched s;
  ASSERT_TRUE(s.both->Start(0).ok());
  s.channel->pieces[0] = {std::string(100, 'x')};
  ASSERT_TRUE(s.both->Poll(1000).ok());
  EXPECT_EQ(s.both->Name(), "access");
  auto w = s.Close();
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->lost, 1u);
  w = s.Close();
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->lost, 0u);
}

TEST(SourceSwitch, FailsOnlyWithBothAndComesBack) {
  Switched s;
  s.channel->refuse = true;
  s.dm.missing = true;
  EXPECT_FALSE(s.both->Start(0).ok());
  EXPECT_EQ(s.both->State().ruling, "");
  EXPECT_FALSE(s.Close().ok());
  s.dm.missing = false;
  ASSERT_TRUE(s.both->Poll(s.now).ok());
  EXPECT_EQ(s.both->Name(), "access");
  ASSERT_TRUE(s.Close().ok());
  s.dm.refused = "gone";
  s.dm.refusal_code = Code::kNotFound;
  s.dm.missing = true;
  EXPECT_FALSE(s.Close().ok());
  EXPECT_EQ(s.both->Name(), "");
  s.channel->refuse = false;
  ASSERT_TRUE(s.both->Poll(s.now).ok());
  EXPECT_EQ(s.both->Name(), "blktrace");
}

TEST(SourceSwitch, IsMadeFromOptionsThatMakeSense) {
  ScriptedMapper dm;
  const auto made = [&](std::uint64_t block, const char* source) {
    SourceOptions options;
    options.volume = "v";
    options.block_bytes = block;
    options.source = source;
    return MakeAccessSource(&dm, options);
  };
  EXPECT_EQ(made(100'000, "auto").error().code, Code::kInvalidArgument);
  EXPECT_EQ(made(kBlock, "dtrace").error().code, Code::kInvalidArgument);
  EXPECT_EQ((*made(kBlock, "auto"))->State().asked, "access");
  EXPECT_EQ((*made(kBlock, "blktrace"))->State().asked, "blktrace");
}

// --- recorder ------------------------------------------------------------------------------------

TEST(Recorder, IsReadBackByTheReaders) {
  const auto dir = Scratch();
  for (const char* name : {"t.csv.zst", "t.csv"}) {
    const std::string path = (dir / name).string();
    auto recorder = Recorder::Create(path);
    ASSERT_TRUE(recorder.ok());
    for (std::uint32_t i = 0; i < 50'000; ++i) {
      (*recorder)->Take({.time_us = 1'700'000'000'000'000 + i,
                         .offset = std::uint64_t{i} << 20,
                         .length = 512 + i,
                         .write = i % 3 == 0});
    }
    ASSERT_TRUE((*recorder)->Close().ok());
    EXPECT_EQ((*recorder)->file_bytes(), std::filesystem::file_size(path));
    EXPECT_EQ(std::filesystem::status(path).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    const auto trace = pam::ReadTrace(path);
    ASSERT_TRUE(trace.ok());
    ASSERT_EQ(trace->requests.size(), 50'000u);
    EXPECT_TRUE(trace->wall_clock);
    const auto& last = trace->requests.back();
    EXPECT_EQ(last.offset, std::uint64_t{49'999} << 20);
    EXPECT_EQ(last.length, 512u + 49'999);
    EXPECT_EQ(last.write, 49'999 % 3 == 0);
    EXPECT_EQ(Recorder::Create(path).error().code, Code::kAlreadyExists);
  }
}

TEST(Recorder, EndsAtItsLimitAndOnAFullDisk) {
  const auto dir = Scratch();
  auto limited = Recorder::Create((dir / "limited.csv").string(), 1 << 20);
  ASSERT_TRUE(limited.ok());
  for (std::uint32_t i = 0; i < 100'000; ++i) (*limited)->Take({.time_us = i, .length = 512});
  EXPECT_EQ((*limited)->Close().error().code, Code::kOutOfSpace);
  EXPECT_LT(std::filesystem::file_size(dir / "limited.csv"), 2u << 20);
  EXPECT_FALSE(Recorder::Create("/nonexistent/t.csv.zst").ok());
}

TEST(Recorder, GetsWhatBlktraceSees) {
  const auto dir = Scratch();
  auto recorder = Recorder::Create((dir / "t.csv.zst").string());
  ASSERT_TRUE(recorder.ok());
  Blktrace t(1, recorder->get());
  ASSERT_TRUE(t.source->Start(0).ok());
  t.channel->pieces[0] = {Timestamp(1'700'000'000), Event(1, kWriteQ, 8, 4096)};
  ASSERT_TRUE(t.source->CloseWindow(kMinute).ok());
  ASSERT_TRUE((*recorder)->Close().ok());
  const auto trace = pam::ReadTrace((dir / "t.csv.zst").string());
  ASSERT_TRUE(trace.ok());
  EXPECT_EQ(trace->requests.at(0).time_us, 1'700'000'000'000'005);
  EXPECT_EQ(trace->requests.at(0).offset, 4096u);
  EXPECT_TRUE(trace->requests.at(0).write);
}

}  // namespace
}  // namespace shadow
