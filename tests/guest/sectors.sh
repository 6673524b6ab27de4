#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Devices with logical blocks of 512 and of 4096 bytes in every role, through whole lives: import, a tier, an
# aborted move, a move, the end of the tier, and a restart after each. What a file system has seen never
# grows, no table that was once taken is refused later, and no data is lost.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=2
LEN=$((MIB * 2048))
BLOCKS=$((LEN / BLOCK))

# table ORIGIN ID: with the target while there is one, and the tier
table() {
  local legs=1 roles="origin $1" ids="leg_id origin $2" features=3
  if [[ $MOVING ]]; then legs=$((legs + 1)) features=$((features + 3)) roles+=" target /dev/tgt" ids+=" leg_id target T"; fi
  if [[ $TIERED ]]; then
    legs=$((legs + 1)) features=$((features + 5)) roles+=" tier1 /dev/t1"
    ids+=" leg_id tier1 F writeback tier1"
  fi
  echo "0 $LEN shadow /dev/meta $BLOCK $legs $roles $features $ids"
}

# One piece of each size that the volume allows, to a few blocks, in the volume and in the file it is held to.
write_some() {
  local at bytes
  for bytes in "$SIZE" 65536 12288; do
    for at in $((RANDOM % BLOCKS)) 1 $((BLOCKS - 1)); do
      at=$((at * 65536 + (bytes < 65536 ? 4096 : 0)))
      head -c "$bytes" /dev/urandom >"$SCRATCH/piece"
      dd if="$SCRATCH/piece" of=/dev/mapper/v bs="$bytes" seek=$at oflag=direct,seek_bytes conv=notrunc status=none
      dd if="$SCRATCH/piece" of="$SCRATCH/truth" bs="$bytes" seek=$at oflag=seek_bytes conv=notrunc status=none
    done
  done
}
expect_volume() {
  expect_eq "logical block size, $1" "$(blockdev --getss /dev/mapper/v)" "$SIZE"
  cmp "$SCRATCH/truth" <(dd if=/dev/mapper/v bs=64k iflag=direct status=none) || fail "the data is wrong, $1"
}
restart() { # ORIGIN ID WHEN
  dm remove v
  dm_create v "$(table "$1" "$2")"
  expect_volume "after a restart, $3"
}
refused() { # SENTENCE: the volume's table, and nothing has changed
  expect_failure dm_load v "$(table /dev/org O)"
  expect_log "$1"
}
tier_is_idle() { field_is v tier_queue 0 && field_is v tier_inflight 0; }

# life ORIGIN TARGET TIER METADATA: bytes of each one's logical blocks
life() {
  SIZE=$1 MOVING='' TIERED=''
  local home=/dev/org id=O device
  null_device org $MIB fast blocksize="$1"
  null_device tgt $MIB fast blocksize="$2"
  null_device t1 1 fast blocksize="$3"
  null_device meta 2 fast blocksize="$4"
  dd if=/dev/urandom of=/dev/org bs=64k count=$BLOCKS oflag=direct status=none
  cat /dev/org >"$SCRATCH/truth"
  dm_create v "$(table /dev/org O)"
  write_some
  restart /dev/org O "imported"

  TIERED=1
  if (($3 > $1)); then
    refused "A tier has larger logical blocks"
    TIERED=''
  else
    swap_table v "$(table /dev/org O)"
    message v promote tier1 0+8
    wait_until 60 "the tier" tier_is_idle
    write_some
    restart /dev/org O "with a tier"
  fi

  MOVING=1
  if (($2 > $1)); then
    refused "Target has larger logical blocks"
  else
    swap_table v "$(table /dev/org O)"
    message v copy 0+$((BLOCKS / 2))
    wait_idle v
    write_some
    restart /dev/org O "half moved"
    message v abort
    MOVING=''
    swap_table v "$(table /dev/org O)"
    expect_volume "aborted"
    restart /dev/org O "aborted"
    MOVING=1
    swap_table v "$(table /dev/org O)"
    copy_all
    write_some
    message v cutover
    restart /dev/org O "cut over"
    write_some
    message v commit
    home=/dev/tgt id=T
  fi
  MOVING=''
  [[ $home == /dev/org ]] || swap_table v "$(table $home $id)"
  write_some
  restart $home $id "moved"

  if [[ $TIERED ]]; then
    message v demote 0+"$BLOCKS"
    wait_until 60 "the tier" tier_is_idle
    TIERED=''
    swap_table v "$(table $home $id)"
    expect_volume "without the tier"
    restart $home $id "without the tier"
  fi
  dm remove v
  for device in org tgt t1 meta; do null_remove $device; done
  note "origin $1 target $2 tier $3 metadata $4: to ${home#/dev/} at the end"
}

lives() { # ORIGIN METADATA
  local target tier
  load_module
  for target in 512 4096; do for tier in 512 4096; do life "$1" $target $tier "$2"; done; done
}
test_origin_512_metadata_512() { lives 512 512; }
test_origin_512_metadata_4096() { lives 512 4096; }
test_origin_4096_metadata_512() { lives 4096 512; }
test_origin_4096_metadata_4096() { lives 4096 4096; }

run_tests "$@"
