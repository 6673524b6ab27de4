// SPDX-License-Identifier: Apache-2.0
// Holds the .proto files to buf's default rules and to ours, without buf: names, zero values, a
// request and a response message for each call, a comment on everything, a declared idempotency
// level, and a request_id in everything that changes something. Reads protoc's descriptor set with
// its comments.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace shadow {
namespace {

namespace pb = google::protobuf;

std::string UpperSnake(const std::string& camel) {
  std::string out;
  for (std::size_t i = 0; i < camel.size(); ++i) {
    if (i > 0 && std::isupper(static_cast<unsigned char>(camel[i]))) out += '_';
    out += static_cast<char>(std::toupper(static_cast<unsigned char>(camel[i])));
  }
  return out;
}

bool IsLowerSnake(const std::string& s) {
  for (char c : s) {
    if (!(std::islower(static_cast<unsigned char>(c)) ||
          std::isdigit(static_cast<unsigned char>(c)) || c == '_')) {
      return false;
    }
  }
  return !s.empty() && s.find("__") == std::string::npos;
}

class LintTest : public testing::Test {
 protected:
  LintTest() {
    std::ifstream in(SHADOW_PROTO_SET, std::ios::binary);
    pb::FileDescriptorSet set;
    EXPECT_TRUE(set.ParseFromIstream(&in)) << SHADOW_PROTO_SET;
    for (const auto& proto : set.file()) {
      const pb::FileDescriptor* file = pool_.BuildFile(proto);
      EXPECT_NE(file, nullptr) << proto.name();
      if (file != nullptr && file->name().starts_with("shadow/")) files_.push_back(file);
    }
  }

  template <typename Descriptor>
  void ExpectComment(const Descriptor* d) {
    pb::SourceLocation location;
    ASSERT_TRUE(d->GetSourceLocation(&location)) << d->full_name();
    EXPECT_FALSE(location.leading_comments.empty()) << d->full_name() << " has no comment";
  }

  void ForEachMessage(const std::function<void(const pb::Descriptor*)>& visit) {
    std::function<void(const pb::Descriptor*)> walk = [&](const pb::Descriptor* m) {
      if (m->options().map_entry()) return;
      visit(m);
      for (int i = 0; i < m->nested_type_count(); ++i) walk(m->nested_type(i));
    };
    for (const auto* file : files_) {
      for (int i = 0; i < file->message_type_count(); ++i) walk(file->message_type(i));
    }
  }

  pb::DescriptorPool pool_;
  std::vector<const pb::FileDescriptor*> files_;
};

TEST_F(LintTest, PackagesAndFiles) {
  EXPECT_GE(files_.size(), 7u);
  for (const auto* file : files_) {
    EXPECT_EQ(file->package(), "shadow.v1") << file->name();
    EXPECT_EQ(file->syntax(), pb::FileDescriptor::SYNTAX_PROTO3) << file->name();
    EXPECT_EQ(file->public_dependency_count(), 0) << file->name();
  }
}

TEST_F(LintTest, MessagesAndFields) {
  ForEachMessage([&](const pb::Descriptor* m) {
    ExpectComment(m);
    EXPECT_TRUE(std::isupper(static_cast<unsigned char>(m->name()[0]))) << m->full_name();
    for (int i = 0; i < m->field_count(); ++i) {
      const pb::FieldDescriptor* f = m->field(i);
      EXPECT_TRUE(IsLowerSnake(f->name())) << f->full_name();
      ExpectComment(f);
      if (f->cpp_type() == pb::FieldDescriptor::CPPTYPE_UINT64 &&
          !f->name().ends_with("sequence")) {
        pb::SourceLocation location;
        ASSERT_TRUE(f->GetSourceLocation(&location));
        std::string text = location.leading_comments;
        for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        bool unit = false;
        for (const char* word : {"byte", "block", "write", "read", "cop", "microsecond", "hole"}) {
          unit = unit || text.find(word) != std::string::npos;
        }
        EXPECT_TRUE(unit) << f->full_name() << " does not say its unit";
      }
    }
  });
}

TEST_F(LintTest, Enums) {
  for (const auto* file : files_) {
    for (int i = 0; i < file->enum_type_count(); ++i) {
      const pb::EnumDescriptor* e = file->enum_type(i);
      ExpectComment(e);
      const std::string prefix = UpperSnake(e->name()) + "_";
      ASSERT_NE(e->FindValueByNumber(0), nullptr);
      EXPECT_EQ(e->FindValueByNumber(0)->name(), prefix + "UNSPECIFIED");
      for (int k = 0; k < e->value_count(); ++k) {
        EXPECT_EQ(e->value(k)->name().rfind(prefix, 0), 0u) << e->value(k)->full_name();
        ExpectComment(e->value(k));
      }
    }
  }
}

TEST_F(LintTest, Services) {
  std::set<std::string> used;
  int methods = 0;
  for (const auto* file : files_) {
    for (int i = 0; i < file->service_count(); ++i) {
      const pb::ServiceDescriptor* s = file->service(i);
      ExpectComment(s);
      EXPECT_TRUE(s->name().ends_with("Service")) << s->full_name();
      for (int k = 0; k < s->method_count(); ++k, ++methods) {
        const pb::MethodDescriptor* m = s->method(k);
        ExpectComment(m);
        EXPECT_EQ(m->input_type()->name(), m->name() + "Request");
        EXPECT_EQ(m->output_type()->name(), m->name() + "Response");
        EXPECT_TRUE(used.insert(m->input_type()->full_name()).second) << m->full_name();
        EXPECT_FALSE(m->client_streaming()) << m->full_name() << " could not be retried";
        const auto level = m->options().idempotency_level();
        EXPECT_NE(level, pb::MethodOptions::IDEMPOTENCY_UNKNOWN) << m->full_name();
        const auto* id = m->input_type()->FindFieldByName("request_id");
        EXPECT_EQ(id != nullptr, level == pb::MethodOptions::IDEMPOTENT) << m->full_name();
        if (id != nullptr) {
          EXPECT_EQ(id->number(), 1) << m->full_name();
        }
      }
    }
  }
  EXPECT_GE(methods, 30);
}

}  // namespace
}  // namespace shadow
