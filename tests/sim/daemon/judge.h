// SPDX-License-Identifier: Apache-2.0
// What is true of the machine, whatever the daemon thinks: whose each device is, what was written
// to each volume and acknowledged, what was asked for. After every step three judges look:
//  1. no byte of a device that is not ours changes, and no table has one;
//  2. every acknowledged write is read back, through the volume, or from the plain device after the
//     volume was given back;
//  3. nothing that holds data is removed unasked.
//
// A device is known by a number that follows it through every name (Disk::minor). The judge learns
// from what the world is and from what clients asked and were answered, never from the daemon's own
// records, but for one: who is recorded as the owner of a device must be allowed to be that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/daemon/machine.h"

namespace shadow::judge {

enum class Owner : std::uint8_t {
  kSomebody,  // nobody of ours may write there
  kFree,      // may be given to shadowd
  kMade,      // a logical volume that shadowd made
  kTaken,     // a volume's, because a request said so
};

/// A request named the device.
struct Grant {
  std::set<std::string> overwrites;  // of several requests: each of them may be the one
  bool from_class = false;
  bool keeps = false;  // an import: what is on it stays
  bool valid = false;  // what is on it, and who uses it, allow that, now
};

struct Device {
  std::string path;
  Owner owner = Owner::kSomebody;
  std::string volume;         // kMade, kTaken
  std::string volume_uuid;    // kMade
  bool brought_data = false;  // kTaken by an import: what is on it stays the user's
  bool was_volumes = false;   // kSomebody: the data of a volume that is no more
  bool left_by_us = false;    // a volume had it; what is on it is a copy, or was one
  std::uint64_t left = 0;     // left_by_us: the signature that was on it then
  bool logical_volume = false;
  bool may_go = false;  // a request said that its data may be destroyed
  std::vector<std::uint64_t> content;
  std::map<std::string, Grant> grants;  // by volume
  std::string role;                     // kMade
  bool leftover = false;                // kMade, and no record has it any more
};

struct Volume {
  enum class State : std::uint8_t { kAsked, kThere, kGoing } state = State::kAsked;
  bool imported = false;
  bool destroy = false;                          // kGoing: its data may go
  bool exporting = false;                        // kGoing: its data stay, holes filled
  std::uint32_t home = 0;                        // device, when it was steady last
  std::vector<std::uint64_t> value;              // by block, as acknowledged
  std::map<std::uint64_t, std::uint64_t> other;  // blocks that may have this value, too
  std::set<std::uint64_t> sizes, shrinks;        // blocks that were asked for; by force
};

class Judge {
 public:
  explicit Judge(Machine* m) : m_(*m) {}

  /// Takes the machine as it is at the beginning.
  void Begin();
  /// After each step, or in the middle of one (`asking`). False: something is wrong, and error()
  /// says what.
  bool Look(bool asking = false);
  [[nodiscard]] const std::string& error() const { return error_; }
  void Fail(const std::string& what) {
    if (error_.empty()) error_ = what;
  }

  /// Somebody else opened, closed or changed the device.
  void SomebodyActed(const std::string& path);
  /// ... and wrote there.
  void SomebodyWrote(const std::string& path);
  /// A logical volume is made or removed by somebody else.
  void SomebodyMade(const std::string& path) { others_made_.insert(path); }
  void SomebodyRemoved(std::uint32_t minor) { devices_.erase(minor); }

  /// A request names a device, or a class of them, to be written over (or, `keeps`, as it is).
  void Names(const std::string& volume, const std::string& place, const std::string& overwrite,
             bool keeps);
  /// No request is under way any more: what was named and not taken is as it was.
  void Settle();

  void Asked(const std::string& volume, bool imported, std::uint64_t blocks,
             std::vector<std::uint64_t> data);
  void Made(const std::string& volume);
  void NotMade(const std::string& volume);
  /// `data` stays: on the device at `path`, if it is said.
  void Going(const std::string& volume, bool destroy, bool exporting);
  void StillThere(const std::string& volume);
  void Gone(const std::string& volume, const std::string& path);

  /// After a crash: what became of requests that were not answered.
  void LearnAfterCrash();
  /// All devices are there, and the daemon had time: every volume is up.
  void Calm();

  /// Where the file system on a volume ends, in blocks; nothing if none is known.
  [[nodiscard]] std::optional<std::uint64_t> FsEnd(const std::string& volume) const;
  [[nodiscard]] Volume* Find(const std::string& volume);
  [[nodiscard]] bool IsThere(const std::string& volume) const {
    const auto it = volumes_.find(volume);
    return it != volumes_.end() && it->second.state == Volume::State::kThere;
  }
  [[nodiscard]] std::map<std::string, Volume>& volumes() { return volumes_; }
  /// Is the device a leg or the metadata of a live table?
  [[nodiscard]] bool InTable(const std::string& path) const;
  /// Made by shadowd, or a volume's.
  [[nodiscard]] bool IsOurs(const std::string& path) const;
  [[nodiscard]] bool MayTake(const Device& d, const sim::Disk& disk, const std::string& overwrite,
                             bool from_class) const;

 private:
  struct Use {
    std::string volume, role;
  };
  std::map<std::uint32_t, Use> Tables();
  void LookAtDevices(const std::map<std::uint32_t, Use>& uses);
  bool Recorded(const std::string& volume, VolumeState state);
  Device& Know(const std::string& path, const sim::Disk& disk);
  void LookAtHomes();
  void LookAtRemoved();
  void LookAtOwners(const std::map<std::uint32_t, Use>& uses, bool asking);
  void TakeInto(Device* d, const std::string& volume, const std::string& how);
  void LookAtSize(const std::string& name, Volume* v, std::uint64_t blocks, bool steady);
  void LookAtVolume(const std::string& name, Volume* v, bool calm);
  void Release(Device* d);
  void CheckPlain(const std::string& name, const Volume& v, const sim::Disk& disk);

  Machine& m_;
  std::map<std::uint32_t, Device> devices_;
  std::map<std::string, Volume> volumes_;
  std::set<std::string> others_made_;
  std::uint64_t store_writes_ = ~std::uint64_t{0};
  std::string error_;
};

}  // namespace shadow::judge
