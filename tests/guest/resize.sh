#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sizes of volumes and of what lies on them: the file system that is asked, grown and trimmed is the
# volume's, wherever it is mounted, and none is cut that reaches beyond a new end.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MNT=$SCRATCH/m

# volume_with KIND [MIB]: db0 over slow/db0 (64 MiB) with a file system, not mounted.
volume_with() {
  local mib=${2:-64}
  load_module
  null_device slowdev $((mib * 3))
  null_device fastdev $((mib * 3))
  lvm_configuration
  rm -rf /dev/slow /dev/fast # of a test that failed half-way
  vgcreate -qq -y slow /dev/slowdev
  vgcreate -qq -y fast /dev/fastdev
  lvcreate -qq -y -Wn -L "${mib}m" -n db0 slow
  start_shadowd
  modprobe -a xfs btrfs ext4
  small_file_system "$1" /dev/slow/db0
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  mkdir -p "$MNT"
}
mounted_with() {
  volume_with "$@"
  mount -t "$1" /dev/mapper/db0 "$MNT"
}
mib_of() { stat -f -c '%b * %S / 1048576' "$1" | bc; }
expect_mib() { (($(mib_of "$1") >= $2)) || fail "the file system on $1 has $(mib_of "$1") MiB, expected $2 or more"; }
# refuses_to_shrink SIZE REGEX
refuses_to_shrink() {
  local before
  before=$(sectors /dev/mapper/db0)
  expect_failure shadowctl volume modify db0 --size "$1" --wait
  expect_match "the words" "$OUTPUT" "$2"
  expect_eq "sectors" "$(sectors /dev/mapper/db0)" "$before"
}

# grown_then_shrunk KIND [MIB [MIB-OF-DATA]]: what a mounted file system says of its size counts, not what a look at
# the device shows: xfs writes its superblock past the device's page cache, and lazily.
grown_then_shrunk() {
  local mib=${2:-64}
  mounted_with "$1" "$mib"
  shadowctl volume modify db0 --size +32M --grow-fs --wait >/dev/null
  expect_mib "$MNT" $((mib + 16))
  dd if=/dev/urandom of="$MNT/big" bs=1M count="${3:-$((mib + 6))}" status=none
  sync
  refuses_to_shrink "${mib}M" "ends at $((mib + 32)) MiB"
  sha256sum "$MNT/big" >"$SCRATCH/sum"
  umount "$MNT"
  refuses_to_shrink "${mib}M" "ends at $((mib + 32)) MiB"
  mount -t "$1" /dev/mapper/db0 "$MNT"
  sha256sum --quiet -c "$SCRATCH/sum"
}
test_a_mounted_xfs_that_was_grown_is_not_cut() { grown_then_shrunk xfs; }
test_a_mounted_ext4_that_was_grown_is_not_cut() { grown_then_shrunk ext4; }
# btrfs is not resized to less than 256 MiB.
test_a_mounted_btrfs_that_was_grown_is_not_cut() { grown_then_shrunk btrfs 260 100; }

test_what_another_device_shows_of_the_volume_is_not_cut() {
  volume_with ext4
  shadowctl volume modify db0 --size 96M --wait >/dev/null
  modprobe loop
  local loop
  loop=$(losetup --find --show /dev/mapper/db0)
  refuses_to_shrink 64M "cannot see"
  losetup -d "$loop"
  dm_create on_top "0 2048 linear /dev/mapper/db0 0"
  refuses_to_shrink 64M "lies on it"
  dm remove on_top
  exec {writer}<>/dev/mapper/db0
  refuses_to_shrink 64M "open for writing"
  exec {writer}>&-
  shadowctl volume modify db0 --size 64M --wait >/dev/null
}

# Something is mounted over the volume's mount point: that one is left alone.
test_what_is_mounted_over_the_mount_point_is_not_grown() {
  mounted_with xfs
  null_device other 128
  TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 mkfs.xfs -q -d size=64m /dev/other
  mount -t xfs /dev/other "$MNT"
  local before
  before=$(mib_of "$MNT")
  local status=0
  shadowctl volume modify db0 --size 96M --grow-fs --wait >"$SCRATCH/out" 2>&1 || status=$?
  expect_eq "the exit status" $status 9
  expect_match "the words" "$(cat "$SCRATCH/out")" "Not done: .*mounted over it"
  expect_eq "MiB of what lies over it" "$(mib_of "$MNT")" "$before"
  expect_match "the reason" "$(shadowctl op show db0)" "mounted over it"
  # Of a second mount of the same file system nothing is covered.
  mkdir "$SCRATCH/second"
  mount /dev/mapper/db0 "$SCRATCH/second"
  shadowctl volume modify db0 --size 112M --grow-fs --wait >/dev/null
  expect_mib "$SCRATCH/second" 100
  expect_eq "MiB of what lies over it" "$(mib_of "$MNT")" "$before"
}

# ext4 writes beyond the old end as soon as it grows, and cannot be shrunk while it is mounted.
test_there_is_a_way_back_until_the_file_system_grows() {
  mounted_with ext4
  shadowctl volume modify db0 --to fast --size +32M --grow-fs --grace 1h --wait --until cutover >/dev/null
  shadowctl op rollback db0 --wait || (($? == 4))
  expect_eq "sectors" "$(sectors /dev/mapper/db0)" $((64 * 2048))
  shadowctl volume modify db0 --to fast --size +32M --grow-fs --grace 0 --wait >/dev/null
  expect_mib "$MNT" 80
  shadowctl volume modify db0 --to slow --size +16M --grow-fs=now --grace 1h --wait --until cutover >/dev/null
  expect_mib "$MNT" 96
  expect_failure shadowctl op rollback db0
}

# As in a container: none of the daemon's own mounts is the volume's.
test_a_file_system_in_other_mounts_is_grown() {
  volume_with xfs
  mkfifo "$SCRATCH/ready" "$SCRATCH/done"
  # The words are the inner shell's.
  # shellcheck disable=SC2016
  unshare --mount --propagation private -- sh -c '
    mount -t xfs /dev/mapper/db0 "$1/m" && echo >"$1/ready" && read -r _ <"$1/done"
    stat -f -c %b "$1/m" >"$1/blocks"' sh "$SCRATCH" &
  local inside=$!
  read -r _ <"$SCRATCH/ready"
  ! mountpoint -q "$MNT" || fail "it is mounted here"
  shadowctl volume modify db0 --size 96M --grow-fs --wait >/dev/null
  refuses_to_shrink 64M "ends at 96 MiB"
  echo >"$SCRATCH/done"
  wait "$inside"
  (($(cat "$SCRATCH/blocks") * 4096 > 80 << 20)) || fail "it has only $(cat "$SCRATCH/blocks") blocks"
}
run_tests "$@"
