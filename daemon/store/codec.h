// SPDX-License-Identifier: Apache-2.0
// Records to JSON text and back, for the store and for comparing requests.
//
// Pure. Decoding treats the text as damaged until proved otherwise: wrong types or impossible
// values give kDataLoss, missing fields their defaults (a record of an older version). Enumerators
// are written by name.
#pragma once

#include <optional>
#include <string>

#include "daemon/base/result.h"
#include "daemon/store/records.h"

namespace shadow {

[[nodiscard]] std::string Encode(const VolumeRecord& record);
[[nodiscard]] std::string Encode(const ModificationRecord& record);
[[nodiscard]] std::string Encode(const TiersRecord& record);
/// The request without its request id: equal texts are equal requests.
[[nodiscard]] std::string RequestBody(const ModifyRequest& request);
[[nodiscard]] std::string RequestBody(const CreateRequest& request);
[[nodiscard]] std::string RequestBody(const ImportRequest& request);
[[nodiscard]] std::string RequestBody(const AddTierRequest& request);
[[nodiscard]] std::string RequestBody(const RemoveTierRequest& request);

/// The other way of PhaseName().
[[nodiscard]] std::optional<Phase> PhaseOfName(const std::string& name);

[[nodiscard]] Result<TiersRecord> DecodeTiers(const std::string& text);
[[nodiscard]] Result<VolumeRecord> DecodeVolume(const std::string& text);
[[nodiscard]] Result<ModificationRecord> DecodeModification(const std::string& text);

}  // namespace shadow
