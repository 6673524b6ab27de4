#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shadowd on real device mapper and LVM: it dies in the middle of a copy, comes back and finishes,
# while every read is verified; several volumes at once, with file systems that grow; a modification
# can be aborted; bad requests, a missing module and a full disk change nothing.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

volume_with_data() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
}
some_copied() { (($(field db0 mirrored) > 4)); }
VOLUMES=(db0)
# The daemon goes first: it puts up again what it finds down.
tear_down() {
  kill "$DAEMON"
  wait "$DAEMON" || fail "shadowd ended with an error: $(tail -n 2 "$RESULT/shadowd.log")"
  local name
  for name in "${VOLUMES[@]}"; do dm remove "$name" 2>/dev/null || true; done
  vgremove -qq -y -ff slow fast
}

test_killed_in_the_middle_of_a_copy() {
  volume_with_data
  start_stress /dev/mapper/db0 --threads=2 --length=120000
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m
  wait_until 60 "the first copies" some_copied
  kill -9 "$DAEMON"
  wait "$DAEMON" || true
  # Nobody is there, and the volume works on.
  sleep 2
  expect_field db0 mode rw
  start_shadowd
  shadowctl op rate db0 --impact full >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  stop_stress
  check_data /dev/mapper/db0
  shadowctl op commit db0 --wait
  check_data /dev/mapper/db0
  ! lvs slow/db0_meta &>/dev/null || fail "something was left behind"
  ! grep "udev has not answered" "$RESULT/shadowd.log" || fail "it waited for a udev that is not there"
  tear_down
}

test_abort_gives_the_origin_back_and_leaves_nothing() {
  volume_with_data
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m
  wait_until 60 "the first copies" some_copied
  shadowctl op abort db0 --wait || true
  expect_eq "the phase" "$(op_phase db0)" ABORTED
  expect_eq "logical volumes on the fast class" "$(lvs --noheadings fast | grep -cv metadata || true)" 0
  shadowctl volume export db0
  check_data /dev/slow/db0
  tear_down
}

