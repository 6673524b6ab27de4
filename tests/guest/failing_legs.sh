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
