#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest's half of tests/soak/run.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

VOLUME_BLOCK=512
declare -A n=([moves]=0 [committed]=0 [aborted]=0 [rolled_back]=0 [kills]=0 [cuts]=0 [checks]=0
  [tiers]=0 [removed]=0 [modes]=0)

chance() { ((RANDOM % 100 < $1)); }
pick() { local words=("$@") && echo "${words[RANDOM % $#]}"; }
count() { n[$1]=$((n[$1] + 1)); }
at_rest() { [[ $(op_phase db0 2>/dev/null) =~ ^(GRACE|COMPLETED|ABORTED|FAILED)$ ]]; }
load() {
  rm -f "$SCRATCH/stop"
  shadow_io stress /dev/mapper/db0 --stop-file="$SCRATCH/stop" --journal="$SCRATCH/journal" --threads=2 \
    --block=$VOLUME_BLOCK --discards=2 --zeroes=1 --flushes=4 --seed="$RANDOM" "$@" >>"$SCRATCH/load.log" &
  STRESS=$!
}
unload() {
  touch "$SCRATCH/stop"
  wait "$STRESS" || fail "the data was wrong under load: $(tail -n 3 "$SCRATCH/load.log")"
}
check() {
  check_data /dev/mapper/db0 --block=$VOLUME_BLOCK "$@" >/dev/null
  count checks
}

start_daemon() { start_shadowd slow=slow fast=fast mid=mid meta=meta; }
kill_daemon() {
  kill -9 "$DAEMON"
  wait "$DAEMON" 2>/dev/null || true
  count kills
  chance 50 && sleep 1
  start_daemon
}
db0_is_there() { [[ -b /dev/mapper/db0 ]] && dmsetup status db0 | grep -q ' shadow '; }
# All caches are lost, everything is started again as after a boot.
cut_power() {
  local name
  touch "$SCRATCH/stop"
  wait "$STRESS" || fail "the data was wrong under load: $(tail -n 3 "$SCRATCH/load.log")"
  load --until-error
  sleep 0.7
  kill -9 "$DAEMON"
  wait "$DAEMON" 2>/dev/null || true
  power_cut all
  wait "$STRESS" || fail "the data was wrong before the cut: $(tail -n 3 "$SCRATCH/load.log")"
  wait_until 30 "the volume to go" gone db0
  while read -r name _; do
    [[ $name == No || $name == disk-* ]] || wait_until 30 "$name to go" gone "$name"
  done < <(dmsetup ls)
  power_up all
  count cuts
  vgchange -qq -ay slow fast mid meta >/dev/null
  start_daemon
  wait_until 60 "the volume after the cut" db0_is_there
  check --durable=flush
  load
}

some_blocks() {
  local first=$((RANDOM % 128))
  echo "$first+$((1 + RANDOM % (128 - first)))"
}
# Between modifications a tier comes or goes.
change_tiers() {
  local mode=()
  if no_tier tier1; then
    chance 50 && mode=(--write-back)
    shadowctl tier add db0 tier1 --to mid --size 8M "${mode[@]}" >/dev/null || fail "the tier was refused"
    count tiers
  elif chance 40; then
    shadowctl tier remove db0 tier1 >/dev/null || fail "the removal was refused"
    chance 40 && kill_daemon
    chance 30 && cut_power
    wait_until 120 "the tier to be gone" no_tier tier1
    count removed
  fi
}
# What happens to it at any time; blocks are promoted by the daemon, and besides at random.
tier_event() {
  ! no_tier tier1 || return 0
  case $((RANDOM % 10)) in
    0 | 1)
      shadowctl tier mode db0 tier1 "$(pick writethrough writeback)" >/dev/null || fail "the mode was refused"
      count modes
      ;;
    # refused while a table is exchanged
    2 | 3) dmsetup message db0 0 demote "$(some_blocks)" &>/dev/null || true ;;
    4) dmsetup message db0 0 writeback "$(some_blocks)" &>/dev/null || true ;;
    *) dmsetup message db0 0 promote tier1 "$(some_blocks)" &>/dev/null || true ;;
  esac
}

