// SPDX-License-Identifier: Apache-2.0
#include "daemon/http/tokens.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <sstream>

#include "daemon/base/unique_fd.h"

namespace shadow::http {
namespace {

constexpr std::size_t kShortest = 20, kLongest = 256;
constexpr std::size_t kMostBytes = std::size_t{64} << 10;

// Takes as long for a token that is right for its first half as for any other of its length.
bool Same(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

template <typename Each>
void ForEach(const std::string& text, const Each& each) {
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    std::string name;
    std::string token;
    std::string more;
    if (!(words >> name) || name[0] == '#') continue;
    words >> token >> more;
    each(number, name, token, more);
  }
}

}  // namespace

Result<std::string> Tokens::Read() const {
  const UniqueFd fd(::open(file_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat is {};
  if (!fd.ok() || ::fstat(fd.get(), &is) != 0) {
    return MakeError(Code::kNotFound, "The file of tokens " + file_ + " cannot be read.",
                     "make it: install -m 600 /dev/null " + file_);
  }
  if (!S_ISREG(is.st_mode) || (is.st_mode & 077) != 0 || is.st_uid != ::geteuid()) {
    return MakeError(Code::kPermissionDenied,
                     "The file of tokens " + file_ + " is not closed to others.",
                     "chown it to the user of shadowd and chmod 600 it");
  }
  std::string text;
  std::array<char, 4096> part{};
  ssize_t got = 0;
  while (text.size() < kMostBytes && (got = ::read(fd.get(), part.data(), part.size())) > 0) {
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

Status Tokens::Check() const {
  if (!any()) return Ok();
  SHADOW_ASSIGN(const std::string text, Read());
  int wrong = 0;
  ForEach(text,
          [&](int number, const std::string&, const std::string& token, const std::string& more) {
            const bool good = token.size() >= kShortest && token.size() <= kLongest && more.empty();
            if (!good && wrong == 0) wrong = number;
          });
  if (wrong == 0) return Ok();
  return MakeError(Code::kInvalidArgument,
                   file_ + ", line " + std::to_string(wrong) +
                       ": not a name and a token of 20 to 256 characters.",
                   "write \"NAME TOKEN\"; openssl rand -hex 16 makes a token");
}

Result<std::string> Tokens::NameOf(const std::string& authorization) const {
  const Error nobody =
      MakeError(Code::kPermissionDenied, "Without a valid token this page only reads.",
                any() ? "give one of the tokens in the token_file of [http]"
                      : "set token_file in [http] of shadowd.toml, or use shadowctl");
  constexpr const char* kBearer = "Bearer ";
  if (!any() || authorization.rfind(kBearer, 0) != 0) return nobody;
  const std::string given = authorization.substr(7);
  const auto text = Read();
  if (!text.ok() || given.size() < kShortest || given.size() > kLongest) return nobody;
  std::string who;
  ForEach(*text,
          [&](int, const std::string& name, const std::string& token, const std::string& more) {
            if (more.empty() && Same(token, given)) who = name;
          });
  if (who.empty()) return nobody;
  return who;
}

}  // namespace shadow::http
