#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest's half of reboot_in_the_middle: `crash ROUND` ends with the guest's death, `finish`
# checks everything and completes the move. The journal lies on the host and survives.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

JOURNAL=$RESULT/journal
load_module
ORIGIN=$(disk_path org) TARGET=$(disk_path tgt) META=$(disk_path meta) TIER=$(disk_path tier)
LEN=$(($(sectors "$ORIGIN") - 16))
SHADOWED=24 # blocks: they fit
check() { shadow_io check /dev/mapper/v --journal="$JOURNAL" --block=$BLOCK || fail "the data is wrong"; }
# tiered LEG ID [LEG ID]: a table of these home legs and a write-back tier.
tiered() {
  local legs="origin $1" ids="leg_id origin $2" n=2
  if (($# > 2)); then
    n=3 legs+=" target $3" ids+=" leg_id target $4"
  fi
  # shellcheck disable=SC2086  # words to be counted
  set -- $ids leg_id tier1 F writeback tier1
  echo "0 $LEN shadow $META $BLOCK $n $legs tier1 $TIER $# $*"
}
load() {
  shadow_io stress /dev/mapper/v --seconds=60 --journal="$JOURNAL" --block=$BLOCK --discards=3 \
    --zeroes=1 --flushes=3 --seed="$1" &
}
# Shadows come, are written home and go, all the time.
move_shadows() {
  while true; do
    message v promote tier1 0+$SHADOWED
    message v writeback 0+$SHADOWED
    message v demote $((RANDOM % SHADOWED))+4
    sleep 0.1
  done
}
# now ROUND: the host kills us when it reads this.
now() {
  echo "NOW $1: $(dm status v)"
  sleep 60
  fail "the guest should be dead by now"
}

case $1 in
  crash)
    case $2 in
      writeback)
        rm -f "$JOURNAL"
        import_volume $LEN
        shadow_io fill /dev/mapper/v --journal="$JOURNAL"
        swap_table v "$(tiered "$ORIGIN" O)"
        message v promote tier1 0+$SHADOWED
        load 1
        move_shadows &
        sleep $((RANDOM % 3)).$((RANDOM % 10))
        now "$2"
        ;;
      copy)
        dm_create v "$(tiered "$ORIGIN" O)"
        check
        swap_table v "$(tiered "$ORIGIN" O "$TARGET" T)"
        message v promote tier1 0+$SHADOWED
        ;;
      copy-again)
        dm_create v "$(tiered "$ORIGIN" O "$TARGET" T)"
        expect_field v phase migrating
        check
        ;;
    esac
    load 2
    message v limit rate 4096
    message v copy "0+$(field v blocks)"
    sleep 1
    message v retire 0+40
    sleep 1.5
    now "$2"
    ;;
  finish)
    dm_create v "$(tiered "$ORIGIN" O "$TARGET" T)"
    expect_field v phase migrating
    expect_field v mode rw
    check
    copy_all
    check
    message v cutover
    message v commit
    swap_table v "$(tiered "$TARGET" T)"
    check
    expect_field v phase steady
    # Home has everything in the end.
    message v demote "0+$(field v blocks)"
    wait_until 60 "the shadows' end: $(dm status v)" field_is v tier1 "$(field v tier1 | cut -d: -f1-3):0:0"
    check
    ;;
  *) fail "reboot_halves.sh wants crash or finish" ;;
esac
