// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/context.h"

namespace shadow::ctl {

int Context::Fail(const Error& error) {
  const ErrorRow& row = RowOf(error.code);
  out.flush();
  if (json()) {
    err << ToJson(error).dump() << '\n';
  } else {
    err << terminal.Paint(Colour::kRed, "shadowctl:") << ' ' << error.message << '\n';
    if (!error.hint.empty()) err << "  hint: " << error.hint << '\n';
  }
  return row.exit_code;
}

}  // namespace shadow::ctl
