// SPDX-License-Identifier: Apache-2.0
// What the page is told, as JSON. It belongs to the page that the same daemon serves and changes
// with it; programs use gRPC. Sizes are bytes, times milliseconds since the epoch, latencies
// microseconds; numbers beyond 2^53 lose their last digits in the browser, which only shows them.
#pragma once

#include <string>
#include <vector>

#include "daemon/http/sampler.h"

namespace shadow::http {

/// Everything but the courses of modifications. `now_ms`: the daemon's time, so that the page can
/// tell how old it is whatever its own clock says.
[[nodiscard]] std::string StateJson(const Picture& picture);
[[nodiscard]] std::string CourseJson(const Course& course);
[[nodiscard]] std::string MapJson(const std::vector<MapCell>& cells, std::uint64_t blocks,
                                  std::uint64_t block_bytes);
/// {"error": ..., "hint": ...}
[[nodiscard]] std::string ErrorJson(const Error& error);

}  // namespace shadow::http
