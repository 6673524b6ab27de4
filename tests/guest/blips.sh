#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A leg loses power, and its volatile cache, for a moment under a running volume, which hears of it by
# an I/O that fails. What it acknowledged before and did not flush is gone there, and the next flush
# succeeds: no read may find that out.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))

# put WORD BLOCK: writes 4 KiB full of it.
put() {
  { yes "$1" || true; } | head -c 4096 |
    dd of=/dev/mapper/v bs=4k seek=$(($2 * BLOCK / 8)) oflag=direct iflag=fullblock conv=notrunc status=none
}
# put_may_fail WORD BLOCK
put_may_fail() { put "$@" 2>/dev/null || note "the write failed, as it may"; }
expect_word() { # BLOCK WORD
  local seen
  seen=$(dd if=/dev/mapper/v bs=4k skip=$(($1 * BLOCK / 8)) count=1 iflag=direct status=none | head -c 3)
  [[ $seen == "$2" ]] || fail "block $1 is read as '$seen' instead of '$2': $(dmsetup status v)"
}
# Power goes, an I/O of the volume fails, power comes back.
blip() { # LEG COMMAND...
  power_cut "$1"
  "${@:2}"
  CUT_KEEP=none power_up "$1"
}

volatile_legs() {
  load_module
  null_device org $MIB fast cache_size=16
  null_device tgt $MIB fast cache_size=16
  null_device meta 8 fast cache_size=8
  import_volume $LEN
  local b
  for b in 3 9 20 40; do put old $b; done
  sync /dev/mapper/v
}
mirrored() {
  volatile_legs
  attach_target $LEN
  copy_all
  message v sync # or the commit after the copy asks for a flush while the power is off, and the leg is dropped
}

# With each read policy, and a flush between: the other leg has what this one has lost.
leg_blips() { # LEG
  mirrored
  local policy
  put new 3
  blip "$1" put new 9
  for policy in origin target; do
    message v read $policy
    expect_word 3 new
    expect_word 9 new
    expect_word 20 old
  done
  sync /dev/mapper/v
  for policy in origin target; do
    message v read $policy
    expect_word 3 new
  done
  [[ $(field v stale) -gt 0 ]] || fail "no copy was given up"
  # what was given up is copied again, and the move goes on
  message v copy 0+$((LEN / BLOCK))
  message v remirror 0+$((LEN / BLOCK))
  wait_idle v
  [[ $(field v mirrored) == $((LEN / BLOCK)) ]] || fail "not mirrored again: $(dmsetup status v)"
  message v read "$([[ $1 == org ]] && echo origin || echo target)"
  expect_word 3 new
  expect_word 20 old
}
test_the_origin_blips() { leg_blips org; }
test_the_target_blips() { leg_blips tgt; }

# A copy that was made lately has no write-intent bit.
test_the_target_loses_copies() {
  volatile_legs
  attach_target $LEN
  message v read target
  copy_all
  blip tgt put new 9
  expect_word 3 old
  expect_word 9 new
  expect_word 20 old
  sync /dev/mapper/v
  expect_word 3 old
  expect_word 40 old
}

# The failed I/O need not be a write to two legs.
test_a_read_tells_of_it() {
  mirrored
  message v read target
  put new 3
  blip tgt expect_word 20 old
  wait_until 10 "the copy is given up" field_is_not v stale 0
  expect_word 3 new
  sync /dev/mapper/v
  expect_word 3 new
}
field_is_not() { [[ $(field "$1" "$2") != "$3" ]]; }

# With a clean shadow of blocks 0 to 31.
tiered() { # write-through unless "writeback"
  volatile_legs
  null_device t1 $MIB fast cache_size=16
  swap_table v "0 $LEN shadow /dev/meta $BLOCK 2 origin /dev/org tier1 /dev/t1 6 leg_id origin O leg_id tier1 F"
  message v promote tier1 0+32
  wait_until 60 "the promotion" field_is v tier_queue 0
  wait_until 60 "the promotion" field_is v tier_inflight 0
  sync /dev/mapper/v
}
demote_all() {
  message v demote 0+$((LEN / BLOCK))
  wait_until 60 "the demotion" field_is v tier_queue 0
  wait_until 60 "the demotion" field_is v tier_inflight 0
}

test_a_tier_blips() {
  tiered
  put new 3
  blip t1 put new 9
  expect_word 3 new
  expect_word 9 new
  sync /dev/mapper/v
  expect_word 3 new
  demote_all
  expect_word 3 new
  expect_word 20 old
}

# The shadow has what home lost: it is the newest copy then, and is written back before it ends.
test_home_blips_under_a_shadow() {
  tiered
  put new 3
  blip org put_may_fail new 40
  expect_word 3 new
  sync /dev/mapper/v
  expect_word 3 new
  demote_all
  expect_word 3 new
  expect_word 20 old
}

# It is a flush that finds it: the volume's own, with a home that nothing else holds.
test_a_flush_finds_that_home_blips() {
  tiered
  put new 3
  power_cut org
  sync /dev/mapper/v 2>/dev/null && fail "a flush of a device without power has succeeded"
  CUT_KEEP=none power_up org
  sync /dev/mapper/v || note "the next flush failed, too"
  expect_word 3 new
  demote_all
  expect_word 3 new
}

# A commit flushes the legs after a copy, and is the first to find the origin without power.
test_a_commit_finds_that_the_origin_blips_under_a_shadow() {
  volatile_legs
  null_device t1 $MIB fast cache_size=16
  swap_table v "0 $LEN shadow /dev/meta $BLOCK 3 origin /dev/org target /dev/tgt tier1 /dev/t1 9 leg_id origin O leg_id target T leg_id tier1 F"
  message v promote tier1 0+16
  wait_until 60 "the promotion" field_is v tier_queue 0
  wait_until 60 "the promotion" field_is v tier_inflight 0
  message v sync
  put new 3
  message v copy 32+16
  wait_idle v
  power_cut org
  message v sync || true # the commit of the copies
  CUT_KEEP=none power_up org
  expect_word 3 new
  if sync /dev/mapper/v; then
    message v demote 0+$((LEN / BLOCK))
    wait_until 60 "the demotion" field_is v tier_queue 0
    wait_until 60 "the demotion" field_is v tier_inflight 0
    expect_word 3 new
  fi
}

run_tests "$@"