one_move() {
  local to
  [[ $WHERE == slow ]] && to=fast || to=slow
  load
  change_tiers
  shadowctl volume modify db0 --to $to --grace 1h --retire "$(pick never never cold eager)" \
    --rate "$(pick 2M 4M 16M 64M)" >/dev/null || fail "the modification was refused"
  count moves
  for _ in 1 2 3 4; do
    chance 70 && tier_event
    chance 40 && sleep 0.$((RANDOM % 10))
    if chance 25; then kill_daemon; fi
    if chance 20; then cut_power; fi
    if chance 20 && shadowctl op pause db0 &>/dev/null; then
      chance 30 && kill_daemon
      shadowctl op resume db0 >/dev/null || fail "cannot be resumed"
    fi
    if chance 12; then shadowctl op abort db0 &>/dev/null || true; fi
  done
  at_rest || shadowctl op rate db0 --impact full &>/dev/null || true
  wait_until 300 "the end of the copy (phase $(op_phase db0))" at_rest
  if op_phase_is db0 GRACE; then
    chance 30 && cut_power
    if chance 35; then
      shadowctl op rollback db0 >/dev/null || fail "cannot be rolled back"
      wait_until 300 "the way back" op_phase_is db0 ABORTED
      count rolled_back
    else
      shadowctl op commit db0 >/dev/null || fail "cannot be committed"
      chance 30 && kill_daemon
      wait_until 300 "the commit" op_phase_is db0 COMPLETED
      WHERE=$to
      count committed
    fi
  else
    expect_eq "the phase" "$(op_phase db0)" ABORTED
    count aborted
  fi
  unload
  check
}

test_soak() {
  RANDOM=${TEST_SOAK_SEED:-1}
  note "seed ${TEST_SOAK_SEED:-1}, ${TEST_SOAK_SECONDS:-60} s"
  load_module
  local name end
  null_device slowdev 128 fast cache_size=192
  null_device fastdev 128 fast cache_size=192
  null_device middev 32 fast cache_size=64
  null_device metadev 32 fast cache_size=64
  lvm_configuration
  for name in slow:slowdev fast:fastdev mid:middev meta:metadev; do vgcreate -qq -y "${name%:*}" "/dev/${name#*:}"; done
  lvcreate -qq -y -Wn -L 32m -n db0 slow
  sync /dev/slowdev /dev/fastdev /dev/middev /dev/metadev # LVM itself does not flush
  start_daemon
  shadowctl volume import db0 /dev/slow/db0 --metadata meta >/dev/null
  shadowctl tier policy db0 --policy ewma --window 3s >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
  WHERE=slow
  end=$((SECONDS + ${TEST_SOAK_SECONDS:-60}))
  while ((SECONDS < end)); do
    one_move
    note "${n[moves]} moves: ${n[committed]} committed, ${n[aborted]} aborted, ${n[rolled_back]} rolled back;" \
      "${n[tiers]} tiers given, ${n[removed]} taken away, ${n[modes]} modes; ${n[kills]} kills, ${n[cuts]} cuts"
  done
  kill "$DAEMON"
  wait "$DAEMON" || fail "shadowd ended with an error: $(tail -n 2 "$RESULT/shadowd.log")"
  gone db0 || true
  vgremove -qq -y -ff slow fast mid meta
  printf 'soak: %s moves, %s committed, %s aborted, %s rolled back, %s tiers given, %s taken away, %s mode changes, %s daemon kills, %s power cuts, %s whole checks, 0 sectors lost, %s s, seed %s\n' \
    "${n[moves]}" "${n[committed]}" "${n[aborted]}" "${n[rolled_back]}" "${n[tiers]}" "${n[removed]}" "${n[modes]}" "${n[kills]}" "${n[cuts]}" "${n[checks]}" \
    "$SECONDS" "${TEST_SOAK_SEED:-1}"
}

run_tests "$@"
