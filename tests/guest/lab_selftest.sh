#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The lab itself: devices, verifier and power cut do what the other tests rely on. The verifier
# must catch a device that loses writes, or every test that uses it could not fail.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

test_verifier_passes_a_good_device() {
  null_device a 16
  dm_create lin "0 $(sectors /dev/a) linear /dev/a 0"
  shadow_io fill /dev/mapper/lin --journal="$SCRATCH/journal"
  shadow_io stress /dev/mapper/lin --ops=3000 --journal="$SCRATCH/journal" --discards=3 --zeroes=2
  check_data /dev/mapper/lin
}

test_verifier_catches_a_lost_write() {
  null_device a 8
  shadow_io fill /dev/a --journal="$SCRATCH/journal"
  dd if=/dev/a of="$SCRATCH/old" bs=512 skip=100 count=1 iflag=direct status=none
  shadow_io fill /dev/a --first=100 --length=1 --journal="$SCRATCH/journal"
  check_data /dev/a --keep
  dd if="$SCRATCH/old" of=/dev/a bs=512 seek=100 oflag=direct conv=notrunc status=none
  expect_failure shadow_io check /dev/a --journal="$SCRATCH/journal"
  expect_match "the verdict" "$OUTPUT" "WRONG DATA at sector 100"
}

# put TEXT SECTOR COUNT [DD-OPTION...]: to /dev/a, full of TEXT, which has three letters.
# count_of SECTOR COUNT TEXT: how many of these sectors begin with it.
put() {
  { yes "$1" || true; } | head -c $(($3 * 512)) |
    dd of="${DISK:-/dev/a}" bs=$(($3 * 512)) seek=$(($2 * 512)) oflag=direct,seek_bytes iflag=fullblock conv=notrunc status=none "${@:4}"
}
count_of() {
  dd if=/dev/a bs=$(($2 * 512)) skip=$(($1 * 512)) count=1 iflag=direct,skip_bytes status=none |
    tr '\0\n' '0 ' | fold -w 512 | grep -c "^$3 " || true
}
flush() { blockdev --flushbufs /dev/a && sync /dev/a; }
cut() {
  power_cut a
  expect_failure put cut 0 1
  expect_failure dd if=/dev/a of=/dev/null bs=4k count=1 iflag=direct
  CUT_KEEP=$1 power_up a
}

test_an_unflushed_overwrite_is_lost() {
  null_device a 8 fast cache_size=4
  put old 0 32
  flush
  put new 0 32
  expect_eq "sectors with the new text before the cut" "$(count_of 0 32 new)" 32
  cut none
  expect_eq "sectors with the old text" "$(count_of 0 32 old)" 32
  # what was written first is lost likewise
  put one 64 8
  cut none
  is_zero /dev/a 64 8 || fail "an unflushed first write is there after the cut"
}

test_what_was_flushed_is_never_lost() {
  null_device a 8 fast cache_size=4
  put old 0 64
  put new 8 16
  flush
  local mode
  for mode in none some some some all; do
    put not 128 64
    cut $mode
    expect_eq "sectors of the flushed write after a cut ($mode)" "$(count_of 8 16 new)" 16
    expect_eq "what was flushed with it" "$(count_of 24 40 old)" 40
  done
}

test_a_fua_write_is_durable_alone() {
  null_device a 8 fast cache_size=4
  # a device whose flushes go elsewhere: the kernel sends one after a write with O_DSYNC
  null_device sink 8
  modprobe dm_delay
  dm_create noflush "0 $(sectors /dev/a) delay /dev/a 0 0 /dev/a 0 0 /dev/sink 0 0"
  put old 0 64
  flush
  put not 0 8
  put not 32 8
  DISK=/dev/mapper/noflush put fua 0 8 oflag=dsync
  expect_match "the disk" "$(dm status disk-a)" " fuas=1 "
  cut none
  expect_eq "sectors of the FUA write" "$(count_of 0 8 fua)" 8
  expect_eq "sectors of the write beside it" "$(count_of 32 8 old)" 8
  # what came before it never comes back, what comes later may
  DISK=/dev/mapper/noflush put fua 0 8 oflag=dsync
  put aft 4 2
  cut all
  expect_eq "sectors of the FUA write" "$(count_of 0 4 fua)" 4
  expect_eq "sectors of the write after it" "$(count_of 4 2 aft)" 2
}

