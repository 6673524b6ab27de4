#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Power cuts (all devices at once lose any part of what was not flushed) and restarts in every
# phase: what was flushed is read back, nothing stale is, and what is read once stays.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048 - 24))

volatile_legs() {
  load_module
  null_device org $MIB fast cache_size=16
  null_device tgt $MIB fast cache_size=16
  null_device meta 8 fast cache_size=8
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
}
# cut COMMAND-AFTER...: power off under load, all caches lost, power on, the volume as TABLE again.
cut_under_load() {
  local table=$1
  shift
  shadow_io stress "${LOADED:-/dev/mapper/v}" --until-error --block=$BLOCK --flushes="${FLUSHES:-4}" --discards=3 --zeroes=1 \
    --seed=$RANDOM --journal="$SCRATCH/journal" >/dev/null &
  local load=$!
  sleep 0.3
  "$@"
  sleep 0.4
  "${CUT:-all_at_once}"
  wait $load || fail "the data was wrong before the cut"
  [[ ! ${LOADED:-} ]] || wait_until 10 "what lies on the volume to go" gone "${LOADED##*/}"
  wait_until 10 "the volume to go" gone v
  power_up all
  dm_create v "$table" SHADOW-test
  [[ ${NO_CHECK:-} ]] || check_data /dev/mapper/v --block=$BLOCK --durable=flush
}
all_at_once() { power_cut all; }
# As when a rack goes dark: the legs that go first have failed for those that are left.
one_by_one() {
  local name
  for name in $(volatile_devices | shuf); do
    power_cut "$name"
    sleep 0.15
  done
}
nothing() { :; }
start_copy() { message v copy "0+$(field v blocks)"; }

test_power_cut_of_a_plain_volume() {
  volatile_legs
  cut_under_load "$(one_leg $LEN /dev/org O)" nothing
  expect_field v mode rw
}

test_power_cut_during_the_copy() {
  volatile_legs
  attach_target $LEN
  local round
  for round in 1 2 3; do
    note "cut $round"
    cut_under_load "$(two_legs $LEN)" start_copy
    expect_field v phase migrating
  done
  copy_all
  commit_to_target $LEN
  check_data /dev/mapper/v --block=$BLOCK --durable=flush
}

test_power_cut_while_mirrored() {
  volatile_legs
  attach_target $LEN
  copy_all
  local round policy
  for policy in target balance; do
    note "read policy $policy"
    cut_under_load "$(two_legs $LEN read $policy)" nothing
    # What was read must be what every copy says from now on.
    for round in 1 2; do check_data /dev/mapper/v --block=$BLOCK --durable=flush; done
  done
}

test_disks_lose_power_one_after_the_other() {
  local CUT=one_by_one round
  volatile_legs
  attach_target $LEN
  for round in 1 2; do
    note "copying, cut $round"
    cut_under_load "$(two_legs $LEN)" start_copy
  done
  for round in 1 2 3; do
    note "mirrored, cut $round"
    copy_all
    cut_under_load "$(two_legs $LEN)" nothing
    check_data /dev/mapper/v --block=$BLOCK --durable=flush
  done
  copy_all
  message v cutover
  note "grace"
  cut_under_load "$(two_legs $LEN)" nothing
  check_data /dev/mapper/v --block=$BLOCK --durable=flush
}

# A machine that stops leaves its drives' caches as they are. What the next start reads there may be lost yet.
test_a_power_cut_soon_after_a_machine_stopped() {
  local round what table
  stopped() {
    local CUT_KEEP=all
    NO_CHECK=1 cut_under_load "$@"
  }
  volatile_legs
  null_device t1 4 fast cache_size=8
  table="0 $LEN shadow /dev/meta $BLOCK 3 origin /dev/org target /dev/tgt tier1 /dev/t1"
  table+=" 11 leg_id origin O leg_id target T leg_id tier1 F writeback tier1"
  swap_table v "$table"
  for round in 1 2; do
    for what in start_copy "message v promote tier1 0+40" "message v retire 20+20" "message v demote 10+40" "message v remirror 0+128"; do
      note "round $round, $what"
      # shellcheck disable=SC2086  # a command and its words
      stopped "$table" $what
      CUT_KEEP=none cut_under_load "$table" nothing
    done
  done
}

