// SPDX-License-Identifier: Apache-2.0
// What shadowd remembers, in one SQLite file: volumes, modifications with their history, request
// ids, events, measured speeds.
//
// Durable when a call returns (WAL, synchronous=FULL); each call is one transaction. One connection
// behind one mutex: thread safe. Errors: kOutOfSpace (the disk under the state directory is full),
// kPermissionDenied, kIoError, kDataLoss (damaged or of a later version). A failed call changed
// nothing.
//
// Trouble with the store costs as little as it can. A row that cannot be decoded is left out of
// lists and named by Damaged(). A file that cannot be written (full or read-only disk) is read: its
// volumes can come up, every change is refused with the reason, and the file is tried again.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/store/records.h"

namespace shadow {

/// What one step of a modification writes, all or nothing.
struct ModificationUpdate {
  const ModificationRecord* record = nullptr;
  std::optional<HistoryEntry> history;
  const VolumeRecord* volume = nullptr;  // when the step changes the volume as well
  const RequestRecord* request = nullptr;
};

/// A row that is no record: damaged, or of a later program.
struct DamagedRow {
  std::string what;    // "volume", "tiers", "modification"
  std::string volume;  // whose it is
  std::string key;     // the volume's name, or the modification's id
};

class Store {
 public:
  virtual ~Store() = default;

  /// Those that can be decoded, by name.
  virtual Result<std::vector<VolumeRecord>> Volumes() = 0;
  /// What the lists leave out.
  virtual Result<std::vector<DamagedRow>> Damaged() = 0;
  virtual Status PutVolume(const VolumeRecord& record, const RequestRecord* request) = 0;
  virtual Status RemoveVolume(const std::string& name) = 0;

  /// The volume's tiers; one without tiers has an empty record. They go with the volume.
  virtual Result<TiersRecord> Tiers(const std::string& volume) = 0;
  virtual Status PutTiers(const TiersRecord& record, const RequestRecord* request) = 0;

  virtual Status PutModification(const ModificationUpdate& update) = 0;
  /// Newest first; "" for every volume.
  virtual Result<std::vector<ModificationRecord>> Modifications(const std::string& volume) = 0;
  /// The newest `limit` of them.
  virtual Result<std::vector<ModificationRecord>> NewestModifications(const std::string& volume,
                                                                      std::size_t limit) = 0;
  virtual Result<std::optional<ModificationRecord>> FindModification(const std::string& id) = 0;
  virtual Result<std::vector<HistoryEntry>> History(const std::string& modification_id) = 0;

  /// Who has the device of this identity, in any role, by any record of any volume. Kept with the
  /// records: PutVolume, PutTiers and PutModification take what their record names and give back
  /// what it does not name any more, in the same transaction, and fail with kAborted if another
  /// volume has one of the devices.
  virtual Result<std::optional<DeviceOwner>> OwnerOf(const std::string& device_id) = 0;
  /// All of them, by identity.
  virtual Result<std::map<std::string, DeviceOwner>> Owners() = 0;
  virtual Status PutReleased(const ReleasedDevice& device) = 0;
  virtual Result<std::optional<ReleasedDevice>> FindReleased(const std::string& device_id) = 0;

  virtual Result<std::optional<RequestRecord>> FindRequest(const std::string& id) = 0;

  /// Forgets modifications that were over before `before_ms`, with their history and request ids,
  /// and the oldest request ids when there are very many.
  virtual Status Prune(std::int64_t before_ms) = 0;

  /// Returns the event's sequence number. The oldest events go when there are very many.
  virtual Result<std::uint64_t> AddEvent(const Event& event) = 0;
  virtual Result<std::vector<Event>> EventsAfter(std::uint64_t seq, std::size_t limit) = 0;

  virtual Status PutSpeed(const std::string& key, const DeviceSpeed& speed) = 0;
  virtual Result<std::optional<DeviceSpeed>> FindSpeed(const std::string& key) = 0;

  /// Proves that a write becomes durable. For doctor.
  virtual Status CheckWritable() = 0;
};

struct StoreOptions {
  std::string path;              // ":memory:" for tests
  std::int64_t max_pages = 0;    // a full disk, for tests; 0: no limit
  std::int64_t retry_ms = 5000;  // how often a file that cannot be written is tried again, at most
};

/// Makes the file if there is none; upgrades one of an earlier schema. A file that cannot be
/// written is opened for reading (see above); fails if it cannot be read either, or is damaged.
[[nodiscard]] Result<std::unique_ptr<Store>> OpenStore(const StoreOptions& options);

}  // namespace shadow
