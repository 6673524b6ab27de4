#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A leg or the metadata device fails: what has a current copy is still served, a stale copy never
# is, and trouble ends in a mode and an event, not in a guess.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))

breakable() {
  breakable_legs $MIB
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
}
mirrored_volume() {
  breakable
  attach_target $LEN
  copy_all
}

test_reads_fail_over_to_the_other_leg() {
  mirrored_volume
  fault ft all
  shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --keep || fail "no failover"
  [[ $(field v failovers) -gt 0 ]] || fail "no read was failed over"
  fault ft none
}

test_target_lost_under_load() {
  mirrored_volume
  start_stress /dev/mapper/v --block=$BLOCK --discards=2 --flushes=3
  sleep 0.5
  fault ft all
  sleep 1.5
  stop_stress
  expect_field v phase migrating
  [[ $(field v stale) -gt 0 ]] || fail "no copy was marked stale"
  check_data /dev/mapper/v --block=$BLOCK
  message v abort
  swap_table v "$(one_leg $LEN /dev/mapper/fo O)"
  check_data /dev/mapper/v --block=$BLOCK
}

test_a_stale_copy_is_never_read_after_the_leg_comes_back() {
  mirrored_volume
  fault ft writes
  shadow_io stress /dev/mapper/v --ops=400 --writes=80 --block=$BLOCK --journal="$SCRATCH/journal"
  fault ft none
  message v read target
  check_data /dev/mapper/v --block=$BLOCK
  # Also not by the next life of the volume.
  dm remove v
  dm_create v "$(two_legs $LEN read target)" SHADOW-test
  check_data /dev/mapper/v --block=$BLOCK
  copy_all
  commit_to_target $LEN
  check_data /dev/mapper/v --block=$BLOCK
}

test_origin_lost_in_the_grace_period() {
  mirrored_volume
  message v cutover
  start_stress /dev/mapper/v --block=$BLOCK --flushes=3
  sleep 0.5
  fault fo all
  sleep 1
  stop_stress
  check_data /dev/mapper/v --block=$BLOCK
  message v commit
  swap_table v "$(one_leg $LEN /dev/mapper/ft T)"
  check_data /dev/mapper/v --block=$BLOCK
}

test_origin_fails_in_the_middle_of_the_copy() {
  breakable
  attach_target $LEN
  message v copy 0+$((LEN / BLOCK / 2))
  wait_idle v
  fault fo all
  # Half is on both legs: it is served. The other half fails, and is not made up.
  local half=$((LEN / 2))
  dd if=/dev/mapper/v of=/dev/null bs=64k count=$((half / 128)) iflag=direct status=none
  expect_failure dd if=/dev/mapper/v of=/dev/null bs=64k skip=$((half / 128)) count=1 iflag=direct
  message v copy $((LEN / BLOCK / 2))+4
  wait_idle v
  [[ $(field v copy_errors) -gt 0 ]] || fail "a failed copy was not counted"
  expect_match "last_error" "$(field v last_error)" '^read:origin:[0-9]+$'
  expect_failure message v cutover
  fault fo none
  copy_all
  check_data /dev/mapper/v --block=$BLOCK
}

test_a_target_that_fails_writes_stops_no_application() {
  breakable
  attach_target $LEN
  fault ft writes
  start_stress /dev/mapper/v --block=$BLOCK
  message v copy "0+$(field v blocks)"
  wait_idle v
  stop_stress
  [[ $(field v copy_errors) -gt 0 ]] || fail "a failed copy was not counted"
  check_data /dev/mapper/v --block=$BLOCK
  message v abort
}

# 8 KiB from the start: the one leg fails the first half, the other one the second.
test_a_write_that_fails_on_both_legs_leaves_one_content() {
  local size before
  mirrored_volume
  dm suspend v && dm_resume v # all is flushed, and nothing in doubt but what comes
  size=$(sectors /dev/org)
  before=$(field v mirrored)
  { yes old || true; } | dd of=/dev/mapper/v bs=8k count=1 iflag=fullblock oflag=direct status=none
  dm_load fo "0 8 flakey /dev/org 0 0 3600 1 error_writes
8 $((size - 8)) linear /dev/org 8"
  dm_load ft "0 8 linear /dev/tgt 0
8 8 flakey /dev/tgt 8 0 3600 1 error_writes
16 $((size - 16)) linear /dev/tgt 16"
  for leg in fo ft; do dm suspend --noflush --nolockfs $leg && dm_resume $leg; done
  yes new | head -c 8192 >"$SCRATCH/new" || true
  expect_failure dd if="$SCRATCH/new" of=/dev/mapper/v bs=8k count=1 oflag=direct
  fault fo none
  fault ft none
  # Either half may be old or new. Which one is what every later read finds, by any route.
  for policy in target origin balance mirror target; do
    message v read $policy
    dd if=/dev/mapper/v of="$SCRATCH/$policy" bs=8k count=1 iflag=direct status=none
    cmp "$SCRATCH/target" "$SCRATCH/$policy" || fail "read by policy $policy it is something else"
  done
  # With it goes what its region, of 16 blocks, wrote since the legs were flushed.
  expect_field v mirrored $((before - 16))
  dm remove v
  dm_create v "$(two_legs $LEN)" SHADOW-test
  dd if=/dev/mapper/v of="$SCRATCH/again" bs=8k count=1 iflag=direct status=none
  cmp "$SCRATCH/target" "$SCRATCH/again" || fail "after a restart it is something else"
}