retire_some() { message v retire "0+$(($(field v blocks) / 2))"; }
test_power_cut_while_retiring() {
  volatile_legs
  attach_target $LEN
  copy_all
  cut_under_load "$(two_legs $LEN)" retire_some
  junk_retired
  check_data /dev/mapper/v --block=$BLOCK --durable=flush
}
# What the origin holds of a retired block may never matter again.
junk_retired() {
  local run first count
  for run in $(message v map "0+$(field v blocks)"); do
    [[ $run == *:target ]] || continue
    first=${run%%+*} count=${run#*+} count=${count%%:*}
    dd if=/dev/urandom of=/dev/org bs=$((BLOCK * 512)) seek="$first" count="$count" \
      oflag=direct conv=notrunc status=none 2>/dev/null || true
  done
}

cut_over() { message v cutover; }
test_power_cut_around_the_cutover() {
  volatile_legs
  attach_target $LEN
  copy_all
  cut_under_load "$(two_legs $LEN)" cut_over
  expect_field v phase grace
  cut_under_load "$(two_legs $LEN)" nothing
  expect_field v phase grace
  message v commit
  swap_table v "$(one_leg $LEN /dev/tgt T)"
  cut_under_load "$(one_leg $LEN /dev/tgt T)" nothing
}

roll_back() { message v rollback; }
turn_back() { message v abort; }
test_power_cut_around_the_rollback_and_the_abort() {
  volatile_legs
  attach_target $LEN
  copy_all
  message v cutover
  cut_under_load "$(two_legs $LEN)" roll_back
  expect_field v phase migrating
  cut_under_load "$(one_leg $LEN /dev/org O)" turn_back
  expect_field v phase steady
  cut_under_load "$(one_leg $LEN /dev/org O)" nothing
}

test_power_cut_while_holes_are_filled() {
  load_module
  null_device org $MIB fast cache_size=16
  null_device meta 8 fast cache_size=8
  null_device tgt $MIB fast cache_size=16
  dm_create v "$(one_leg $LEN /dev/org O fresh)" SHADOW-test
  local round
  for round in 1 2; do
    note "cut $round"
    cut_under_load "$(one_leg $LEN /dev/org O)" nothing
  done
}

# A write with FUA is durable by itself. The kernel sends a flush behind each of a program's, so the load
# goes to a device that leads flushes astray.
test_fua_writes_are_durable_without_a_flush() {
  local FLUSHES=0 LOADED='' table
  load_module
  modprobe dm_delay
  null_device org $MIB fast cache_size=16
  null_device tgt $MIB fast cache_size=16
  null_device t1 4 fast cache_size=8
  null_device meta 8 fast cache_size=8
  null_device sink $MIB fast
  fua_cut() {
    LOADED=/dev/mapper/noflush
    local round
    for round in 1 2; do
      dm_create noflush "0 $LEN delay /dev/mapper/v 0 0 /dev/mapper/v 0 0 /dev/sink 0 0"
      note "$1, cut $round"
      cut_under_load "$table" "${@:2}"
    done
  }
  # the first write to a hole
  dm_create v "$(one_leg $LEN /dev/org O fresh)" SHADOW-test
  table=$(one_leg $LEN /dev/org O)
  fua_cut holes nothing
  table="0 $LEN shadow /dev/meta $BLOCK 2 origin /dev/org tier1 /dev/t1 8 leg_id origin O leg_id tier1 F writeback tier1"
  swap_table v "$table"
  # the first write to a clean shadow
  fua_cut "a write-back tier" message v promote tier1 0+60
  table="0 $LEN shadow /dev/meta $BLOCK 3 origin /dev/org target /dev/tgt tier1 /dev/t1"
  table+=" 11 leg_id origin O leg_id target T leg_id tier1 F writeback tier1"
  swap_table v "$table"
  fua_cut copying start_copy
  copy_all
  fua_cut mirrored message v demote 0+128
}

test_remove_and_create_in_each_phase() {
  volatile_legs
  again() {
    dm remove v
    dm_create v "$1" SHADOW-test
    check_data /dev/mapper/v --block=$BLOCK
  }
  again "$(one_leg $LEN /dev/org O)"
  attach_target $LEN
  again "$(two_legs $LEN)"
  expect_field v phase migrating
  message v copy 0+40
  wait_idle v
  again "$(two_legs $LEN)"
  expect_field v mirrored 40
  message v retire 0+10
  again "$(two_legs $LEN)"
  expect_field v target 10
  shadow_io stress /dev/mapper/v --ops=400 --block=$BLOCK --journal="$SCRATCH/journal"
  again "$(two_legs $LEN)"
  copy_all
  message v cutover
  again "$(two_legs $LEN)"
  expect_field v phase grace
  message v commit
  again "$(one_leg $LEN /dev/tgt T)"
  expect_field v phase steady
}

test_only_dirty_regions_are_copied_again() {
  volatile_legs
  attach_target $LEN
  copy_all
  dm suspend v && dm_resume v # what was written before and while it was copied: as a quiet minute does
  # One region is being written when the power goes.
  shadow_io stress /dev/mapper/v --until-error --length=64 --journal="$SCRATCH/journal" &
  sleep 0.5
  power_cut all
  wait $! || true
  wait_until 10 "the volume to go" gone v
  power_up all
  dm_create v "$(two_legs $LEN)" SHADOW-test
  local again
  again=$(($(field v blocks) - $(field v mirrored)))
  copy_all
  ((again <= 32)) || fail "$again blocks must be copied again after a cut with one region in flight"
  check_data /dev/mapper/v --durable=flush
}

run_tests "$@"
