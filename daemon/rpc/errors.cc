// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/errors.h"

#include "daemon/base/error_table.h"
#include "proto/shadow/v1/error.pb.h"

namespace shadow::rpc {
namespace {

constexpr char kDomain[] = "shadow.v1";
constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kHelpUrl[] = "type.googleapis.com/google.rpc.Help";
// Room for every header a status travels in: gRPC refuses metadata above 8 KiB.
constexpr std::size_t kMaxText = 1500;

std::string Shorten(std::string text) {
  if (text.size() <= kMaxText) return text;
  std::size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // whole UTF-8
  text.resize(end);
  return text + "...";
}

bool CodeOfName(std::string_view name, Code* code) {
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
    const ErrorRow& row = RowOf(static_cast<Code>(i));
    if (row.name == name) {
      *code = row.code;
      return true;
    }
  }
  return false;
}

/// For statuses that gRPC made itself.
Error FromBareStatus(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return MakeError(Code::kUnavailable, "The daemon did not answer in time.",
                       "Look at `systemctl status shadowd`; the call is safe to repeat.");
    case grpc::StatusCode::CANCELLED:
      return MakeError(Code::kAborted, "The call was cancelled.");
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return MakeError(Code::kUnavailable, "The daemon is busy: " + status.error_message() + ".",
                       "Try again in a moment.");
    default:
      return MakeError(RowOfGrpcStatus(status.error_code()).code, status.error_message().empty()
                                                                      ? "The call failed."
                                                                      : status.error_message());
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const Error& error) {
  const ErrorRow& row = RowOf(error.code);
  const std::string message = Shorten(error.message);
  v1::RichStatus rich;
  rich.set_code(row.grpc_status);
  rich.set_message(message);
  v1::ErrorInfo info;
  info.set_reason(std::string(row.name));
  info.set_domain(kDomain);
  google::protobuf::Any* any = rich.add_details();
  any->set_type_url(kErrorInfoUrl);
  any->set_value(info.SerializeAsString());
  if (!error.hint.empty()) {
    v1::Help help;
    v1::Help::Link* link = help.add_links();
    link->set_description(Shorten(error.hint));
    link->set_url("man:shadowctl(1)");
    any = rich.add_details();
    any->set_type_url(kHelpUrl);
    any->set_value(help.SerializeAsString());
  }
  return {static_cast<grpc::StatusCode>(row.grpc_status), message, rich.SerializeAsString()};
}

Error FromGrpcStatus(const grpc::Status& status) {
  v1::RichStatus rich;
  if (status.error_details().empty() || !rich.ParseFromString(status.error_details())) {
    return FromBareStatus(status);
  }
  Error error = FromBareStatus(status);
  error.hint.clear();
  error.message = status.error_message();
  for (const google::protobuf::Any& any : rich.details()) {
    if (any.type_url() == kErrorInfoUrl) {
      v1::ErrorInfo info;
      Code code;
      if (info.ParseFromString(any.value()) && CodeOfName(info.reason(), &code)) error.code = code;
    } else if (any.type_url() == kHelpUrl) {
      v1::Help help;
      if (help.ParseFromString(any.value()) && help.links_size() > 0) {
        error.hint = help.links(0).description();
      }
    }
  }
  return error;
}

std::string Quote(std::string_view text) {
  constexpr std::size_t kMax = 64;
  std::string out = "'";
  for (char c : text.substr(0, kMax)) out += (c >= 0x20 && c < 0x7f) ? c : '?';
  return out + (text.size() > kMax ? "...'" : "'");
}

}  // namespace shadow::rpc
