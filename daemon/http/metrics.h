// SPDX-License-Identifier: Apache-2.0
// A picture in Prometheus' text format. Names, labels and meanings: docs/metrics.md.
#pragma once

#include <string>

#include "daemon/http/sampler.h"

namespace shadow::http {

/// `age_us`: how old the picture is. The answer is complete and ends with a newline.
[[nodiscard]] std::string MetricsText(const Picture& picture, std::int64_t age_us);

}  // namespace shadow::http
