// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/tls_files.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "daemon/rpc/errors.h"

namespace shadow::rpc {
namespace {

constexpr off_t kMaxFileBytes = 1 << 20;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

Bio ReaderOf(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Error CannotRead(const std::string& what, const std::string& path, int error) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  const bool denied = error == EACCES || error == EPERM;
  return MakeError(
      missing  ? Code::kNotFound
      : denied ? Code::kPermissionDenied
               : Code::kIoError,
      "The " + what + " " + path + " cannot be read: " + std::strerror(error) + ".",
      missing ? "Put it there, or name another file." : "Make it readable, or name another file.");
}

Result<std::string> ReadFile(const std::string& what, const std::string& path, bool is_secret) {
  if (path.empty()) {
    return MakeError(Code::kInvalidArgument, "No file is named for the " + what + ".",
                     "TLS needs a certificate, its key and the other side's authority.");
  }
  // O_NONBLOCK: a FIFO must not hold us.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return CannotRead(what, path, errno);
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd,
                                                                [](const int* f) { ::close(*f); });
  struct stat st {};
  if (::fstat(fd, &st) != 0) return CannotRead(what, path, errno);
  if (!S_ISREG(st.st_mode) || st.st_size > kMaxFileBytes) {
    return MakeError(Code::kInvalidArgument, "The " + what + " " + path + " is no PEM file.",
                     "Name a file in PEM format.");
  }
  if (is_secret && (st.st_mode & 0027U) != 0) {
    return MakeError(Code::kPermissionDenied,
                     "The " + what + " " + path + " is open to other users of this machine.",
                     "Run `chmod 600 " + path + "`, and make a new key if somebody may have it.");
  }
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CannotRead(what, path, errno);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  text.resize(done);
  return text;
}

std::string TimeText(const ASN1_TIME* time) {
  std::tm tm{};
  std::array<char, 32> text{};
  if (ASN1_TIME_to_tm(time, &tm) != 1 ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &tm) == 0) {
    return "an unknown time";
  }
  return text.data();
}

Status CheckTimes(const std::string& what, const std::string& path, const X509* certificate,
                  std::time_t now) {
  const ASN1_TIME* from = X509_get0_notBefore(certificate);
  const ASN1_TIME* until = X509_get0_notAfter(certificate);
  // Also refuses what cannot be compared (-2).
  if (ASN1_TIME_cmp_time_t(until, now) != 1) {
    return MakeError(Code::kInvalidArgument,
                     "The " + what + " " + path + " expired on " + TimeText(until) + ".",
                     "Renew it.");
  }
  if (const int order = ASN1_TIME_cmp_time_t(from, now); order != 0 && order != -1) {
    return MakeError(Code::kInvalidArgument,
                     "The " + what + " " + path + " is not valid before " + TimeText(from) + ".",
                     "Check the clock of this machine, or make a new certificate.");
  }
  return Ok();
}

/// All certificates in `pem`; at least one.
Result<std::vector<Certificate>> Certificates(const std::string& what, const std::string& path,
                                              const std::string& pem) {
  std::vector<Certificate> out;
  const Bio bio = ReaderOf(pem);
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    out.emplace_back(next);
  const unsigned long error = ERR_peek_last_error();  // NOLINT(google-runtime-int): OpenSSL's type
  const bool at_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (out.empty() || !at_end) {
    return MakeError(Code::kInvalidArgument,
                     "The " + what + " " + path + " holds no sound certificate in PEM format.",
                     "Name a file that `openssl x509 -in FILE -noout -text` can show.");
  }
  return out;
}

int NoPassphrase(char*, int, int, void*) { return 0; }

}  // namespace

Result<TlsPem> LoadTlsFiles(const TlsFiles& files, std::time_t now) {
  TlsPem pem;
  SHADOW_ASSIGN(pem.cert, ReadFile("certificate", files.cert, false));
  SHADOW_ASSIGN(pem.key, ReadFile("key", files.key, true));
  SHADOW_ASSIGN(pem.ca, ReadFile("authority", files.ca, false));

  SHADOW_ASSIGN(const auto chain, Certificates("certificate", files.cert, pem.cert));
  for (const Certificate& one : chain) {
    SHADOW_TRY(CheckTimes("certificate", files.cert, one.get(), now));
  }
  const Bio reader = ReaderOf(pem.key);
  const Key key(PEM_read_bio_PrivateKey(reader.get(), nullptr, NoPassphrase, nullptr));
  const bool belongs =
      key != nullptr && X509_check_private_key(chain.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return MakeError(Code::kInvalidArgument,
                     "The key " + files.key + " is no PEM key, or one with a passphrase.",
                     "Name a private key in PEM format without a passphrase.");
  }
  if (!belongs) {
    return MakeError(
        Code::kInvalidArgument,
        "The key " + files.key + " does not belong to the certificate " + files.cert + ".",
        "Name the key that the certificate was made for; the certificate itself comes first in its "
        "file.");
  }
  SHADOW_ASSIGN(const auto authorities, Certificates("authority", files.ca, pem.ca));
  for (const Certificate& one : authorities) {
    SHADOW_TRY(CheckTimes("authority", files.ca, one.get(), now));
    const bool is_authority = X509_check_ca(one.get()) != 0;
    if (is_authority) continue;
    return MakeError(Code::kInvalidArgument,
                     "The authority " + files.ca + " holds a certificate that may not sign others.",
                     "Name the certificate of the authority (CA), not one that it signed.");
  }
  return pem;
}

}  // namespace shadow::rpc
