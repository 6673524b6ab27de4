#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A volume moves while every read is verified: copy, mirror, retire, copy back, cut-over, roll back,
# commit, abort, with random reads, writes, FUA, flushes, discards and zero-outs all the time.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=24
LEN=$((MIB * 2048 - 40))  # the last block is short

import_with_data() {
  shadow_legs $MIB
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
}
load() { start_stress /dev/mapper/v --block=$BLOCK --discards=4 --zeroes=2 --flushes=2 "$@"; }

test_plain_volume() {
  import_with_data
  shadow_io stress /dev/mapper/v --ops=3000 --block=$BLOCK --discards=4 --zeroes=2 \
    --journal="$SCRATCH/journal"
  check_data /dev/mapper/v --block=$BLOCK
  expect_field v phase steady
  expect_field v mode rw
}

test_move_and_commit() {
  import_with_data
  load
  attach_target $LEN
  expect_field v phase migrating
  copy_all
  message v cutover
  expect_field v phase grace
  sleep 1
  message v commit
  expect_field v phase steady
  swap_table v "$(one_leg $LEN /dev/tgt T)"
  sleep 1
  stop_stress
  check_data /dev/mapper/v --block=$BLOCK
  # The old device is out of it: what happens to it can no longer matter.
  junk /dev/org
  check_data /dev/mapper/v --block=$BLOCK
}

test_copy_again_and_again_loses_no_race() {
  import_with_data
  load --length=$((BLOCK * 12)) --threads=6
  attach_target $LEN
  for _ in 1 2 3 4 5 6; do
    copy_all
    message v cutover
    message v rollback
    message v abort
    expect_field v phase steady
    swap_table v "$(one_leg $LEN /dev/org O)"
    attach_target $LEN
  done
  copy_all
  commit_to_target $LEN
  stop_stress
  check_data /dev/mapper/v --block=$BLOCK
}

# Blocks that are always written, on legs that are slow: many copies end in the try that holds writes.
test_a_discard_during_the_last_try_leaves_a_hole() {
  null_device org 4 ssd completion_nsec=3000000
  null_device tgt 4 ssd completion_nsec=3000000
  null_device meta 8
  load_module
  local len=$((4 * 2048))
  import_volume $len
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  attach_target $len
  copy_all
  start_stress /dev/mapper/v --length=$((BLOCK * 6)) --threads=8 --block=$BLOCK --writes=50 --discards=15
  for _ in {1..30}; do
    message v retire 0+6
    message v remirror 0+6
    wait_idle v
  done
  stop_stress
  note "$(field v recopied) blocks were copied again"
  check_data /dev/mapper/v --block=$BLOCK
}

test_retire_then_copy_back_and_abort() {
  import_with_data
  load
  attach_target $LEN
  copy_all
  message v retire "0+$(($(field v blocks) / 2))"
  [[ $(field v target) -gt 0 ]] || fail "nothing was retired"
  expect_failure message v abort
  expect_log "target"
  sleep 0.5
  message v remirror "0+$(field v blocks)"
  wait_idle v
  expect_field v target 0
  message v abort
  swap_table v "$(one_leg $LEN /dev/org O)"
  stop_stress
  junk /dev/tgt
  check_data /dev/mapper/v --block=$BLOCK
}

test_abort_in_the_middle_of_the_copy() {
  import_with_data
  load
  attach_target $LEN
  message v limit rate 2048
  message v copy "0+$(field v blocks)"
  sleep 1
  message v abort
  swap_table v "$(one_leg $LEN /dev/org O)"
  stop_stress
  junk /dev/tgt
  check_data /dev/mapper/v --block=$BLOCK
}

test_roll_back_after_cutover_keeps_the_writes_of_the_grace_period() {
  import_with_data
  attach_target $LEN
  copy_all
  message v cutover
  shadow_io stress /dev/mapper/v --ops=1500 --block=$BLOCK --journal="$SCRATCH/journal"
  message v rollback
  message v abort
  swap_table v "$(one_leg $LEN /dev/org O)"
  junk /dev/tgt
  check_data /dev/mapper/v --block=$BLOCK
}

test_suspend_resume_and_reload_during_copies() {
  import_with_data
  load
  attach_target $LEN
  message v limit rate 8192
  message v copy "0+$(field v blocks)"
  local round
  for round in 1 2 3 4 5; do
    note "round $round, $(field v copied) blocks copied"
    dm_suspend v
    expect_field v inflight 0
    dm_resume v
    swap_table v "$(two_legs $LEN)"
    # Loaded long before it is made live.
    dm_load v "$(two_legs $LEN)"
    sleep 0.3
    dm_suspend v --noflush
    dm_resume v
  done
  message v limit rate 0
  copy_all
  commit_to_target $LEN
  stop_stress
  check_data /dev/mapper/v --block=$BLOCK
}

test_pause_stops_the_copy_and_resume_goes_on() {
  import_with_data
  attach_target $LEN
  message v limit rate 1024
  message v copy "0+$(field v blocks)"
  sleep 0.5
  message v pause
  wait_until 20 "copies in flight to end" field_is v inflight 0
  local before
  before=$(field v copied)
  sleep 1
  expect_field v copied "$before"
  expect_field v paused 1
  message v limit rate 0
  message v resume
  wait_idle v
  expect_field v origin 0
}

test_rate_limit_is_kept() {
  import_with_data
  attach_target $LEN
  message v limit rate 4096
  local started=$SECONDS took
  message v copy 0+192
  wait_idle v
  took=$((SECONDS - started))
  # 12 MiB at 4 MiB/s.
  ((took >= 2)) || fail "12 MiB were copied in $took s although the limit is 4 MiB/s"
}

test_read_policies() {
  import_with_data
  attach_target $LEN
  copy_all
  local policy before after
  for policy in origin target balance mirror; do
    message v read $policy
    expect_field v read $policy
    shadow_io stress /dev/mapper/v --ops=300 --writes=20 --journal="$SCRATCH/journal" --seed=$RANDOM
    before=$(awk '{print $1}' /sys/block/org/stat)
    dd if=/dev/mapper/v of=/dev/null bs=64k count=64 iflag=direct status=none
    after=$(awk '{print $1}' /sys/block/org/stat)
    case $policy in
      origin) ((after - before >= 64)) || fail "policy origin read the origin $((after - before)) times" ;;
      target) ((after == before)) || fail "policy target read the origin" ;;
      balance) ((after - before >= 16 && after - before <= 48)) || fail "policy balance read the origin $((after - before)) of 64 times" ;;
      mirror) ((after - before >= 60)) || fail "policy mirror read the origin $((after - before)) of 64 times" ;;
    esac
  done
}

test_module_unload_is_refused_while_in_use_and_works_after() {
  import_with_data
  expect_failure rmmod dm_shadow
  dm remove v
  rmmod dm_shadow
  load_module
  import_volume $LEN
  check_data /dev/mapper/v --block=$BLOCK
}

run_tests "$@"