# file_system NAME KIND: a mounted volume with files on it and their checksums.
file_system() {
  local dir=$SCRATCH/mnt-$1
  lvcreate -qq -y -Wn -L 64m -n "$1" slow
  small_file_system "$2" "/dev/slow/$1"
  shadowctl volume import "$1" "/dev/slow/$1" >/dev/null
  mkdir "$dir"
  mount -t "$2" "/dev/mapper/$1" "$dir"
  cp "$SHADOW_REPO"/kernel/*.[ch] "$dir"
  head -c 8M /dev/urandom >"$dir/random"
  (cd "$dir" && find . -type f -print0 | sort -z | xargs -0 sha256sum >"$SCRATCH/$1.sha256")
}
# Writes and syncs until the file appears; fails if the file system does.
write_until() {
  local i=0
  until [[ -e $1 ]]; do
    dd if=/dev/urandom of="$2/load" bs=64k count=8 seek=$((i++ % 32)) conv=notrunc,fsync status=none
  done
}
# NTP after a boot without a clock, or an administrator: the way back is a promise in time that passes.
test_a_step_of_the_clock_does_not_end_the_grace_period() {
  volume_with_data
  shadowctl volume modify db0 --to fast --grace 2h --wait --until cutover
  date -s "+3 hours" >/dev/null
  sleep 4
  expect_eq "the phase" "$(op_phase db0)" GRACE
  shadowctl op rollback db0 --wait || (($? == 4))
  check_data /dev/mapper/db0
  date -s "-3 hours" >/dev/null
  tear_down
}

test_two_volumes_grow_with_their_file_systems_at_once() {
  two_classes fast fast
  lvremove -qq -y slow/db0
  modprobe -a ext4 xfs
  file_system db1 ext4
  file_system db2 xfs
  local name writers=() waiters=() meta
  for name in db1 db2; do
    write_until "$SCRATCH/enough" "$SCRATCH/mnt-$name" &
    writers+=($!)
    shadowctl volume modify $name --to fast --size +50% --grow-fs --grace 0 --wait >"$RESULT/$name.log" &
    waiters+=($!)
  done
  wait "${waiters[0]}" || fail "db1: $(tail -n 3 "$RESULT/db1.log")"
  wait "${waiters[1]}" || fail "db2: $(tail -n 3 "$RESULT/db2.log")"
  touch "$SCRATCH/enough"
  wait "${writers[0]}" || fail "a write to ext4 failed"
  wait "${writers[1]}" || fail "a write to xfs failed"
  for name in db1 db2; do
    expect_eq "sectors of $name" "$(sectors /dev/mapper/$name)" $((96 * 2048))
    (($(stat -f -c '%b * %S' "$SCRATCH/mnt-$name") > 80 << 20)) || fail "the file system of $name did not grow"
    (cd "$SCRATCH/mnt-$name" && sha256sum --quiet -c "$SCRATCH/$name.sha256") || fail "a file on $name changed"
    umount "$SCRATCH/mnt-$name"
  done
  whole_file_system ext4 /dev/mapper/db1
  whole_file_system xfs /dev/mapper/db2
  # What is in use is not for the offline tools.
  meta=$(shadowctl -o json volume show db1 | jq -r .metadata)
  [[ -b $meta ]] || fail "volume show names no metadata device, but '$meta'"
  expect_failure shadow_check "$meta"
  expect_match "the words" "$OUTPUT" "in use"
  VOLUMES=(db1 db2)
  tear_down
}

test_a_missing_module_or_room_for_the_store_is_said() {
  two_classes fast fast
  rmmod dm_shadow
  # As on a machine where it is not installed: modprobe finds nothing of that name.
  expect_failure shadowctl volume import db0 /dev/slow/db0
  expect_match "the words" "$OUTPUT" "dm-shadow|dm_shadow"
  expect_match "the doctor" "$(shadowctl doctor || true)" "dm_shadow|dm-shadow"
  load_module
  kill "$DAEMON"
  wait "$DAEMON" || true
  mkdir -p "$SCRATCH/state"
  mount -t tmpfs -o size=8m,mode=0700 full "$SCRATCH/state"
  start_shadowd
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
  dd if=/dev/zero of="$SCRATCH/state/fill" bs=4k status=none 2>/dev/null || true
  # Refused, or begun while the database had room within itself: then it waits. Said either way.
  if OUTPUT=$(shadowctl volume modify db0 --to fast --grace 0 2>&1); then
    wait_until 60 "a word about the full disk" grep -q "is full" "$RESULT/shadowd.log"
  else
    expect_match "the words" "$OUTPUT" "is full"
  fi
  expect_field db0 mode rw
  check_data /dev/mapper/db0
  rm "$SCRATCH/state/fill"
  shadowctl volume modify db0 --to fast --grace 0 >/dev/null 2>&1 || true
  wait_until 120 "the end of the move" op_phase_is db0 COMPLETED
  check_data /dev/mapper/db0
  tear_down
  umount "$SCRATCH/state"
}

test_a_stranger_may_look_and_nothing_else() {
  two_classes fast fast
  chmod 755 "$SCRATCH"
  expect_failure runuser -u nobody -- env SHADOW_SOCKET="$SHADOW_SOCKET" shadowctl volume import db0 /dev/slow/db0
  expect_match "the words" "$OUTPUT" "may not use"
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  local before
  before=$(dmsetup table db0)
  expect_failure env SHADOW_SOCKET="$SCRATCH/shadowd-ro.sock" shadowctl volume modify db0 --to fast
  expect_match "the words" "$OUTPUT" "read-only|permi|allow"
  env SHADOW_SOCKET="$SCRATCH/shadowd-ro.sock" shadowctl volume list | grep db0 >/dev/null || fail "nothing to see on the read-only socket"
  expect_eq "the table" "$(dmsetup table db0)" "$before"
  tear_down
}

test_bad_requests_change_nothing() {
  volume_with_data
  local before
  before=$(dmsetup table db0)
  expect_failure shadowctl volume modify db0 --to nowhere
  expect_failure shadowctl volume modify nobody --to fast
  expect_failure shadowctl volume modify db0 --to fast --size 1
  expect_failure shadowctl volume modify db0 --to fast --size +100G
  expect_failure shadowctl volume modify db0 --to /dev/slow/db0
  expect_failure shadowctl volume import db1 /dev/slow/db0
  expect_failure shadowctl volume import db1 /dev/nothing
  expect_failure shadowctl op commit db0
  expect_eq "the table" "$(dmsetup table db0)" "$before"
  kill "$DAEMON"
  wait "$DAEMON" || true
  expect_failure shadowctl volume list
  expect_match "the words" "$OUTPUT" "shadowd"
  start_shadowd
  tear_down
}

run_tests "$@"
