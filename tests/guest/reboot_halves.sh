#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest's half of reboot_in_the_middle: `crash ROUND` ends with the guest's death, `finish`
# checks everything and completes the move. The journal lies on the host and survives.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

JOURNAL=$RESULT/journal
load_module
ORIGIN=$(disk_path org) TARGET=$(disk_path tgt) META=$(disk_path meta)
LEN=$(($(sectors "$ORIGIN") - 16))
check() { shadow_io check /dev/mapper/v --journal="$JOURNAL" --block=$BLOCK || fail "the data is wrong"; }

case $1 in
  crash)
    if [[ $2 == 1 ]]; then
      rm -f "$JOURNAL"
      import_volume $LEN
      shadow_io fill /dev/mapper/v --journal="$JOURNAL"
      attach_target $LEN
    else
      dm_create v "$(two_legs $LEN)"
      expect_field v phase migrating
      check
    fi
    shadow_io stress /dev/mapper/v --seconds=60 --journal="$JOURNAL" --block=$BLOCK --discards=3 \
      --zeroes=1 --flushes=3 --seed="$2" &
    message v limit rate 4096
    message v copy "0+$(field v blocks)"
    sleep 1
    message v retire 0+40
    sleep 1.5
    echo "NOW $2: $(dm status v)"
    sleep 60
    fail "the guest should be dead by now"
    ;;
  finish)
    dm_create v "$(two_legs $LEN)"
    expect_field v phase migrating
    expect_field v mode rw
    check
    copy_all
    check
    commit_to_target $LEN
    check
    expect_field v phase steady
    ;;
  *) fail "reboot_halves.sh wants crash or finish" ;;
esac
