#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# New capacity and discarded space read as zeroes, whatever the devices held before.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=16
LEN=$((MIB * 2048))

test_a_fresh_volume_is_zeroes() {
  shadow_legs $MIB
  junk /dev/org
  dm_create v "$(one_leg $((LEN - 24)) /dev/org O fresh)"
  expect_field v hole "$(field v blocks)"
  is_zero /dev/mapper/v 0 $((LEN - 24)) || fail "old data is seen through a hole"
  shadow_io stress /dev/mapper/v --ops=2500 --block=$BLOCK --discards=6 --zeroes=2 \
    --journal="$SCRATCH/journal"
  check_data /dev/mapper/v --block=$BLOCK
}

test_a_small_write_zero_fills_the_rest_of_its_block() {
  shadow_legs $MIB
  junk /dev/org
  dm_create v "$(one_leg $LEN /dev/org O fresh)"
  shadow_io fill /dev/mapper/v --first=$((BLOCK * 5 + 7)) --length=3 --journal="$SCRATCH/journal"
  check_data /dev/mapper/v --block=$BLOCK
  expect_field v hole $(($(field v blocks) - 1))
}

test_grow_at_attach_is_usable_before_anything_is_copied() {
  null_device org $((MIB / 2))
  null_device tgt $MIB
  null_device meta 8
  load_module
  junk /dev/tgt
  import_volume $((LEN / 2))
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  start_stress /dev/mapper/v --length=$((LEN / 2)) --block=$BLOCK --discards=3
  attach_target $LEN
  expect_eq "the length" "$(sectors /dev/mapper/v)" $LEN
  stop_stress
  is_zero /dev/mapper/v $((LEN / 2)) $((LEN / 2)) || fail "old data of the target in the new capacity"
  expect_field v copied 0
  start_stress /dev/mapper/v --block=$BLOCK --discards=3
  copy_all
  commit_to_target $LEN
  stop_stress
  check_data /dev/mapper/v --block=$BLOCK
}

test_grow_in_place() {
  shadow_legs $MIB
  junk /dev/org
  import_volume $((LEN / 2))
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  swap_table v "$(one_leg $LEN /dev/org O)"
  is_zero /dev/mapper/v $((LEN / 2)) $((LEN / 2)) || fail "old data in the new capacity"
  shadow_io stress /dev/mapper/v --ops=1500 --block=$BLOCK --discards=3 --journal="$SCRATCH/journal"
  check_data /dev/mapper/v --block=$BLOCK
}

test_abort_after_a_grow_is_refused_while_the_new_end_holds_data() {
  null_device org $((MIB / 2))
  null_device tgt $MIB
  null_device meta 8
  load_module
  import_volume $((LEN / 2))
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  attach_target $LEN
  dd if=/dev/urandom of=/dev/mapper/v bs=4k count=1 seek=$(((LEN / 2 + 512) / 8)) oflag=direct status=none
  expect_field v tail 1
  expect_failure message v abort
  expect_log "beyond"
  blkdiscard -f -o $((LEN * 256)) -l $((LEN * 256)) /dev/mapper/v 2>/dev/null
  expect_field v tail 0
  message v abort
  swap_table v "$(one_leg $((LEN / 2)) /dev/org O)"
  expect_eq "the length" "$(sectors /dev/mapper/v)" $((LEN / 2))
  check_data /dev/mapper/v --block=$BLOCK
}

test_shrink_needs_its_feature() {
  shadow_legs $MIB
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  expect_failure dm_load v "$(one_leg $((LEN / 2)) /dev/org O)"
  expect_log "the feature shrink allows it"
  swap_table v "$(one_leg $((LEN / 2)) /dev/org O shrink)"
  expect_eq "the length" "$(sectors /dev/mapper/v)" $((LEN / 2))
  # What was cut off is gone for good: growing again shows zeroes.
  swap_table v "$(one_leg $LEN /dev/org O)"
  is_zero /dev/mapper/v $((LEN / 2)) $((LEN / 2)) || fail "the cut-off data shows again"
}

test_discarded_blocks_are_holes_after_remove_and_create() {
  shadow_legs $MIB
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  blkdiscard -f -o $((BLOCK * 512 * 4)) -l $((BLOCK * 512 * 8)) /dev/mapper/v 2>/dev/null
  expect_field v hole 8
  dm remove v
  junk_blocks /dev/org 4 8
  import_volume $LEN
  expect_field v hole 8
  is_zero /dev/mapper/v $((BLOCK * 4)) $((BLOCK * 8)) || fail "a discarded block shows data again"
}
junk_blocks() { dd if=/dev/urandom of="$1" bs=$((BLOCK * 512)) seek="$2" count="$3" oflag=direct conv=notrunc status=none; }

test_holes_are_not_copied() {
  shadow_legs $MIB
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  blkdiscard -f -o 0 -l $((MIB * 512 * 1024)) /dev/mapper/v 2>/dev/null
  local holes
  holes=$(field v hole)
  expect_eq "the holes" "$holes" $((MIB * 1024 / 2 / 64))
  attach_target $LEN
  copy_all
  expect_field v hole "$holes"
  expect_field v copied $(($(field v blocks) - holes))
  commit_to_target $LEN
  is_zero /dev/mapper/v 0 $((MIB * 1024)) || fail "a hole shows the target's old data"
}

# Its device takes 2 s for each of 10 discards; the hole lies where it is fast. (Discards of one
# block device wait for each other before they reach it, so each has a device of its own.)
test_a_first_write_does_not_wait_behind_discards() {
  local half=$((LEN / 2)) b
  null_device slow $MIB
  null_device meta 8
  load_module
  modprobe dm_delay
  dm_create mixed "0 $half delay /dev/slow 0 0 /dev/slow 0 0
$half $half linear /dev/slow $half"
  dm_create v "$(one_leg $LEN /dev/mapper/mixed O fresh)"
  for b in {0..9}; do
    dd if=/dev/urandom of=/dev/mapper/v bs=$((BLOCK * 512)) count=1 seek=$((b * 2)) oflag=direct status=none
    dm_create "part$b" "0 $BLOCK linear /dev/mapper/v $((b * 2 * BLOCK))"
  done
  dm_load mixed "0 $half delay /dev/slow 0 0 /dev/slow 0 2000
$half $half linear /dev/slow $half"
  dm suspend --noflush --nolockfs mixed && dm_resume mixed
  for b in {0..9}; do blkdiscard "/dev/mapper/part$b" & done
  sleep 4 # the first one is over, and the worker has taken the others
  printf 'x%.0s' {1..4096} |
    timeout 10 dd of=/dev/mapper/v bs=4k count=1 seek=$((half / 8)) oflag=direct iflag=fullblock status=none ||
    fail "a first write takes more than 10 s: $(dmsetup status v)"
  [[ -n $(jobs -r) ]] || fail "the discards were over: this has tested nothing"
  wait
}

run_tests "$@"
