// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>

namespace shadow {
namespace {

struct TableDeleter {
  void operator()(libmnt_table* table) const { mnt_unref_table(table); }
};
struct IterDeleter {
  void operator()(libmnt_iter* iter) const { mnt_free_iter(iter); }
};

std::string Text(const char* s) { return s == nullptr ? "" : s; }

// One process for each mount namespace that is not ours: its number.
std::vector<std::string> OtherNamespaces(const std::string& proc) {
  std::vector<std::string> pids;
  DIR* dir = opendir(proc.c_str());
  if (dir == nullptr) return pids;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name.find_first_not_of("0123456789") == std::string::npos) pids.push_back(name);
  }
  closedir(dir);
  // Oldest first: the process that made a namespace is likelier to stay.
  std::sort(pids.begin(), pids.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  struct stat st {};
  std::set<ino_t> seen;
  if (stat((proc + "/self/ns/mnt").c_str(), &st) == 0) seen.insert(st.st_ino);
  std::vector<std::string> out;
  for (const std::string& pid : pids) {
    if (stat((proc + "/" + pid + "/ns/mnt").c_str(), &st) == 0 && seen.insert(st.st_ino).second) {
      out.push_back(pid);
    }
  }
  return out;
}

// A descriptor of what the path leads to, if that is a file or directory on the device. Looked at
// before it is opened for good: opening a device node or a FIFO has effects.
UniqueFd OpenOn(const std::string& path, dev_t device, bool btrfs) {
  const UniqueFd place(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat st {};
  if (!place.ok() || fstat(place.get(), &st) != 0) return UniqueFd();
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) return UniqueFd();
  if (!btrfs && st.st_dev != device) return UniqueFd();
  const std::string again = "/proc/self/fd/" + std::to_string(place.get());
  UniqueFd fd(open(again.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (btrfs && fd.ok() && BtrfsDeviceId(fd.get(), device) == 0) fd.reset();
  return fd;
}

class Search {
 public:
  explicit Search(dev_t device) : device_(device) {}

  // Looks through one table. `prefix` leads to the root of the process whose table it is.
  bool In(const std::string& mountinfo, const std::string& prefix, const std::string& whose) {
    for (const MountEntry& mount : ReadMounts(mountinfo)) {
      const bool btrfs = mount.type == "btrfs";
      if (!btrfs && mount.device != device_) continue;
      UniqueFd root = OpenOn(prefix + mount.point, device_, btrfs);
      // A btrfs that cannot be asked may be anybody's.
      if (!root.ok() && (btrfs || !found_.where.empty())) continue;
      found_.where = mount.point + whose;
      found_.type = mount.type;
      found_.root = std::move(root);
      if (found_.root.ok()) return true;
    }
    return false;
  }
  Mounted Take() { return std::move(found_); }

 private:
  const dev_t device_;
  Mounted found_;
};

}  // namespace

std::vector<MountEntry> ReadMounts(const std::string& mountinfo) {
  std::vector<MountEntry> out;
  const std::unique_ptr<libmnt_table, TableDeleter> table(
      mnt_new_table_from_file(mountinfo.c_str()));
  const std::unique_ptr<libmnt_iter, IterDeleter> iter(mnt_new_iter(MNT_ITER_FORWARD));
  if (!table || !iter) return out;
  libmnt_fs* fs = nullptr;
  while (mnt_table_next_fs(table.get(), iter.get(), &fs) == 0) {
    out.push_back({mnt_fs_get_devno(fs), Text(mnt_fs_get_fstype(fs)), Text(mnt_fs_get_target(fs))});
  }
  return out;
}

Mounted FindMounted(dev_t device, const std::string& proc) {
  Search search(device);
  if (search.In(proc + "/self/mountinfo", "", "")) return search.Take();
  for (const std::string& pid : OtherNamespaces(proc)) {
    const std::string process = proc + "/" + pid;
    if (search.In(process + "/mountinfo", process + "/root", " in the mounts of process " + pid)) {
      break;
    }
  }
  return search.Take();
}

std::uint64_t BtrfsDeviceId(int root, dev_t device, std::uint64_t* bytes) {
  struct statfs fs {};
  btrfs_ioctl_fs_info_args info{};
  if (fstatfs(root, &fs) != 0 || fs.f_type != BTRFS_SUPER_MAGIC ||
      ioctl(root, BTRFS_IOC_FS_INFO, &info) != 0) {
    return 0;
  }
  for (std::uint64_t id = 1; id <= info.max_id; ++id) {
    btrfs_ioctl_dev_info_args one{};
    one.devid = id;
    struct stat st {};
    if (ioctl(root, BTRFS_IOC_DEV_INFO, &one) != 0) continue;
    one.path[sizeof(one.path) - 1] = 0;
    if (stat(reinterpret_cast<const char*>(one.path), &st) != 0 || !S_ISBLK(st.st_mode) ||
        st.st_rdev != device) {
      continue;
    }
    if (bytes != nullptr) *bytes = one.total_bytes;
    return id;
  }
  return 0;
}

}  // namespace shadow
