#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every device fails in every phase under load, wholly or for one kind of request: what is read
# is never wrong, and after the repair everything acknowledged is there. Prints the outcome table that
# docs/reliability.md quotes.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=4
LEN=$((MIB * 2048))

declare -A called=([fo]=origin [ft]=target [fm]=metadata)
# bring_to PHASE: the volume there, with something under way.
bring_to() {
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  attach_target $LEN
  case $1 in
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
  local device=$1 what=$2 phase=$3 status errors
  bring_to "$phase"
  start_stress /dev/mapper/v --block=$BLOCK --discards=3 --zeroes=1 --flushes=4 --allow-errors --seed=$RANDOM \
    >"$SCRATCH/load"
  sleep 0.3
  fault "$device" "$what"
  sleep 0.7
  stop_stress
  errors=$(sed -n 's/.* \([0-9]*\) errors.*/\1/p' "$SCRATCH/load")
  # What can still be read is right; an error is better than something old.
  shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --block=$BLOCK --allow-errors --keep >"$SCRATCH/check" ||
    fail "$phase, $device $what: $(cat "$SCRATCH/check")"
  status=$(dm status v)
  fault "$device" none
  printf '    %-9s %-9s %-7s mode %s, %4s errors, stale %s, %s sectors unreadable\n' "$phase" "${called[$device]}" \
    "$what" "$(cut -d' ' -f 4 <<<"$status")" "${errors:-?}" "$(grep -o 'stale=[0-9]*' <<<"$status" | cut -d= -f2)" \
    "$(sed -n 's/.* \([0-9]*\) unreadable.*/\1/p' "$SCRATCH/check")"
  dm remove v
  dm_create v "$(two_legs $LEN)" SHADOW-test
  shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --block=$BLOCK >"$SCRATCH/check" ||
    fail "after the repair ($phase, $device $what): $(cat "$SCRATCH/check")"
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

run_tests "$@"
