// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/shrink_guard.h"

#include "daemon/base/sizes.h"

namespace shadow {
namespace {

// Whether something has the volume open that Inspect did not see: a loop device, an exported
// target, a process shadowd may not look at. Such a one may change the file system at any time.
bool OpenedUnseen(const Deps& deps, const std::string& volume, const FsInfo& fs) {
  const auto info = deps.dm->Info(volume);
  return info.ok() && info->open_count > static_cast<std::int64_t>(fs.openers);
}

}  // namespace

ShrinkVerdict LookBeyond(const Deps& deps, const std::string& volume, std::uint64_t new_bytes) {
  const std::string device = DevicePath(volume);
  auto fs = deps.fs->Inspect(device);
  bool unseen = fs.ok() && OpenedUnseen(deps, volume, *fs);
  if (unseen) {  // perhaps somebody (udev) who opened it in passing
    fs = deps.fs->Inspect(device);
    unseen = fs.ok() && OpenedUnseen(deps, volume, *fs);
  }
  if (unseen) {
    fs->end_bytes = 0;
    fs->doubt =
        "Something has it open that shadowd cannot see (a loop device, an exported target, a "
        "process).";
  }
  if (!fs.ok()) return {false, false, fs.error().message};
  if (fs->end_bytes == 0) {
    const std::string what = fs->type.empty() ? "no known file system" : fs->type;
    std::string why = "It cannot be told whether what lies on " + volume + " (" + what +
                      ") ends before the new end.";
    if (!fs->doubt.empty()) why += " " + fs->doubt;
    return {false, false, why};
  }
  if (fs->end_bytes <= new_bytes) return {true, true, ""};
  return {false, true,
          "The " + fs->type + " file system on " + volume + " ends at " +
              FormatSize(fs->end_bytes) + ", beyond the new end " + FormatSize(new_bytes) + "."};
}

Status GuardShrink(const Deps& deps, const std::string& volume, std::uint64_t new_bytes,
                   bool force) {
  if (force) return Ok();
  const ShrinkVerdict verdict = LookBeyond(deps, volume, new_bytes);
  if (verdict.fits) return Ok();
  return MakeError(Code::kFailedPrecondition, verdict.why,
                   verdict.known ? "shrink the file system first, or force it"
                                 : "if you know that it does: --force-shrink");
}

}  // namespace shadow
