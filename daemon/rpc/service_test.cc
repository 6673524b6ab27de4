// SPDX-License-Identifier: Apache-2.0
// Every call of shadow.v1 against a scripted engine: what goes in, what comes out, and what is
// refused.
#include <gmock/gmock.h>

#include "daemon/base/error_table.h"
#include "daemon/rpc/testing.h"
#include "proto/shadow/v1/error.pb.h"

namespace shadow::rpc {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class ServiceTest : public ServerTest {
 protected:
  ServiceTest()
      : volumes_(v1::VolumeService::NewStub(admin_)),
        modifications_(v1::ModificationService::NewStub(admin_)) {}

  /// Starts moving `volume` to nvme; returns the id.
  std::string StartMove(const std::string& volume, const std::string& request_id = "") {
    v1::StartModificationRequest request;
    request.set_request_id(request_id);
    request.mutable_spec()->set_volume(volume);
    request.mutable_spec()->set_to("nvme");
    v1::StartModificationResponse response;
    grpc::ClientContext context;
    const grpc::Status status = modifications_->StartModification(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.modification().id();
  }

  /// Watches until the phase is `phase`, or to the end of the stream.
  grpc::Status WatchTo(const std::string& id, v1::Phase phase) {
    grpc::ClientContext context;
    v1::WatchModificationRequest request;
    request.set_id(id);
    auto reader = modifications_->WatchModification(&context, request);
    v1::WatchModificationResponse message;
    while (reader->Read(&message)) {
      last_ = message.modification();
      if (last_.phase() == phase) {
        context.TryCancel();
        break;
      }
    }
    while (reader->Read(&message)) {
    }
    return reader->Finish();
  }

  std::unique_ptr<v1::VolumeService::Stub> volumes_;
  std::unique_ptr<v1::ModificationService::Stub> modifications_;
  v1::Modification last_;
};

TEST_F(ServiceTest, VolumeLifeCycle) {
  {
    v1::CreateVolumeRequest request;
    request.set_name("web");
    request.set_size_bytes(1 << 30);
    request.set_to("nvme");
    request.set_block_bytes(65536);
    v1::CreateVolumeResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(volumes_->CreateVolume(&context, request, &response).ok());
    EXPECT_EQ(response.volume().device(), "/dev/mapper/web");
    EXPECT_EQ(response.volume().storage_class(), "nvme");
    EXPECT_EQ(response.volume().kernel().mode(), v1::VOLUME_MODE_READ_WRITE);
    EXPECT_EQ(response.volume().kernel().phase(), v1::KERNEL_PHASE_STEADY);
    EXPECT_EQ(response.volume().create_time().seconds(), 1'700'000'000);
  }
  {
    v1::ImportVolumeRequest request;
    request.set_name("old");
    request.set_device("/dev/vg/old");
    v1::ImportVolumeResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(volumes_->ImportVolume(&context, request, &response).ok());
    EXPECT_EQ(response.volume().origin(), "/dev/vg/old");
  }
  {
    v1::ListVolumesResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(volumes_->ListVolumes(&context, {}, &response).ok());
    EXPECT_EQ(response.volumes_size(), 5);
  }
  {
    v1::ExportVolumeRequest request;
    request.set_name("old");
    v1::ExportVolumeResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(volumes_->ExportVolume(&context, request, &response).ok());
    EXPECT_EQ(response.device(), "/dev/vg/old");
  }
  {
    v1::DeleteVolumeRequest request;
    request.set_name("web");
    request.set_destroy_data(true);
    v1::DeleteVolumeResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(volumes_->DeleteVolume(&context, request, &response).ok());
    EXPECT_THAT(engine_.Calls(), Contains("DeleteVolume web destroy"));
  }
  v1::DeleteVolumeRequest request;
  request.set_name("web");
  v1::DeleteVolumeResponse response;
  grpc::ClientContext first, second;
  EXPECT_EQ(volumes_->DeleteVolume(&first, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  request.set_allow_missing(true);
  EXPECT_TRUE(volumes_->DeleteVolume(&second, request, &response).ok());
}

TEST_F(ServiceTest, ModificationRunsToItsEnd) {
  v1::StartModificationRequest request;
  v1::ModificationSpec* spec = request.mutable_spec();
  spec->set_volume("db0");
  spec->set_to("nvme");
  spec->set_size_spec("+50%");
  spec->set_impact(v1::IMPACT_LOW);
  spec->set_rate_bytes_per_second(1 << 20);
  spec->set_retire(v1::RETIRE_POLICY_COLD);
  spec->mutable_grace()->set_nanos(5'000'000);
  spec->set_grow_filesystem(true);
  spec->set_skip_trim(true);
  spec->set_discard_origin(true);
  spec->set_force_shrink(true);
  request.set_request_id("r-1");
  v1::StartModificationResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(modifications_->StartModification(&context, request, &response).ok());

  const ModifyRequest got = engine_.LastModify();
  EXPECT_EQ(got.volume, "db0");
  EXPECT_EQ(got.request_id, "r-1");
  EXPECT_EQ(got.size_spec, "+50%");
  EXPECT_EQ(got.size_bytes, 0u);
  EXPECT_EQ(got.impact, Impact::kLow);
  EXPECT_EQ(got.rate, 1u << 20);
  EXPECT_EQ(got.retire, Retire::kCold);
  EXPECT_EQ(got.grace_ms, 5);
  EXPECT_TRUE(got.grow_filesystem);
  EXPECT_FALSE(got.trim_first);
  EXPECT_TRUE(got.discard_origin);
  EXPECT_TRUE(got.force_shrink);
  EXPECT_FALSE(got.dry_run);

  // What was wanted comes back as it went in.
  EXPECT_EQ(response.modification().spec().SerializeAsString(), spec->SerializeAsString());

  EXPECT_TRUE(WatchTo(response.modification().id(), v1::PHASE_UNSPECIFIED).ok());
  EXPECT_EQ(last_.phase(), v1::PHASE_COMPLETED);
  EXPECT_TRUE(last_.final());
  EXPECT_EQ(last_.done_bytes(), last_.total_bytes());
  EXPECT_EQ(last_.cutover_pause_us(), 2300u);
  EXPECT_EQ(last_.app_latency().baseline_p99_us(), 2000u);
  EXPECT_GT(last_.finish_time().seconds(), last_.start_time().seconds());
  std::vector<v1::Phase> phases;
  for (const auto& entry : last_.history()) phases.push_back(entry.phase());
  EXPECT_THAT(phases, ElementsAre(v1::PHASE_PLANNED, v1::PHASE_PREPARING, v1::PHASE_COPYING,
                                  v1::PHASE_CATCHING_UP, v1::PHASE_CUTTING_OVER, v1::PHASE_GRACE,
                                  v1::PHASE_DECOMMISSIONING, v1::PHASE_COMPLETED));
}

TEST_F(ServiceTest, DefaultsOfAModification) {
  StartMove("db0");
  const ModifyRequest got = engine_.LastModify();
  EXPECT_EQ(got.grace_ms, -1);
  EXPECT_EQ(got.impact, Impact::kBalanced);
  EXPECT_EQ(got.retire, Retire::kNever);
  EXPECT_TRUE(got.trim_first);
  EXPECT_EQ(got.rate, 0u);
}

TEST_F(ServiceTest, PlanChangesNothing) {
  v1::PlanModificationRequest request;
  request.mutable_spec()->set_volume("db0");
  request.mutable_spec()->set_size_bytes(std::uint64_t{20} << 30);
  v1::PlanModificationResponse response;
  grpc::ClientContext context;
  auto readonly = v1::ModificationService::NewStub(readonly_);
  ASSERT_TRUE(readonly->PlanModification(&context, request, &response).ok());
  EXPECT_EQ(response.plan().new_size_bytes(), std::uint64_t{20} << 30);
  EXPECT_EQ(response.plan().steps_size(), 3);
  EXPECT_TRUE(engine_.LastModify().dry_run);
  EXPECT_THAT(engine_.Calls(), Not(Contains("Modify db0")));
}

TEST_F(ServiceTest, SteersAModification) {
  const std::string id = StartMove("db0");
  WatchTo(id, v1::PHASE_COPYING);
  v1::Modification now;
  const auto steer = [&](auto request, auto response, auto method) {
    request.set_id(id);
    grpc::ClientContext context;
    const grpc::Status status = (modifications_.get()->*method)(&context, request, &response);
    if (status.ok()) now = response.modification();
    return status.error_code();
  };
  using Stub = v1::ModificationService::Stub;
  EXPECT_EQ(steer(v1::PauseModificationRequest(), v1::PauseModificationResponse(),
                  &Stub::PauseModification),
            grpc::StatusCode::OK);
  EXPECT_EQ(now.phase(), v1::PHASE_PAUSED);
  EXPECT_EQ(steer(v1::ResumeModificationRequest(), v1::ResumeModificationResponse(),
                  &Stub::ResumeModification),
            grpc::StatusCode::OK);
  EXPECT_EQ(now.phase(), v1::PHASE_COPYING);
  EXPECT_EQ(steer(v1::CommitModificationRequest(), v1::CommitModificationResponse(),
                  &Stub::CommitModification),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(steer(v1::RollBackModificationRequest(), v1::RollBackModificationResponse(),
                  &Stub::RollBackModification),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::SetModificationRateRequest rate;
  rate.set_rate_bytes_per_second(12345);
  EXPECT_EQ(steer(rate, v1::SetModificationRateResponse(), &Stub::SetModificationRate),
            grpc::StatusCode::OK);
  EXPECT_EQ(now.spec().rate_bytes_per_second(), 12345u);
  EXPECT_EQ(steer(v1::AbortModificationRequest(), v1::AbortModificationResponse(),
                  &Stub::AbortModification),
            grpc::StatusCode::OK);
  EXPECT_EQ(now.phase(), v1::PHASE_ABORTING);
  EXPECT_TRUE(WatchTo(id, v1::PHASE_UNSPECIFIED).ok());
  EXPECT_EQ(last_.phase(), v1::PHASE_ABORTED);

  const std::string second = StartMove("logs");
  WatchTo(second, v1::PHASE_GRACE);
  EXPECT_EQ(last_.phase(), v1::PHASE_GRACE);
  EXPECT_TRUE(last_.has_grace_end_time());
  v1::CommitModificationRequest commit;
  commit.set_id(second);
  v1::CommitModificationResponse response;
  grpc::ClientContext context;
  EXPECT_TRUE(modifications_->CommitModification(&context, commit, &response).ok());
  EXPECT_TRUE(WatchTo(second, v1::PHASE_UNSPECIFIED).ok());
  EXPECT_EQ(last_.phase(), v1::PHASE_COMPLETED);
}

TEST_F(ServiceTest, ListsModificationsNewestFirstUpToALimit) {
  StartMove("db0");
  StartMove("logs");
  v1::ListModificationsRequest request;
  v1::ListModificationsResponse response;
  grpc::ClientContext first, second, third;
  ASSERT_TRUE(modifications_->ListModifications(&first, request, &response).ok());
  ASSERT_EQ(response.modifications_size(), 2);
  EXPECT_EQ(response.modifications(0).volume(), "logs");
  request.set_limit(1);
  ASSERT_TRUE(modifications_->ListModifications(&second, request, &response).ok());
  EXPECT_EQ(response.modifications_size(), 1);
  request.set_limit(1001);
  EXPECT_EQ(modifications_->ListModifications(&third, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, EngineKeepsTheIdOfAModification) {
  const std::string id = StartMove("db0", "same");
  EXPECT_EQ(StartMove("db0", "same"), id);
  v1::StartModificationRequest other;
  other.set_request_id("same");
  other.mutable_spec()->set_volume("logs");
  other.mutable_spec()->set_to("nvme");
  v1::StartModificationResponse response;
  grpc::ClientContext context;
  const grpc::Status status = modifications_->StartModification(&context, other, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(FromGrpcStatus(status).hint, HasSubstr("new id"));
}

TEST_F(ServiceTest, ARepeatedRequestIsAnsweredAndNotDoneAgain) {
  const std::string id = StartMove("db0");
  WatchTo(id, v1::PHASE_COPYING);
  v1::PauseModificationRequest pause;
  pause.set_id(id);
  pause.set_request_id("pause-1");
  v1::PauseModificationResponse response;
  const auto send = [&] {
    grpc::ClientContext context;
    return modifications_->PauseModification(&context, pause, &response);
  };
  ASSERT_TRUE(send().ok());
  v1::ResumeModificationRequest resume;
  resume.set_id(id);
  v1::ResumeModificationResponse resumed;
  grpc::ClientContext context;
  ASSERT_TRUE(modifications_->ResumeModification(&context, resume, &resumed).ok());
  ASSERT_TRUE(send().ok());  // a late retry must not pause it again
  EXPECT_EQ(response.modification().phase(), v1::PHASE_PAUSED);
  const std::vector<std::string> calls = engine_.Calls();
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "Pause " + id), 1);
  pause.set_id("m999");
  EXPECT_EQ(send().error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(ServiceTest, AFailedRequestMayBeTriedAgain) {
  const std::string id = StartMove("db0");
  v1::CommitModificationRequest commit;
  commit.set_id(id);
  commit.set_request_id("c");
  v1::CommitModificationResponse response;
  grpc::ClientContext first, second;
  EXPECT_FALSE(modifications_->CommitModification(&first, commit, &response).ok());
  WatchTo(id, v1::PHASE_GRACE);
  EXPECT_TRUE(modifications_->CommitModification(&second, commit, &response).ok());
}

TEST_F(ServiceTest, EveryErrorArrivesWhole) {
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
    const Error error = MakeError(static_cast<Code>(i), "It went wrong, täglich.", "Do this.");
    engine_.FailWith("GetVolume", error);
    v1::GetVolumeRequest request;
    request.set_name("db0");
    v1::GetVolumeResponse response;
    grpc::ClientContext context;
    const grpc::Status status = volumes_->GetVolume(&context, request, &response);
    EXPECT_EQ(status.error_code(), RowOf(error.code).grpc_status);
    EXPECT_EQ(status.error_message(), error.message);
    const Error back = FromGrpcStatus(status);
    EXPECT_EQ(back.code, error.code) << RowOf(error.code).name;
    EXPECT_EQ(back.message, error.message);
    EXPECT_EQ(back.hint, error.hint);
    v1::RichStatus rich;
    ASSERT_TRUE(rich.ParseFromString(status.error_details()));
    ASSERT_EQ(rich.details_size(), 2);
    EXPECT_EQ(rich.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
    EXPECT_EQ(rich.details(1).type_url(), "type.googleapis.com/google.rpc.Help");
  }
}

TEST_F(ServiceTest, ALongErrorStillArrives) {
  engine_.FailWith("GetVolume",
                   MakeError(Code::kIoError, std::string(100'000, 'x'), std::string(50'000, 'y')));
  v1::GetVolumeRequest request;
  request.set_name("db0");
  v1::GetVolumeResponse response;
  grpc::ClientContext context;
  const grpc::Status status = volumes_->GetVolume(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(FromGrpcStatus(status).code, Code::kIoError);
}

TEST_F(ServiceTest, ClassesChecksVersion) {
  v1::ListStorageClassesResponse classes;
  grpc::ClientContext first, second, third;
  ASSERT_TRUE(
      v1::StorageClassService::NewStub(readonly_)->ListStorageClasses(&first, {}, &classes).ok());
  ASSERT_EQ(classes.storage_classes_size(), 2);
  EXPECT_EQ(classes.storage_classes(0).read_latency_us(), 8200u);
  EXPECT_EQ(classes.storage_classes(1).devices_size(), 2);
  v1::RunChecksResponse checks;
  auto system = v1::SystemService::NewStub(readonly_);
  ASSERT_TRUE(system->RunChecks(&second, {}, &checks).ok());
  ASSERT_EQ(checks.checks_size(), 3);
  EXPECT_EQ(checks.checks(2).result(), v1::CHECK_RESULT_WARNING);
  v1::GetVersionResponse version;
  ASSERT_TRUE(system->GetVersion(&third, {}, &version).ok());
  EXPECT_FALSE(version.version().empty());
  EXPECT_TRUE(version.read_only());
}

TEST_F(ServiceTest, StreamsEvents) {
  auto stub = v1::EventService::NewStub(readonly_);
  {
    grpc::ClientContext context;
    auto reader = stub->WatchEvents(&context, {});
    v1::WatchEventsResponse message;
    std::vector<std::uint64_t> seen;
    while (reader->Read(&message)) seen.push_back(message.event().sequence());
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_THAT(seen, ElementsAre(1, 2));
  }
  grpc::ClientContext context;
  v1::WatchEventsRequest request;
  request.set_after_sequence(2);
  request.set_follow(true);
  request.set_volume("db0");
  auto reader = stub->WatchEvents(&context, request);
  engine_.AddEvent({0, 1, "logs", "", "info", "phase", "Not ours."});
  engine_.AddEvent({0, 1, "db0", "m1", "error", "copy_error", "A copy failed."});
  v1::WatchEventsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.event().sequence(), 4u);
  EXPECT_EQ(message.event().severity(), v1::EVENT_SEVERITY_ERROR);
  EXPECT_EQ(message.event().modification_id(), "m1");
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServiceTest, HeartbeatRepeatsAStateThatStands) {
  const std::string id = StartMove("db0");
  WatchTo(id, v1::PHASE_GRACE);
  grpc::ClientContext context;
  v1::WatchModificationRequest request;
  request.set_id(id);
  request.mutable_heartbeat()->set_seconds(2);
  auto reader = modifications_->WatchModification(&context, request);
  v1::WatchModificationResponse message;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(reader->Read(&message));
    EXPECT_EQ(message.modification().phase(), v1::PHASE_GRACE);
  }
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServiceTest, CancelledWatchesMakeRoomForOthers) {
  const std::string id = StartMove("db0");
  engine_.Hold(true);
  v1::WatchModificationRequest request;
  request.set_id(id);
  v1::WatchModificationResponse message;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchModificationResponse>>> readers;
  for (int i = 0; i < StreamTicket::kMaxStreams; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(modifications_->WatchModification(contexts.back().get(), request));
    ASSERT_TRUE(readers.back()->Read(&message));
  }
  {
    grpc::ClientContext context;
    auto reader = modifications_->WatchModification(&context, request);
    EXPECT_FALSE(reader->Read(&message));
    const grpc::Status status = reader->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("Too many watches"));
  }
  {
    grpc::ClientContext context;
    auto reader = v1::ModificationService::NewStub(readonly_)->WatchModification(&context, request);
    EXPECT_TRUE(reader->Read(&message)) << "watches of one socket crowd out those of the other";
    context.TryCancel();
    static_cast<void>(reader->Finish());
  }
  for (std::size_t i = 0; i < readers.size(); ++i) {
    contexts[i]->TryCancel();
    EXPECT_EQ(readers[i]->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The server notices within kStreamPollMs; every try is a round trip.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  bool served = false;
  while (!served && std::chrono::steady_clock::now() < give_up) {
    grpc::ClientContext context;
    auto reader = modifications_->WatchModification(&context, request);
    served = reader->Read(&message);
    context.TryCancel();
    static_cast<void>(reader->Finish());
  }
  EXPECT_TRUE(served);
  engine_.Hold(false);
}

TEST_F(ServiceTest, ShutdownEndsWatches) {
  const std::string id = StartMove("db0");
  engine_.Hold(true);
  grpc::ClientContext context;
  v1::WatchModificationRequest request;
  request.set_id(id);
  auto reader = modifications_->WatchModification(&context, request);
  v1::WatchModificationResponse message;
  ASSERT_TRUE(reader->Read(&message));
  server_.Shutdown();
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServiceTest, AWatchOfAnUnknownModificationIsRefused) {
  EXPECT_EQ(WatchTo("m77", v1::PHASE_UNSPECIFIED).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(WatchTo("../x", v1::PHASE_UNSPECIFIED).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace shadow::rpc
