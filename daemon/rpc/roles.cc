// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/roles.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>

#include "daemon/rpc/errors.h"

namespace shadow::rpc {
namespace {

constexpr std::size_t kMaxNameBytes = 512;

/// "CN:a, DNS:b": for a message.
std::string List(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + Quote(name);
  return out.empty() ? "without a name" : out;
}

bool Contains(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

Status CheckPeerName(const std::string& name) {
  const bool kind = name.starts_with("CN:") || name.starts_with("DNS:") || name.starts_with("URI:");
  const bool characters = std::all_of(
      name.begin(), name.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f && c != '*'; });
  if (kind && characters && name.size() > name.find(':') + 1 && name.size() <= kMaxNameBytes) {
    return Ok();
  }
  return MakeError(Code::kInvalidArgument, Quote(name) + " names no certificate.",
                   "Write CN:, DNS: or URI: and the name as it stands in the certificate; patterns "
                   "are not known.");
}

Status RoleMap::Check() const {
  if (admin.empty() && readonly.empty()) {
    return MakeError(Code::kInvalidArgument, "Nobody has a role on the TCP port.",
                     "Name certificates in [listen] admin or readonly, or remove [listen].");
  }
  for (const auto* list : {&admin, &readonly}) {
    for (const std::string& name : *list) SHADOW_TRY(CheckPeerName(name));
  }
  for (const std::string& name : admin) {
    if (!Contains(readonly, name)) continue;
    return MakeError(Code::kInvalidArgument, Quote(name) + " is admin and readonly at once.",
                     "Remove it from one of the two lists.");
  }
  return Ok();
}

Result<Role> RoleMap::RoleOf(const std::vector<std::string>& names) const {
  const auto listed = [&](const std::vector<std::string>& list) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& name) { return Contains(list, name); });
  };
  if (listed(readonly)) return Role::kReadonly;
  if (listed(admin)) return Role::kAdmin;
  return MakeError(Code::kPermissionDenied,
                   "Your certificate (" + List(names) + ") has no role on this daemon.",
                   "Have one of its names added to [listen] admin or readonly in shadowd.toml.");
}

std::vector<std::string> PeerNames(const grpc::AuthContext& peer) {
  std::vector<std::string> names;
  if (!peer.IsPeerAuthenticated()) return names;
  const auto add = [&](const char* property, const std::string& kind) {
    for (const grpc::string_ref& value : peer.FindPropertyValues(property)) {
      if (!value.empty()) names.push_back(kind + std::string(value.data(), value.size()));
    }
  };
  add(GRPC_X509_CN_PROPERTY_NAME, "CN:");
  add(GRPC_PEER_DNS_PROPERTY_NAME, "DNS:");
  add(GRPC_PEER_URI_PROPERTY_NAME, "URI:");
  return names;
}

Result<Role> Door::RoleOf(const grpc::AuthContext& peer) const {
  if (!by_certificate_) return role_;
  return roles_.RoleOf(PeerNames(peer));
}

Error Door::MayOnlyRead(const grpc::AuthContext& peer) const {
  if (!by_certificate_) {
    return MakeError(Code::kPermissionDenied,
                     "This socket is read-only, and the call would change something.",
                     "Use the admin socket, as root.");
  }
  return MakeError(
      Code::kPermissionDenied,
      "Your certificate (" + List(PeerNames(peer)) +
          ") has the role readonly, and the call would change something.",
      "Use a certificate that [listen] admin names in shadowd.toml, or the admin socket.");
}

}  // namespace shadow::rpc
