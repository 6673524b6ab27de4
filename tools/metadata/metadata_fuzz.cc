// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any image of a metadata device, through everything that shadow_check and shadow_dump
// do with it. The first byte: bit 0 seals superblocks and pages, so that the fuzzer gets past the
// checksums; bits 1-2 what repairs may assume. Repairs must leave an image that needs none.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tools/metadata/check.h"
#include "tools/metadata/dump.h"

namespace {

using shadow::metadata::Bytes;
using shadow::metadata::kPage;
constexpr std::size_t kPages = 2 + 8;

void PutChecksum(std::uint8_t* page, std::size_t at, std::size_t from) {
  const u32 crc = shadow_crc32c(~0u, page + from, kPage - from);
  for (int i = 0; i < 4; i++)
    page[at + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(crc >> (8 * i));
}

/// The input is two superblocks and eight page copies, each as long as there is input: its first
/// bytes, and the rest zero. The copies follow each other: state pages from below, slot pages from
/// above, for a superblock that puts its slot end at the end of one of them.
Bytes DeviceBytes(const std::uint8_t* data, std::size_t size, bool seal) {
  Bytes device(64 * 1024 + (kPages - 2) * kPage);
  constexpr std::size_t kPart = 576;  // all legs of a superblock
  for (std::size_t i = 0; i < kPages && i * kPart < size; i++) {
    std::uint8_t* page = device.data() + (i < 2 ? i * kPage : 64 * 1024 + (i - 2) * kPage);
    std::memcpy(page, data + i * kPart, std::min(kPart, size - i * kPart));
    if (!seal) continue;
    if (i < 2)
      PutChecksum(page, 8, 12);
    else
      PutChecksum(page, 4, 8);
  }
  return device;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shadow::metadata;  // NOLINT: a program of one function
  if (size < 1) return 0;
  Bytes bytes = DeviceBytes(data + 1, size - 1, data[0] & 1);
  const auto assume = static_cast<Assume>(data[0] >> 1 & 3);
  const Image image(bytes);
  const Report report = Check(image, bytes.size(), assume);
  (void)ReportText(report);
  (void)ReportJson(report, 0);
  (void)DumpText(image);
  const std::string json = DumpJson(image);
  if (const auto back = ImageFromJson(json); back.ok()) {
    if (!back->newest()) __builtin_trap();
    if (ImageFromJson(DumpJson(*back)).ok() == false) __builtin_trap();
  }
  for (const Write& w : report.repairs) {
    if (w.offset % kPage || w.data.size() != kPage) __builtin_trap();
    if (w.offset + kPage > bytes.size()) __builtin_trap();
    std::copy(w.data.begin(), w.data.end(), bytes.begin() + static_cast<long>(w.offset));
  }
  if (!report.repairs.empty()) {
    const Report after = Check(Image(bytes), bytes.size(), assume);
    if (after.Has(Finding::Kind::kRepair)) __builtin_trap();
  }
  return 0;
}
