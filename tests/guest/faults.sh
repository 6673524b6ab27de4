#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memory runs out and requests fail at random, which only the debug kernel can do: no data are wrong
# afterwards, and nothing hangs.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))
DEBUG=/sys/kernel/debug

volume() {
  shadow_legs $MIB
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  attach_target $LEN
}
# inject KIND PERCENT: into requests, or into allocations of the kernel's threads (the module's own,
# kcopyd's, the workers). A program whose page faults fail dies of it, so no program is chosen.
inject() {
  local pid
  echo -1 >$DEBUG/"$1"/times
  echo 0 >$DEBUG/"$1"/verbose
  if [[ $1 != fail_make_request ]]; then
    echo N >$DEBUG/"$1"/ignore-gfp-wait
    echo Y >$DEBUG/"$1"/task-filter
    for pid in $(pgrep 'dm.shadow|kcopyd|kworker'); do echo 1 >"/proc/$pid/make-it-fail" 2>/dev/null || true; done
  fi
  echo "$2" >$DEBUG/"$1"/probability # last: until the filter is there everybody is meant
}
quiet_again() {
  local kind pid
  for kind in failslab fail_page_alloc fail_make_request; do echo 0 >$DEBUG/$kind/probability; done
  for pid in $(pgrep 'dm.shadow|kcopyd|kworker'); do echo 0 >"/proc/$pid/make-it-fail" 2>/dev/null || true; done
}

test_allocations_fail_while_blocks_are_copied() {
  volume
  local kind
  for kind in failslab fail_page_alloc; do
    start_stress /dev/mapper/v --block=$BLOCK --discards=3 --zeroes=2 --flushes=3 --allow-errors
    inject $kind 10
    message v copy "0+$(field v blocks)" || true
    sleep 4
    message v retire 0+16 || true
    quiet_again
    stop_stress
  done
  copy_all
  check_data /dev/mapper/v --block=$BLOCK
  commit_to_target $LEN
  check_data /dev/mapper/v --block=$BLOCK
}

test_requests_of_a_leg_fail_at_random() {
  volume
  local leg
  for leg in tgt org; do
    start_stress /dev/mapper/v --block=$BLOCK --discards=3 --flushes=3 --allow-errors
    inject fail_make_request 5
    echo 1 >/sys/block/$leg/make-it-fail
    message v copy "0+$(field v blocks)" || true
    sleep 4
    echo 0 >/sys/block/$leg/make-it-fail
    quiet_again
    stop_stress
    message v resume || true
    check_data /dev/mapper/v --block=$BLOCK
  done
}

run_tests "$@"
