// SPDX-License-Identifier: Apache-2.0
// Who may do what: the role of whoever calls.
//
// On a Unix socket the file's mode has decided already, and everybody who gets in has the socket's
// role. Over TLS the certificate decides: its names are looked up in the lists of [listen]. Pure,
// never changes after start, so many threads may ask at once. Whoever has no role gets nothing.
#pragma once

#include <grpcpp/security/auth_context.h>

#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace shadow::rpc {

enum class Role { kAdmin, kReadonly };

/// "CN:name", "DNS:name" or "URI:name": how a certificate's names are written in the lists.
/// kInvalidArgument for anything else; there are no patterns.
[[nodiscard]] Status CheckPeerName(const std::string& name);

/// The lists of [listen]: which names have which role.
struct RoleMap {
  std::vector<std::string> admin;
  std::vector<std::string> readonly;

  /// kInvalidArgument if it is empty, holds a name that is none, or one name in both lists.
  [[nodiscard]] Status Check() const;
  /// The role of a certificate with `names`; the lesser one if they have both, so that a name can
  /// be taken away from an administrator by listing another as readonly. kPermissionDenied: none.
  [[nodiscard]] Result<Role> RoleOf(const std::vector<std::string>& names) const;
};

/// The names in the verified certificate of a peer, as in RoleMap; empty if there is none.
[[nodiscard]] std::vector<std::string> PeerNames(const grpc::AuthContext& peer);

/// One way into the daemon, and the role of those who come through it.
class Door {
 public:
  /// Everybody has `role`: a Unix socket.
  explicit Door(Role role) : role_(role) {}
  /// Each peer has the role of its certificate.
  explicit Door(RoleMap roles) : by_certificate_(true), roles_(std::move(roles)) {}

  [[nodiscard]] bool by_certificate() const { return by_certificate_; }
  /// The file mode of a Unix socket with this door.
  [[nodiscard]] unsigned socket_mode() const { return role_ == Role::kAdmin ? 0660 : 0666; }
  /// kPermissionDenied if the peer has none.
  [[nodiscard]] Result<Role> RoleOf(const grpc::AuthContext& peer) const;
  /// What somebody is told who may only read.
  [[nodiscard]] Error MayOnlyRead(const grpc::AuthContext& peer) const;

 private:
  Role role_ = Role::kReadonly;
  bool by_certificate_ = false;
  RoleMap roles_;
};

}  // namespace shadow::rpc
