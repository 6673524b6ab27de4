// SPDX-License-Identifier: Apache-2.0
// The state file's schema: what each version added, and how a file of an earlier one is upgraded.
//
// To change the schema append one step to kUpgrades in schema.cc. A step that was released is never
// changed: it uses nothing that can change later (no codec, no enumeration of today's code), and it
// leaves rows that it does not understand as they are. store_test upgrades the files in testdata/;
// a new version leaves one there.
#pragma once

#include "daemon/base/result.h"
#include "daemon/store/sqlite.h"

namespace shadow {

/// The version this program writes (PRAGMA user_version).
[[nodiscard]] int SchemaVersion();

/// Brings the file to SchemaVersion(), all or nothing. kDataLoss when the file is of a later one.
Status UpgradeSchema(sqlite3* db);

}  // namespace shadow
