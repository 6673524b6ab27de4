// SPDX-License-Identifier: Apache-2.0
#include "pam/model/frame.h"

#include <zlib.h>

#include "pam/model/access_model.h"
#include "pam/model/bytes.h"

namespace shadow::pam {
std::uint32_t CrcOf(std::uint32_t crc, std::string_view bytes) {
  return static_cast<std::uint32_t>(
      crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string Head(std::uint32_t magic, std::uint64_t size, std::uint32_t crc) {
  std::string out;
  Put(&out, magic);
  Put(&out, kFileVersion);
  Put(&out, size);
  Put(&out, crc);
  // The shapes the file was made for; another build refuses it by name instead of by accident.
  Put(&out, static_cast<std::uint32_t>(kFeatures));
  Put(&out, static_cast<std::uint32_t>(kHidden));
  return out;
}

std::string Frame(std::uint32_t magic, const std::string& body) {
  return Head(magic, body.size(), CrcOf(0, body)) + body;
}

Result<std::string_view> Unframe(std::uint32_t magic, std::string_view bytes) {
  std::uint32_t got = 0;
  std::uint32_t version = 0;
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  std::uint32_t features = 0;
  std::uint32_t hidden = 0;
  if (!Get(&bytes, &got) || got != magic) {
    return MakeError(Code::kInvalidArgument,
                     magic == kModelMagic ? "this is no model file" : "this is no snapshot");
  }
  if (!Get(&bytes, &version)) return MakeError(Code::kDataLoss, "the file is cut short");
  if (version != kFileVersion) {
    return MakeError(Code::kInvalidArgument,
                     "the file has version " + std::to_string(version) + ", this build reads " +
                         std::to_string(kFileVersion),
                     "train the model again");
  }
  if (!Get(&bytes, &size) || !Get(&bytes, &crc) || !Get(&bytes, &features) ||
      !Get(&bytes, &hidden) || bytes.size() != size) {
    return MakeError(Code::kDataLoss, "the file is cut short or has bytes too many",
                     "copy it again or train again");
  }
  if (features != kFeatures || hidden != kHidden) {
    return MakeError(Code::kInvalidArgument, "the file was made for other features or another size",
                     "train the model again");
  }
  if (CrcOf(0, bytes) != crc) {
    return MakeError(Code::kDataLoss, "the file's checksum does not match: it is damaged",
                     "copy it again or train again");
  }
  return bytes;
}

}  // namespace shadow::pam
