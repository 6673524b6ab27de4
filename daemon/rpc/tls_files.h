// SPDX-License-Identifier: Apache-2.0
// Certificate, key and authority of one side of a TLS connection, read and looked at before gRPC
// gets them: gRPC's own errors do not say what is wrong with which file.
//
// Used by the server and by shadowctl. Each file is opened once, and what was checked is what is
// used. Fails with one sentence that names the file; nothing is asked on the terminal.
#pragma once

#include <ctime>
#include <string>

#include "daemon/base/result.h"

namespace shadow::rpc {

/// Paths. `cert` holds the certificate and what leads from it to the authority, `ca` the
/// authorities the other side may be of.
struct TlsFiles {
  std::string cert;
  std::string key;
  std::string ca;
};

/// What the files hold, as PEM.
struct TlsPem {
  std::string cert;
  std::string key;
  std::string ca;
};

/// Reads and checks them as of `now`: all are there, the key belongs to the certificate, has no
/// passphrase and is closed to other users, no certificate is expired or of the future,
/// `ca` holds authorities. kNotFound, kPermissionDenied, kInvalidArgument.
[[nodiscard]] Result<TlsPem> LoadTlsFiles(const TlsFiles& files, std::time_t now);

}  // namespace shadow::rpc
