// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/overwrite.h"

namespace shadow::ctl {

std::string WantsOverwrite(const Error& error) {
  const std::string flag = "--overwrite ";
  const std::size_t at = error.hint.find(flag);
  if (error.code != Code::kFailedPrecondition || at == std::string::npos) return "";
  const std::size_t from = at + flag.size();
  return error.hint.substr(from, error.hint.find_first_of("; ", from) - from);
}

std::string AskOverwrite(Context& context, const Error& error) {
  const std::string types = WantsOverwrite(error);
  if (types.empty() || !context.in_is_terminal) return "";
  context.err << error.message << "\nIt would be lost. Type " << types
              << " to write over it: " << std::flush;
  std::string answer;
  std::getline(context.in, answer);
  return answer == types ? types : "";
}

}  // namespace shadow::ctl