# /dev/sda: says that it does write-zeroes, and rejects each.
rejects_zeroes() {
  load_module
  modprobe sd_mod
  modprobe scsi_debug dev_size_mb=16 lbpws=1 lbprz=1 write_same_length=0 delay=0
  wait_until 20 "sda" test -b /dev/sda
  null_device meta 8 fast
}
test_a_hole_on_a_device_that_rejects_zeroes() {
  rejects_zeroes
  junk /dev/sda
  dm_create v "$(one_leg $LEN /dev/sda O fresh)"
  shadow_io stress /dev/mapper/v --ops=300 --writes=90 --block=$BLOCK --discards=3 --journal="$SCRATCH/journal"
  message v fill "0+$(field v blocks)"
  wait_idle v
  check_data /dev/mapper/v --block=$BLOCK
  # The limit is what the disk says; the kernel has learnt better for some ways of asking only.
  dm remove v
  rmmod scsi_debug
}
test_mirrored_zeroes_on_a_leg_that_rejects_them() {
  rejects_zeroes
  modprobe zram
  echo 16M >/sys/block/zram0/disksize
  ORIGIN=/dev/zram0 TARGET=/dev/sda
  import_volume $LEN
  attach_target $LEN
  junk /dev/mapper/v
  copy_all
  blkdiscard --zeroout --length $((1 << 20)) /dev/mapper/v
  expect_field v mirrored "$(field v blocks)"
  expect_field v stale 0
  is_zero /dev/zram0 0 2048 || fail "the origin has no zeroes"
  is_zero /dev/sda 0 2048 || fail "the target has no zeroes"
  dm remove v
  rmmod scsi_debug
  echo 1 >/sys/block/zram0/reset
}

synced_writes() {
  local i
  for ((i = 0; i < $1; i++)); do
    dd if=/dev/urandom of=/dev/mapper/v bs=4k seek="$i" count=1 oflag=direct conv=fsync,notrunc status=none
  done
}
test_a_dead_leg_is_remembered() {
  breakable_legs $MIB cache_size=16
  import_volume $LEN
  attach_target $LEN
  copy_all
  local lines org
  fault ft all
  lines=$(dmesg | grep -c shadow:) org=$(received org flushes)
  synced_writes 100
  lines=$(($(dmesg | grep -c shadow:) - lines)) org=$(($(received org flushes) - org))
  note "100 fsyncs with a dead target: $org flushes of the origin, $lines lines in the log"
  ((lines <= 12)) || fail "$lines lines in the log"
  ((org >= 100)) || fail "only $org flushes of the origin"
  expect_field v mirrored 0
  # Well again: it gets nothing until a table says so.
  fault ft none
  message v resume
  message v copy 0+8
  wait_idle v
  expect_field v mirrored 0
  swap_table v "$(two_legs $LEN)"
  copy_all
  expect_field v mirrored "$(field v blocks)"
}

test_a_table_with_a_missing_target_runs_on_the_origin() {
  mirrored_volume
  dm remove v
  dm_create v "$(TARGET=- two_legs $LEN)" SHADOW-test
  check_data /dev/mapper/v --block=$BLOCK
  shadow_io stress /dev/mapper/v --ops=400 --block=$BLOCK --journal="$SCRATCH/journal"
  dm remove v
  # The target is back, older than the origin: nothing of it may be read.
  dm_create v "$(two_legs $LEN read target)" SHADOW-test
  check_data /dev/mapper/v --block=$BLOCK
}

test_metadata_device_fails() {
  mirrored_volume
  local event
  event=$(dmsetup info -c --noheadings -o events v)
  fault fm all
  # A state change cannot be recorded: it is refused, and what is there is still served.
  expect_failure message v retire 0+8
  wait_until 30 "read-only mode" field_is v mode ro
  [[ $(dmsetup info -c --noheadings -o events v) -gt $event ]] || fail "no event was raised"
  shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --keep || fail "reads fail"
  dm remove v
  fault fm none
  dm_create v "$(two_legs $LEN)" SHADOW-test
  check_data /dev/mapper/v --block=$BLOCK
}

test_metadata_device_fails_under_load() {
  mirrored_volume
  start_stress /dev/mapper/v --block=$BLOCK --discards=4 --flushes=3 --allow-errors
  sleep 0.5
  fault fm all
  sleep 1
  stop_stress
  dm remove v
  fault fm none
  dm_create v "$(two_legs $LEN)" SHADOW-test
  check_data /dev/mapper/v --block=$BLOCK
}

run_tests "$@"
