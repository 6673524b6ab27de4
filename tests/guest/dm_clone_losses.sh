#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two ways in which dm-clone loses a write that was acknowledged and synced; the same steps on
# dm-shadow lose nothing. Each case runs the same function on both: `lost` or `kept` is its answer.
# (dm-clone is built for 6.1 only, by tests/lab/build-dm-clone; elsewhere its half is left out.)
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

# stamp LETTER DEVICE [KIB]: the source holds the letter O, the test writes the letter N.
stamp() {
  head -c $((${3:-4} * 1024)) /dev/zero | tr '\0' "$1" |
    dd of="$2" bs=4k oflag=direct conv=notrunc,fsync status=none
}
first_letter() { dd if="$1" bs=4k count=1 iflag=direct status=none | head -c 1; }

have_dm_clone() {
  local ko
  ko=$SHADOW_CACHE/dm-clone/$(uname -r)/dm-clone.ko
  [[ -e $ko ]] || return 1
  modprobe dm_persistent_data
  [[ -d /sys/module/dm_clone ]] || insmod "$ko"
}

# A source that answers reads after 3 s and holds the letter O.
slow_source() {
  modprobe dm_delay
  null_device org 1
  null_device tgt 1
  null_device meta 8
  stamp O /dev/org 1024
  dm_create slow "0 $(sectors /dev/org) delay /dev/org 0 3000 /dev/org 0 0"
}

clone_table() { echo "0 $(sectors /dev/org) clone /dev/meta /dev/tgt $1 128 1 no_hydration"; }

# discard_race DEVICE IS-COPYING START-OF-COPY-COMMAND...: while the first block is being copied it
# is discarded, then written and synced.
discard_race() {
  local dev=$1 is_copying=$2
  shift 2
  "$@"
  wait_until 10 "the copy to begin" "$is_copying"
  blkdiscard -f -o 0 -l 65536 "$dev"
  stamp N "$dev"
  expect_eq "what was just written" "$(first_letter "$dev")" N
  sleep 7
  [[ $(first_letter "$dev") == N ]] && echo kept || echo lost
}

clone_is_copying() { [[ $(dm status c | cut -d' ' -f 8) != 0 ]]; }
shadow_is_copying() { [[ $(field v copying) != 0 ]]; }

# load_before_suspend DEVICE TABLE: a table is loaded, then a write is synced, then the table is
# made live.
load_before_suspend() {
  dm_load "$1" "$2"
  stamp N "/dev/mapper/$1"
  dm_suspend "$1"
  dm_resume "$1"
  [[ $(first_letter "/dev/mapper/$1") == N ]] && echo kept || echo lost
}

test_dm_clone_loses_a_write_after_a_discard_that_races_the_copy() {
  have_dm_clone || { note "no dm-clone for this kernel, left out" && return; }
  slow_source
  dm_create c "$(clone_table /dev/mapper/slow)"
  expect_eq "the write on dm-clone" \
    "$(discard_race /dev/mapper/c clone_is_copying message c enable_hydration)" lost
}

test_dm_clone_loses_a_write_after_load_before_suspend() {
  have_dm_clone || { note "no dm-clone for this kernel, left out" && return; }
  slow_source
  dm_create c "$(clone_table /dev/org)"
  expect_eq "the write on dm-clone" "$(load_before_suspend c "$(clone_table /dev/org)")" lost
}

test_dm_shadow_keeps_a_write_after_a_discard_that_races_the_copy() {
  load_module
  slow_source
  ORIGIN=/dev/mapper/slow
  import_volume "$(sectors /dev/org)"
  attach_target "$(sectors /dev/org)"
  expect_eq "the write on dm-shadow" "$(discard_race /dev/mapper/v shadow_is_copying message v copy 0+16)" kept
  wait_idle v
  expect_eq "the first byte after the copy" "$(first_letter /dev/mapper/v)" N
  copy_all
  commit_to_target "$(sectors /dev/org)"
  expect_eq "the first byte after cut-over" "$(first_letter /dev/mapper/v)" N
}

test_dm_shadow_keeps_a_write_after_load_before_suspend() {
  load_module
  slow_source
  ORIGIN=/dev/org
  import_volume "$(sectors /dev/org)"
  attach_target "$(sectors /dev/org)"
  copy_all
  expect_eq "the write on dm-shadow" \
    "$(load_before_suspend v "$(two_legs "$(sectors /dev/org)")")" kept
  # The same where a loaded table changes the phase: the write must be in the new leg too.
  message v cutover
  message v commit
  expect_eq "the write before the one-leg table" \
    "$(load_before_suspend v "$(one_leg "$(sectors /dev/org)" /dev/tgt T)")" kept
}

run_tests "$@"
