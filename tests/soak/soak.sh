#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest's half of tests/soak/run.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

VOLUME_BLOCK=512
declare -A n=([moves]=0 [committed]=0 [aborted]=0 [rolled_back]=0 [kills]=0 [cuts]=0 [checks]=0)

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

kill_daemon() {
  kill -9 "$DAEMON"
  wait "$DAEMON" 2>/dev/null || true
  count kills
  chance 50 && sleep 1
  start_shadowd
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
  power_cut metadev slowdev fastdev
  wait "$STRESS" || fail "the data was wrong before the cut: $(tail -n 3 "$SCRATCH/load.log")"
  wait_until 30 "the volume to go" gone db0
  while read -r name _; do
    [[ $name == No ]] || wait_until 30 "$name to go" gone "$name"
  done < <(dmsetup ls)
  power_up metadev slowdev fastdev
  count cuts
  vgchange -qq -ay slow fast meta >/dev/null
  start_shadowd
  wait_until 60 "the volume after the cut" db0_is_there
  check --durable=flush
  load
}

one_move() {
  local to
  [[ $WHERE == slow ]] && to=fast || to=slow
  load
  shadowctl volume modify db0 --to $to --grace 1h --retire "$(pick never never cold eager)" \
    --rate "$(pick 2M 4M 16M 64M)" >/dev/null || fail "the modification was refused"
  count moves
  for _ in 1 2 3; do
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
  null_device metadev 32 fast cache_size=64
  lvm_configuration
  for name in slow:slowdev fast:fastdev meta:metadev; do vgcreate -qq -y "${name%:*}" "/dev/${name#*:}"; done
  lvcreate -qq -y -Wn -L 32m -n db0 slow
  sync /dev/slowdev /dev/fastdev /dev/metadev # LVM itself does not flush
  start_shadowd slow=slow fast=fast meta=meta
  shadowctl volume import db0 /dev/slow/db0 --metadata meta >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
  WHERE=slow
  end=$((SECONDS + ${TEST_SOAK_SECONDS:-60}))
  while ((SECONDS < end)); do
    one_move
    note "${n[moves]} moves: ${n[committed]} committed, ${n[aborted]} aborted, ${n[rolled_back]} rolled back;" \
      "${n[kills]} kills, ${n[cuts]} cuts"
  done
  kill "$DAEMON"
  wait "$DAEMON" || fail "shadowd ended with an error: $(tail -n 2 "$RESULT/shadowd.log")"
  gone db0 || true
  vgremove -qq -y -ff slow fast meta
  printf 'soak: %s moves, %s committed, %s aborted, %s rolled back, %s daemon kills, %s power cuts, %s whole checks, 0 sectors lost, %s s, seed %s\n' \
    "${n[moves]}" "${n[committed]}" "${n[aborted]}" "${n[rolled_back]}" "${n[kills]}" "${n[cuts]}" "${n[checks]}" \
    "$SECONDS" "${TEST_SOAK_SEED:-1}"
}

run_tests "$@"
