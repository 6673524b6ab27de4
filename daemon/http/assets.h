// SPDX-License-Identifier: Apache-2.0
// The files of the page, compressed, as the build put them into the program (web/build.mjs), or one
// that says that it was built without.
#pragma once

#include <cstddef>

namespace shadow::http {

struct Asset {
  const char* path;  // "/app.js"
  const char* type;  // Content-Type
  const char* etag;  // of the content, in quotes
  const unsigned char* gzip;
  std::size_t size;  // of `gzip`
};

extern const Asset kAssets[];
extern const std::size_t kAssetCount;

}  // namespace shadow::http
