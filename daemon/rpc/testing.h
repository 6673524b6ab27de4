// SPDX-License-Identifier: Apache-2.0
// A server with a scripted engine and no socket, and calls by name with raw bytes. For tests only.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/rpc/scripted_engine.h"
#include "daemon/rpc/server_impl.h"

namespace shadow::rpc {

struct RawAnswer {
  grpc::Status status;
  std::string bytes;
};

/// Calls `method` ("/package.Service/Method") with the bytes of a request; the bytes of the answer
/// are those of its last message. Also for calls that answer with a stream, if it ends.
inline RawAnswer CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                         const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::CompletionQueue queue;
  const auto done = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  RawAnswer answer;
  call->StartCall(nullptr);
  if (done()) {
    const grpc::Slice slice(request);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    (void)done();
    for (;;) {
      grpc::ByteBuffer message;
      call->Read(&message, nullptr);
      if (!done()) break;
      grpc::Slice flat;
      if (!message.DumpToSingleSlice(&flat).ok()) break;
      answer.bytes.assign(reinterpret_cast<const char*>(flat.begin()), flat.size());
    }
  }
  call->Finish(&answer.status, nullptr);
  (void)done();
  return answer;
}

/// Every method of every service of shadow.v1 that this program was built with, so that a new one
/// is looked at on the day it is added.
inline std::vector<const google::protobuf::MethodDescriptor*> AllMethods() {
  using google::protobuf::DescriptorPool;
  (void)v1::Volume::descriptor();  // fills the pool
  std::vector<std::string> files;
  DescriptorPool::internal_generated_database()->FindAllFileNames(&files);
  std::vector<const google::protobuf::MethodDescriptor*> out;
  for (const std::string& name : files) {
    if (!name.starts_with("shadow/v1/")) continue;
    const auto* file = DescriptorPool::generated_pool()->FindFileByName(name);
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        out.push_back(file->service(s)->method(m));
      }
    }
  }
  EXPECT_GE(out.size(), 30U);
  return out;
}

inline std::string PathOf(const google::protobuf::MethodDescriptor* method) {
  return "/" + method->service()->full_name() + "/" + method->name();
}

/// Whether the .proto file says that the method changes nothing (proto/lint_test.cc compares that
/// with its request).
inline bool OnlyReads(const google::protobuf::MethodDescriptor* method) {
  return method->options().idempotency_level() == google::protobuf::MethodOptions::NO_SIDE_EFFECTS;
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() : engine_(clock_), server_(engine_, Options(&clock_)) {
    const Status started = server_.Start();
    EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.error().ToString());
    admin_ = server_.admin().InProcessChannel();
    readonly_ = server_.readonly().InProcessChannel();
  }

  static RpcOptions Options(const Clock* clock) {
    RpcOptions options;
    options.clock = clock;
    return options;
  }

  ManualClock clock_;
  ScriptedEngine engine_;
  RpcServerImpl server_;
  std::shared_ptr<grpc::Channel> admin_;
  std::shared_ptr<grpc::Channel> readonly_;
};

}  // namespace shadow::rpc
