// SPDX-License-Identifier: Apache-2.0
// What must not work: the read-only socket, garbage, requests out of range. Walks over all calls
// that the services declare, so a new call is covered on the day it is added. Health and reflection
// too.
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <regex>
#include <set>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/testing.h"
#include "daemon/rpc/validate.h"

namespace shadow::rpc {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class HostileTest : public ServerTest {};

TEST_F(HostileTest, ReadOnlySocketRefusesWhateverChangesSomething) {
  int refused = 0;
  for (const auto* method : AllMethods()) {
    if (OnlyReads(method)) continue;
    const RawAnswer answer = CallRaw(readonly_, PathOf(method), "");
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << PathOf(method);
    EXPECT_THAT(answer.status.error_message(), HasSubstr("read-only"));
    EXPECT_THAT(FromGrpcStatus(answer.status).hint, HasSubstr("admin socket"));
    ++refused;
  }
  EXPECT_GE(refused, 15);
  EXPECT_THAT(engine_.Calls(), IsEmpty());
}

TEST_F(HostileTest, ReadOnlySocketServesWhateverOnlyReads) {
  int served = 0;
  for (const auto* method : AllMethods()) {
    if (!OnlyReads(method)) continue;
    const RawAnswer answer = CallRaw(readonly_, PathOf(method), "");
    EXPECT_NE(answer.status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << PathOf(method);
    EXPECT_NE(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << PathOf(method);
    ++served;
  }
  EXPECT_GE(served, 15);
}

TEST_F(HostileTest, AnEmptyRequestNeedsAName) {
  // In these no volume means every volume.
  const std::set<std::string> all_volumes = {"ListModifications", "WatchEvents", "ListTiers",
                                             "Top"};
  int named = 0;
  for (const auto* method : AllMethods()) {
    const auto* input = method->input_type();
    const bool volume =
        input->FindFieldByName("volume") != nullptr && !all_volumes.contains(method->name());
    if (!volume && input->FindFieldByName("name") == nullptr &&
        input->FindFieldByName("id") == nullptr && input->FindFieldByName("spec") == nullptr) {
      continue;
    }
    ++named;
    const RawAnswer answer = CallRaw(admin_, PathOf(method), "");
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << PathOf(method);
    EXPECT_FALSE(FromGrpcStatus(answer.status).hint.empty()) << PathOf(method);
  }
  EXPECT_GE(named, 20);
  EXPECT_THAT(engine_.Calls(), IsEmpty());
}

TEST_F(HostileTest, GarbageIsAnsweredAndTheServerLives) {
  std::mt19937 random(20261123);
  for (const auto* method : AllMethods()) {
    // Watches do not end; the maps do.
    if (method->name().starts_with("Watch")) continue;
    for (int i = 0; i < 40; ++i) {
      std::string bytes(random() % 300, '\0');
      for (char& c : bytes) c = static_cast<char>(random());
      const RawAnswer answer = CallRaw(admin_, PathOf(method), bytes);
      EXPECT_NE(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
      EXPECT_NE(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    }
  }
  const RawAnswer huge =
      CallRaw(admin_, "/shadow.v1.VolumeService/GetVolume", std::string(1 << 20, 'a'));
  EXPECT_FALSE(huge.status.ok());
  EXPECT_TRUE(CallRaw(admin_, "/shadow.v1.VolumeService/ListVolumes", "").status.ok());
}

TEST_F(HostileTest, UnknownCallsAreUnimplemented) {
  EXPECT_EQ(CallRaw(admin_, "/shadow.v1.VolumeService/Format", "").status.error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(HostileTest, HealthSaysServing) {
  for (const auto& channel : {admin_, readonly_}) {
    const RawAnswer all = CallRaw(channel, "/grpc.health.v1.Health/Check", "");
    ASSERT_TRUE(all.status.ok()) << all.status.error_message();
    EXPECT_EQ(all.bytes, "\x08\x01");  // status: SERVING
    const std::string name = "shadow.v1.VolumeService";
    const RawAnswer one = CallRaw(channel, "/grpc.health.v1.Health/Check",
                                  "\x0a" + std::string(1, static_cast<char>(name.size())) + name);
    EXPECT_EQ(one.bytes, "\x08\x01");
  }
}

TEST_F(HostileTest, ReflectionNamesTheServices) {
  grpc::GenericStub stub(admin_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto wait = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  ASSERT_TRUE(wait());
  const grpc::Slice request(std::string("\x3a\x00", 2));  // list_services: ""
  call->Write(grpc::ByteBuffer(&request, 1), nullptr);
  ASSERT_TRUE(wait());
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  ASSERT_TRUE(wait());
  grpc::Slice flat;
  ASSERT_TRUE(response.DumpToSingleSlice(&flat).ok());
  const std::string bytes(reinterpret_cast<const char*>(flat.begin()), flat.size());
  std::set<std::string> known;
  for (const auto* method : AllMethods()) {
    EXPECT_THAT(bytes, HasSubstr(method->service()->full_name()));
    known.insert(method->service()->full_name());
  }
  // And nothing is served that the walks above do not know.
  const std::regex service("[a-z][a-z0-9]*(\\.[a-z][a-z0-9]*)*\\.v1(alpha)?\\.[A-Z][A-Za-z]+");
  for (std::sregex_iterator it(bytes.begin(), bytes.end(), service), end; it != end; ++it) {
    const std::string name = it->str();
    EXPECT_TRUE(known.contains(name) || name.starts_with("grpc.")) << name;
  }
  call->WritesDone(nullptr);
  wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
}

TEST(ValidateTest, Names) {
  for (const char* good : {"db0", "a", "_x", "vol.1-b", "0"})
    EXPECT_TRUE(CheckVolumeName(good).ok());
  EXPECT_TRUE(CheckVolumeName(std::string(64, 'a')).ok());
  for (const std::string& bad :
       {std::string(), std::string("."), std::string("-x"), std::string("a/b"), std::string("a b"),
        std::string("a\nb"), std::string("\0", 1), std::string(65, 'a'), std::string("a\xc3\xa4"),
        std::string("$(reboot)")}) {
    const Status status = CheckVolumeName(bad);
    ASSERT_FALSE(status.ok()) << bad;
    EXPECT_EQ(status.error().code, Code::kInvalidArgument);
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  }
}

TEST(ValidateTest, PlacesAndDevices) {
  for (const char* good : {"hdd", "/dev/sda", "/dev/disk/by-id/scsi-0:1+x=2", "/dev/vg/lv"}) {
    EXPECT_TRUE(CheckPlace("place", good).ok()) << good;
  }
  for (const std::string& bad :
       {std::string("/etc/passwd"), std::string("/dev/"), std::string("/dev/a b"),
        std::string("/dev/../etc/shadow"), std::string("/dev/x/.."), std::string("/dev//sda"),
        std::string("/dev/sda\n"), std::string("h/d"), std::string(), std::string("/dev/a'b"),
        "/dev/" + std::string(300, 'x')}) {
    EXPECT_FALSE(CheckPlace("place", bad).ok()) << bad;
  }
}

TEST(ValidateTest, NumbersAndSpecs) {
  EXPECT_TRUE(CheckBlockSize(0).ok());
  EXPECT_TRUE(CheckBlockSize(65536).ok());
  EXPECT_TRUE(CheckBlockSize(16 << 20).ok());
  for (std::uint64_t bad : {1u, 32768u, 65537u, 3u << 16, 32u << 20}) {
    EXPECT_FALSE(CheckBlockSize(bad).ok());
  }
  EXPECT_FALSE(CheckSize("size", 0).ok());
  EXPECT_TRUE(CheckSize("size", kMaxVolumeBytes).ok());
  EXPECT_FALSE(CheckSize("size", kMaxVolumeBytes + 1).ok());
  EXPECT_FALSE(CheckSize("size", ~std::uint64_t{0}).ok());
  EXPECT_TRUE(CheckRate(0).ok());
  EXPECT_FALSE(CheckRate(kMaxRate + 1).ok());
  EXPECT_TRUE(CheckGrace(0).ok());
  EXPECT_FALSE(CheckGrace(-1).ok());
  EXPECT_FALSE(CheckGrace(kMaxGraceMs + 1).ok());
  for (const char* good : {"20G", "+10G", "-5G", "+50%", "1.5T", "150%", "20 GiB"}) {
    EXPECT_TRUE(CheckSizeSpec(good).ok()) << good;
  }
  for (const char* bad :
       {"", "+", "G", "++1G", "1G;", "-", "%", "1e9\n", "123456789012345678901234567890123"}) {
    EXPECT_FALSE(CheckSizeSpec(bad).ok()) << bad;
  }
  EXPECT_TRUE(CheckRequestId("").ok());
  EXPECT_TRUE(CheckRequestId("6c1e:a.b_c-d").ok());
  EXPECT_FALSE(CheckRequestId("a b").ok());
  EXPECT_FALSE(CheckRequestId(std::string(129, 'a')).ok());
}

TEST(ValidateTest, Modifications) {
  v1::ModificationSpec good;
  good.set_volume("db0");
  good.set_to("nvme");
  ASSERT_TRUE(FromProto(good).ok());
  const auto refused = [&](const std::function<void(v1::ModificationSpec&)>& spoil) {
    v1::ModificationSpec spec = good;
    spoil(spec);
    const auto result = FromProto(spec);
    return !result.ok() && result.error().code == Code::kInvalidArgument &&
           !result.error().hint.empty();
  };
  EXPECT_TRUE(refused([](auto& s) { s.clear_to(); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_volume(""); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_size_bytes(0); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_size_spec(""); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_impact(static_cast<v1::Impact>(9)); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_retire(static_cast<v1::RetirePolicy>(-1)); }));
  EXPECT_TRUE(refused([](auto& s) { s.mutable_grace()->set_seconds(-1); }));
  EXPECT_TRUE(refused([](auto& s) { s.mutable_grace()->set_nanos(-1); }));
  EXPECT_TRUE(refused([](auto& s) { s.mutable_grace()->set_seconds(INT64_MAX); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_rate_bytes_per_second(UINT64_MAX); }));
  EXPECT_TRUE(refused([](auto& s) { s.set_to("/etc"); }));
}

TEST(ValidateTest, Tiers) {
  EXPECT_TRUE(CheckTierSize("/dev/sda", 0).ok());
  EXPECT_FALSE(CheckTierSize("nvme", 0).ok());
  EXPECT_TRUE(CheckTierSize("nvme", 1).ok());
  EXPECT_FALSE(CheckTierSize("nvme", kMaxVolumeBytes + 1).ok());
  EXPECT_TRUE(CheckForget(true, true).ok());
  EXPECT_FALSE(CheckForget(false, true).ok());
  for (double good : {0.0, 0.7, 1.0}) EXPECT_TRUE(CheckHeat(good).ok());
  for (double bad : {-0.001, 1.001, 1e300, -1e300, std::numeric_limits<double>::quiet_NaN(),
                     std::numeric_limits<double>::infinity()}) {
    EXPECT_FALSE(CheckHeat(bad).ok()) << bad;
  }
  EXPECT_TRUE(CheckThresholds(700, 700).ok());
  EXPECT_FALSE(CheckThresholds(300, 301).ok());
  EXPECT_FALSE(CheckThresholds(1001, 0).ok());
  EXPECT_FALSE(CheckBudget(0).ok());
  EXPECT_TRUE(CheckBudget(kMaxBudget).ok());
  EXPECT_FALSE(CheckBudget(kMaxBudget + 1).ok());
  EXPECT_FALSE(CheckWindow(-1).ok());
  EXPECT_FALSE(CheckWindow(99).ok());
  EXPECT_TRUE(CheckWindow(100).ok());
  EXPECT_FALSE(CheckWindow(kMaxWindowMs + 1).ok());
  EXPECT_TRUE(CheckHeatRanges(4096).ok());
  EXPECT_FALSE(CheckHeatRanges(4097).ok());
}

TEST(ValidateTest, TierRequests) {
  v1::AddTierRequest add;
  add.set_volume("db0");
  add.set_level(v1::TIER_LEVEL_TIER1);
  add.set_to("nvme");
  add.set_size_bytes(1 << 30);
  ASSERT_TRUE(FromProto(add).ok());
  EXPECT_FALSE(FromProto(add)->write_back);
  const auto refused = [](const auto& good, const auto& spoil) {
    auto request = good;
    spoil(request);
    const auto result = FromProto(request);
    return !result.ok() && result.error().code == Code::kInvalidArgument &&
           !result.error().hint.empty();
  };
  EXPECT_TRUE(refused(add, [](auto& r) { r.clear_level(); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.set_level(static_cast<v1::TierLevel>(3)); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.set_level(static_cast<v1::TierLevel>(-1)); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.set_volume("a/b"); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.set_to("/etc/passwd"); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.clear_to(); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.clear_size_bytes(); }));
  EXPECT_TRUE(refused(add, [](auto& r) { r.set_write_mode(static_cast<v1::TierWriteMode>(9)); }));
  v1::RemoveTierRequest remove;
  remove.set_volume("db0");
  remove.set_level(v1::TIER_LEVEL_TIER2);
  ASSERT_TRUE(FromProto(remove).ok());
  EXPECT_TRUE(refused(remove, [](auto& r) { r.set_lost(true); }));
  EXPECT_TRUE(refused(remove, [](auto& r) { r.clear_volume(); }));
  EXPECT_TRUE(refused(remove, [](auto& r) { r.clear_level(); }));

  v1::TierPolicy policy;
  const TierPolicy now;
  EXPECT_EQ(*Changed(now, policy), now);
  const auto wrong = [&](const auto& spoil) {
    v1::TierPolicy wanted;
    spoil(wanted);
    const auto result = Changed(now, wanted);
    return !result.ok() && result.error().code == Code::kInvalidArgument &&
           !result.error().hint.empty();
  };
  EXPECT_TRUE(wrong([](auto& p) { p.set_policy(static_cast<v1::PlacementPolicy>(77)); }));
  EXPECT_TRUE(wrong([](auto& p) { p.set_tier1_heat(0.2); }));  // below tier 2's
  EXPECT_TRUE(wrong([](auto& p) { p.set_tier2_heat(0.8); }));
  EXPECT_TRUE(wrong([](auto& p) { p.set_tier1_heat(std::nan("")); }));
  EXPECT_TRUE(wrong([](auto& p) { p.set_budget_bytes_per_minute(0); }));
  EXPECT_TRUE(wrong([](auto& p) { p.set_budget_bytes_per_minute(UINT64_MAX); }));
  EXPECT_TRUE(wrong([](auto& p) { p.mutable_window(); }));
  EXPECT_TRUE(wrong([](auto& p) { p.mutable_window()->set_seconds(INT64_MAX); }));
  EXPECT_TRUE(wrong([](auto& p) { p.mutable_window()->set_nanos(-1); }));
  EXPECT_TRUE(wrong([](auto& p) { p.set_impact(static_cast<v1::Impact>(9)); }));
}

TEST(ErrorsTest, ForeignStatusesBecomeErrors) {
  using grpc::StatusCode;
  EXPECT_EQ(FromGrpcStatus({StatusCode::DEADLINE_EXCEEDED, "late"}).code, Code::kUnavailable);
  EXPECT_EQ(FromGrpcStatus({StatusCode::CANCELLED, ""}).code, Code::kAborted);
  EXPECT_EQ(FromGrpcStatus({StatusCode::RESOURCE_EXHAUSTED, "quota"}).code, Code::kUnavailable);
  EXPECT_EQ(FromGrpcStatus({StatusCode::UNKNOWN, "?"}).code, Code::kInternal);
  EXPECT_EQ(FromGrpcStatus({StatusCode::NOT_FOUND, "gone", "\xff\xff garbage"}).code,
            Code::kNotFound);
  EXPECT_FALSE(FromGrpcStatus({StatusCode::INTERNAL, ""}).message.empty());
}

TEST(ErrorsTest, QuoteIsHarmless) {
  EXPECT_EQ(Quote("a\n\x1b[31m\xff"), "'a??[31m?'");
  EXPECT_LE(Quote(std::string(1000, 'x')).size(), 70u);
}

}  // namespace
}  // namespace shadow::rpc
