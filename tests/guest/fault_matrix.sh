#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every device fails in every phase under load, wholly or for one kind of request: what is read
# is never wrong, and after the repair everything acknowledged is there; in half of the rows, drawn by lot, the
# power is cut while the device still fails, and what was flushed is there. Prints the outcome table that
# docs/reliability.md quotes.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=4
LEN=$((MIB * 2048))

declare -A called=([fo]=origin [ft]=target [fm]=metadata [f1]=tier1)
TIER=
# tiered LEGS: the table with tier1 (write-back: see "mode"), and a target if there are 3 legs.
tiered() {
  local target=
  (($1 == 2)) || target="target $TARGET"
  echo "0 $LEN shadow $META $BLOCK $1 origin $ORIGIN $target tier1 $TIER $((3 * $1)) leg_id origin O" \
    "${target:+leg_id target T} leg_id tier1 F"
}
tier_idle() { field_is v tier_queue 0 && field_is v tier_inflight 0; }
# shadows MODE: of the first half of the volume; with write-back they are dirty.
shadows() {
  TABLE=$(tiered 2)
  swap_table v "$TABLE"
  message v mode tier1 "$1"
  message v promote tier1 0+32
  wait_until 60 "the tier mover: $(dm status v)" tier_idle
  [[ $1 != writeback ]] || shadow_io stress /dev/mapper/v --ops=300 --writes=100 --block=$BLOCK \
    --length=$((32 * BLOCK)) --journal="$SCRATCH/journal" >/dev/null
}
# bring_to PHASE: the volume there, with something under way.
bring_to() {
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  TABLE=$(two_legs $LEN)
  [[ $TIER ]] || swap_table v "$TABLE"
  case $1 in
    clean) shadows writethrough ;;
    dirty) shadows writeback ;;
    promoting)
      TABLE=$(tiered 2)
      swap_table v "$TABLE"
      message v limit tier_rate 1024
      message v promote tier1 0+32
      ;;
    cleaning)
      shadows writeback
      message v limit tier_rate 1024
      message v writeback 0+32
      ;;
    moving)
      shadows writeback
      TABLE=$(tiered 3)
      swap_table v "$TABLE"
      message v limit rate 1024
      message v copy "0+$(field v blocks)"
      ;;
    copying)
      message v limit rate 1024
      message v copy "0+$(field v blocks)"
      ;;
    mirrored) copy_all ;;
    retired) copy_all && message v retire 0+16 ;;
    aborting)
      copy_all
      message v retire 0+32
      message v limit rate 512
      message v remirror 0+32
      ;;
    grace) copy_all && message v cutover ;;
  esac
}

row() {
  local device=$1 what=$2 phase=$3 status errors durable=ack end="in order"
  bring_to "$phase"
  start_stress /dev/mapper/v --block=$BLOCK --discards=3 --zeroes=1 --flushes=4 --allow-errors --seed=$RANDOM \
    >"$SCRATCH/load"
  sleep $((SLOWNESS / 4)).3
  fault "$device" "$what"
  sleep $((SLOWNESS / 2)).7
  stop_stress
  errors=$(sed -n 's/.* \([0-9]*\) errors.*/\1/p' "$SCRATCH/load")
  # What can still be read is right; an error is better than something old.
  shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --block=$BLOCK --allow-errors --keep >"$SCRATCH/check" ||
    fail "$phase, $device $what: $(cat "$SCRATCH/check")"
  status=$(dm status v)
  if ((RANDOM % 2)); then
    end=cut durable=flush
    start_stress /dev/mapper/v --block=$BLOCK --discards=3 --zeroes=1 --flushes=4 --allow-errors --seed=$RANDOM >/dev/null
    sleep $((SLOWNESS / 4)).3
    power_cut all
    stop_stress
  fi
  fault "$device" none
  printf '    %-9s %-9s %-7s %-8s mode %s, %4s errors, stale %s, %s sectors unreadable\n' "$phase" "${called[$device]}" \
    "$what" "$end" "$(cut -d' ' -f 4 <<<"$status")" "${errors:-?}" "$(grep -o 'stale=[0-9]*' <<<"$status" | cut -d= -f2)" \
    "$(sed -n 's/.* \([0-9]*\) unreadable.*/\1/p' "$SCRATCH/check")"
  if [[ $end == cut ]]; then
    wait_until 20 "the volume to go" gone v
    power_up all
  else
    dm remove v
  fi
  dm_create v "$TABLE" SHADOW-test
  shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --block=$BLOCK --durable=$durable >"$SCRATCH/check" ||
    fail "after the repair ($phase, $device $what, $end): $(cat "$SCRATCH/check")"
  dm remove v
  dd if=/dev/zero of=/dev/meta bs=1M count=8 oflag=direct status=none
}
phase_rows() {
  local device what
  # With caches: a device without one never gets a flush.
  breakable_legs $MIB cache_size=8
  for device in fo ft fm; do
    for what in all reads writes flushes; do row $device $what "$1"; done
  done
}
test_while_copying() { phase_rows copying; }
test_while_mirrored() { phase_rows mirrored; }
test_while_partly_retired() { phase_rows retired; }
test_while_turning_back() { phase_rows aborting; }
test_in_grace() { phase_rows grace; }
# The tier fails in each way; and the others do while shadows rely on them.
tier_rows() {
  local what
  breakable_legs $MIB cache_size=8
  breakable_tier 2 cache_size=4
  for what in all reads writes flushes; do row f1 $what "$1"; done
  for what in all writes flushes; do row fo $what "$1"; done
  row fm writes "$1"
}
test_tiers_clean() { tier_rows clean; }
test_tiers_dirty() { tier_rows dirty; }
test_tiers_while_promoting() { tier_rows promoting; }
test_tiers_while_writing_back() { tier_rows cleaning; }
test_tiers_while_moving() { tier_rows moving; }

run_tests "$@"
