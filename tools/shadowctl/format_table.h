// SPDX-License-Identifier: Apache-2.0
// The output for people: tables, sheets of one thing, plans. Prints to a stream, never fails.
#pragma once

#include <ostream>
#include <vector>

#include "proto/shadow/v1/event.pb.h"
#include "proto/shadow/v1/modification.pb.h"
#include "proto/shadow/v1/storage_class.pb.h"
#include "proto/shadow/v1/system.pb.h"
#include "proto/shadow/v1/volume.pb.h"
#include "tools/shadowctl/terminal.h"

namespace shadow::ctl {

void PrintVolumes(std::ostream& out, const Terminal& terminal,
                  const google::protobuf::RepeatedPtrField<v1::Volume>& volumes);
void PrintVolume(std::ostream& out, const Terminal& terminal, const v1::Volume& volume);
void PrintClasses(std::ostream& out, const Terminal& terminal,
                  const google::protobuf::RepeatedPtrField<v1::StorageClass>& classes);
void PrintPlan(std::ostream& out, const Terminal& terminal, const v1::Plan& plan);
void PrintModifications(std::ostream& out, const Terminal& terminal,
                        const google::protobuf::RepeatedPtrField<v1::Modification>& list);
void PrintModification(std::ostream& out, const Terminal& terminal, const v1::Modification& m);
void PrintEvent(std::ostream& out, const Terminal& terminal, const v1::Event& event);
void PrintChecks(std::ostream& out, const Terminal& terminal, const std::vector<v1::Check>& checks);

}  // namespace shadow::ctl
