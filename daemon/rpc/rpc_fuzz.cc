// SPDX-License-Identifier: Apache-2.0
// Fuzz target: requests as they come from the wire. The first byte picks the message; any bytes
// that protobuf takes go through the conversion and all checks of their fields.
#include <cstdint>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/validate.h"

namespace {

template <class Message>
Message Parsed(const std::uint8_t* data, std::size_t size) {
  Message m;
  (void)m.ParseFromArray(data, static_cast<int>(size));
  return m;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shadow::rpc;  // NOLINT: a program of one function
  namespace v1 = shadow::v1;
  if (size < 1) return 0;
  const std::uint8_t kind = data[0] % 8;
  data++;
  size--;
  switch (kind) {
    case 0: {
      const auto r = FromProto(Parsed<v1::CreateVolumeRequest>(data, size));
      if (r.ok() && !CheckVolumeName(r->name).ok()) __builtin_trap();
      break;
    }
    case 1: {
      const auto r = FromProto(Parsed<v1::ImportVolumeRequest>(data, size));
      if (r.ok() && !CheckVolumeName(r->name).ok()) __builtin_trap();
      break;
    }
    case 2:
      (void)FromProto(Parsed<v1::ModificationSpec>(data, size)).ok();
      break;
    case 3: {
      const std::string_view text(reinterpret_cast<const char*>(data), size);
      (void)CheckVolumeName(text).ok();
      (void)CheckModificationId(text).ok();
      (void)CheckRequestId(text).ok();
      (void)CheckDevice("device", text).ok();
      (void)CheckPlace("to", text).ok();
      (void)CheckSizeSpec(text).ok();
      break;
    }
    case 4: {
      const auto r = FromProto(Parsed<v1::AddTierRequest>(data, size));
      if (r.ok() && (!CheckVolumeName(r->volume).ok() || !CheckPlace("to", r->to).ok())) {
        __builtin_trap();
      }
      break;
    }
    case 5: {
      const auto r = FromProto(Parsed<v1::RemoveTierRequest>(data, size));
      if (r.ok() && r->lost && !r->forget) __builtin_trap();
      break;
    }
    case 6: {
      const auto wanted = Parsed<v1::TierPolicy>(data, size);
      const auto r = Changed(shadow::TierPolicy(), wanted);
      if (!r.ok()) break;
      if (r->tier1_heat_permille > 1000 || r->tier2_heat_permille > r->tier1_heat_permille ||
          r->window_ms < kMinWindowMs || r->window_ms > kMaxWindowMs || r->impact > 2) {
        __builtin_trap();
      }
      // What was taken can be said and taken again.
      const auto again = Changed(shadow::TierPolicy(), ToProto(*r));
      if (!again.ok() || !(*again == *r)) __builtin_trap();
      break;
    }
    default:
      (void)FromProto(Parsed<v1::ModificationSpec>(data, size).impact()).ok();
  }
  return 0;
}
