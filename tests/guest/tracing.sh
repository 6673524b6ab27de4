#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the kernel shows of a volume's changes (tracepoints), and what a volume leaves alone while user space
# is frozen.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))
TRACING=/sys/kernel/tracing

trace_on() {
  mountpoint -q $TRACING || mount -t tracefs tracefs $TRACING
  echo 1 >$TRACING/events/dm_shadow/enable
  echo >$TRACING/trace
}
# traced EVENT TEXT: how many of its lines have the text
traced() { grep -cE " $1: .*$2" $TRACING/trace || true; }
expect_traced() { expect_eq "trace of $1 '$2'" "$(traced "$1" "$2")" "$3"; }

test_each_change_is_traced_once() {
  local blocks=$((LEN / BLOCK))
  shadow_legs $MIB
  null_device t1 2 fast
  trace_on
  import_volume $LEN
  dd if=/dev/zero of=/dev/mapper/v bs=64k count=8 oflag=direct status=none
  dd if=/dev/mapper/v of=/dev/null bs=64k iflag=direct status=none
  expect_traced "shadow_[a-z]*" "" 0 # a volume that runs as it is
  attach_target $LEN
  copy_all
  expect_traced shadow_phase "steady -> migrating" 1
  expect_traced shadow_home "origin -> copying" "$blocks"
  expect_traced shadow_home "copying -> mirrored" "$blocks"
  expect_traced shadow_home "block 5: copying -> mirrored" 1
  message v cutover
  expect_traced shadow_phase "migrating -> grace" 1
  message v retire 3+2
  expect_traced shadow_home "block [34]: retiring -> target" 2
  message v commit
  expect_traced shadow_phase "grace -> steady" 1
  swap_table v "0 $LEN shadow /dev/meta $BLOCK 2 origin /dev/tgt tier1 /dev/t1 6 leg_id origin T leg_id tier1 F"
  message v promote tier1 7+1
  wait_until 60 "the promotion" field_is v promoted 1
  expect_traced shadow_word "block 7: none -> promoting, slot [0-9]+ of tier1" 1
  expect_traced shadow_word "block 7: promoting -> clean" 1
  (($(traced shadow_commit "error 0")))
  expect_traced shadow_commit "error -" 0
  expect_traced shadow_mode "" 0
  dm remove v
  echo 0 >$TRACING/events/dm_shadow/enable
}

# The kernel freezes user space as for a hibernation, and thaws it five seconds later. A copy of 1 MiB a
# second would have gone on meanwhile.
test_nothing_is_copied_while_user_space_is_frozen() {
  local mib=64 copied before run=16
  shadow_legs $mib
  import_volume $((mib * 2048))
  attach_target $((mib * 2048))
  message v limit rate 1024
  message v copy 0+$((mib * 2048 / BLOCK))
  wait_until 60 "a first copy" field_at_least v copied $run
  echo freezer >/sys/power/pm_test
  copied=$(field v copied) before=$(cut -d. -f1 /proc/uptime)
  echo freeze >/sys/power/state
  note "copied before and after: $copied $(field v copied)"
  (($(cut -d. -f1 /proc/uptime) - before >= 5)) || fail "user space was not frozen"
  (($(field v copied) <= copied + 3 * run)) || fail "blocks were copied while user space was frozen"
  echo none >/sys/power/pm_test
  # and it goes on
  message v limit rate 0
  wait_idle v
  expect_field v mirrored $((mib * 2048 / BLOCK))
  dm remove v
}
field_at_least() { (($(field "$1" "$2") >= $3)); }

run_tests "$@"