test_writes_are_torn_and_reordered() {
  null_device a 8 fast cache_size=4
  local round torn=0 reordered=0 first second
  RANDOM=1 # 8 % of all seeds keep only the second
  for round in {1..24}; do
    put old 0 32
    flush
    put one 0 16
    put two 16 16
    cut some
    first=$(count_of 0 16 one) second=$(count_of 16 16 two)
    expect_eq "sectors that are neither old nor new" \
      $((first + second + $(count_of 0 32 old))) 32
    ((first % 16 == 0)) || ((++torn))
    ((first > 0 || second < 16)) || ((++reordered))
  done
  note "of 24 pairs of writes $torn had the first one torn, $reordered kept only the second"
  ((torn > 0 && reordered > 0)) || fail "no seed tears a write, or reorders two"
}

test_versions_of_a_sector_keep_their_order() {
  null_device a 8 fast cache_size=4
  local round i seen=' '
  for ((round = 0; round < 60; round++)); do
    put v-0 0 8
    flush
    for i in 1 2 3; do put v-$i 0 8; done
    cut some
    for i in 0 1 2 3; do (($(count_of 0 1 v-$i) == 0)) || seen+="$i "; done
    for i in 0 1 2 3; do [[ $seen == *" $i "* ]] || continue 2; done
    note "after $((round + 1)) cuts each version was once what was left"
    return
  done
  fail "only these versions were ever left:$seen"
}

test_discards_and_zeroes_are_volatile() {
  null_device a 8 fast cache_size=4
  local verb
  for verb in "" -z; do
    put old 0 4096
    flush
    blkdiscard -f $verb -o 0 -l $((1024 * 512)) /dev/a
    is_zero /dev/a 0 1024 || fail "blkdiscard $verb leaves data"
    cut none
    expect_eq "sectors that came back after blkdiscard $verb" "$(count_of 0 16 old)" 16
    blkdiscard -f $verb -o 0 -l $((1024 * 512)) /dev/a
    flush
    cut none
    is_zero /dev/a 0 1024 || fail "a flushed blkdiscard $verb was lost"
    expect_eq "sectors beside it" "$(count_of 1024 16 old)" 16
  done
  expect_match "the disk" "$(dm status disk-a)" " discards=[1-9][0-9]* zeroes=[1-9]"
}

test_a_kept_cache_is_kept() {
  null_device a 8 fast cache_size=4
  shadow_io fill /dev/a --length=2048 --journal="$SCRATCH/journal"
  cut all
  check_data /dev/a --durable=ack
  # and it is a cache still
  put new 0 8
  cut all
  expect_eq "sectors with the new text" "$(count_of 0 8 new)" 8
  cut none
  expect_eq "sectors with the new text" "$(count_of 0 8 new)" 0
}

test_power_cut_loses_only_what_was_not_flushed() {
  null_device a 8 fast cache_size=4
  shadow_io fill /dev/a --journal="$SCRATCH/journal"
  flush
  local round
  for round in 1 2 3 4 5 6; do
    shadow_io stress /dev/a --until-error --journal="$SCRATCH/journal" --flushes=3 --discards=3 --zeroes=2 \
      --seed=$round >/dev/null &
    sleep 0.5
    power_cut a
    wait $! || fail "the data was wrong before the cut"
    power_up a
    check_data /dev/a --durable=flush
  done
  kernel_says "power is back.* [1-9][0-9]* lost" || fail "six cuts under load lost nothing"
}

test_all_disks_lose_power_at_once() {
  local name
  for name in a b c; do null_device $name 8 fast cache_size=4; done
  power_cut all
  for name in a b c; do expect_match "disk $name" "$(dm status disk-$name)" " volatile off "; done
  power_up all
  for name in a b c; do expect_match "disk $name" "$(dm status disk-$name)" " volatile on "; done
}

run_tests "$@"
