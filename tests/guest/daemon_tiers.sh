#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tiers through shadowd on a real kernel and LVM: they come and go under verified load, hot blocks
# find their way to them, a daemon that is killed goes on, a dead tier is taken away.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

HOT=16 # of 256 KiB blocks

tiered_classes() {
  two_classes hdd nvme
  null_device midev 16 fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
}
used_bytes() { told "$1" used_bytes; }
has_shadows() { (($(used_bytes "$1" | grep . || echo 0) > 0)); }
has_hits() { (($(field db0 tier1_reads) > 0)); }
hot_load() {
  start_stress /dev/mapper/db0 --threads=2 --writes=40 --length=$((HOT * 512))
}
tear_down() {
  kill "$DAEMON"
  wait "$DAEMON" || fail "shadowd ended with an error: $(tail -n 2 "$RESULT/shadowd.log")"
  dm remove db0
  vgremove -qq -y -ff slow fast
}

test_hot_blocks_are_promoted_and_go_home_again() {
  tiered_classes
  shadowctl tier add db0 tier1 --to fast --size 16M --write-back
  shadowctl tier add db0 tier2 --to /dev/midev --allow-unstable-names
  shadowctl tier policy db0 --policy ewma --window 3s
  hot_load
  wait_until 120 "a promotion" has_shadows tier1
  # Killed, and started again: it goes on, and the kernel never needed it.
  kill -9 "$DAEMON"
  wait "$DAEMON" || true
  sleep 1
  start_shadowd
  wait_until 120 "hits" has_hits
  shadowctl tier explain db0 0 >"$RESULT/explain"
  grep -q "on tier 1" "$RESULT/explain" || fail "block 0 is not explained: $(cat "$RESULT/explain")"
  shadowctl heat db0 >"$RESULT/heat"
  shadowctl tier map db0 >"$RESULT/map"
  shadowctl top --once >"$RESULT/top"
  # One tier leaves while it is in use, the other goes on.
  shadowctl tier remove db0 tier1
  wait_until 120 "tier1 to be empty and gone" no_tier tier1
  stop_stress
  check_data /dev/mapper/db0
  ! lvs slow/db0_tier1 fast/db0_tier1 &>/dev/null || fail "the leg of tier1 was left behind"
  shadowctl volume export db0 >/dev/null
  check_data /dev/slow/db0
  kill "$DAEMON"
  wait "$DAEMON"
  vgremove -qq -y -ff slow fast
}

test_a_volume_with_tiers_moves_and_grows() {
  tiered_classes
  shadowctl tier add db0 tier1 --to /dev/midev --allow-unstable-names --write-back
  message db0 promote tier1 0+$HOT
  wait_until 60 "shadows" has_shadows tier1
  hot_load
  shadowctl volume modify db0 --to fast --size +25% --grace 0 --wait
  stop_stress
  expect_eq "sectors" "$(sectors /dev/mapper/db0)" $((80 * 2048))
  check_data /dev/mapper/db0
  (($(field db0 tier1_writes) > 0)) || fail "the tier was not used meanwhile"
  expect_failure shadowctl tier add db0 tier1 --to fast --size 8M
  expect_match "the words" "$OUTPUT" "has a tier1"
  tear_down
}

test_a_dead_tier_is_said_and_taken_away() {
  tiered_classes
  shadowctl tier add db0 tier1 --to /dev/midev --allow-unstable-names
  message db0 promote tier1 0+$HOT
  wait_until 60 "shadows" has_shadows tier1
  kill "$DAEMON"
  wait "$DAEMON" || true
  dm remove db0
  null_remove midev
  start_shadowd
  wait_until 30 "the volume" test -b /dev/mapper/db0
  expect_eq "the tier's health" "$(told tier1 health)" missing
  shadowctl doctor >"$RESULT/doctor" || true
  grep -q "missing" "$RESULT/doctor" || fail "the doctor sees nothing: $(cat "$RESULT/doctor")"
  check_data /dev/mapper/db0
  shadowctl tier remove db0 tier1 --forget
  no_tier tier1 || fail "the tier is still there"
  check_data /dev/mapper/db0
  tear_down
}

run_tests "$@"
