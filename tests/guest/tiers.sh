#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Shadows on tiers in a real kernel: what they hold is what home would give, under load, through
# restarts, power cuts, moves, failing devices and the loss of a tier.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))
BLOCKS=$((LEN / BLOCK))
T1=/dev/t1 T2=/dev/t2

# tier_table FEATURE-WORDS...: origin, both tiers (or "-" in T1, T2), with ids.
tier_table() {
  local legs=3 devices="origin ${ORIGIN:-/dev/org} tier1 $T1 tier2 $T2" ids="leg_id origin ${HOME_ID:-O}"
  [[ $T1 == - ]] || ids+=" leg_id tier1 F1"
  [[ $T2 == - ]] || ids+=" leg_id tier2 F2"
  if [[ ${WITH_TARGET:-} ]]; then
    legs=4
    devices="origin ${ORIGIN:-/dev/org} target ${TARGET:-/dev/tgt} tier1 $T1 tier2 $T2"
    ids+=" leg_id target T"
  fi
  # shellcheck disable=SC2086  # words to be counted
  set -- $ids "$@"
  echo "0 $LEN shadow ${META:-/dev/meta} $BLOCK $legs $devices $# $*"
}
# tiered_volume [SETTING...]: v with 2 MiB of tier1 and 4 MiB of tier2, filled and journalled.
tiered_volume() {
  shadow_legs $MIB "$@"
  null_device t1 2 fast "$@"
  null_device t2 4 fast "$@"
  import_volume $LEN
  swap_table v "$(tier_table)"
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
}
# tier NAME FIELD: slots, used or dirty.
tier() {
  local text
  text=$(field v "$1")
  case $2 in
    state) echo "${text%%:*}" ;;
    slots) cut -d: -f3 <<<"$text" ;;
    used) cut -d: -f4 <<<"$text" ;;
    dirty) cut -d: -f5 <<<"$text" ;;
  esac
}
tiers_idle() { field_is v tier_queue 0 && field_is v tier_inflight 0; }
wait_tiers() { wait_until 120 "the tier mover: $(dm status v)" tiers_idle; }
promote() {
  message v promote "$@"
  wait_tiers
}
demote() {
  message v demote "$@"
  wait_tiers
}
# Words of the same block may be moved by a worker a moment after the queue is empty.
used_is() { [[ $(tier "$1" used) == "$2" ]]; }
# churn: moves shadows about at random until the file stop appears.
churn() {
  local n=0 first count
  while [[ ! -e $SCRATCH/stop ]]; do
    first=$((RANDOM % BLOCKS)) count=$((RANDOM % 8 + 1))
    ((first + count <= BLOCKS)) || count=$((BLOCKS - first))
    case $((RANDOM % 9)) in
      0 | 1) message v promote tier1 $first+$count ;;
      2 | 3) message v promote tier2 $first+$count ;;
      4) message v demote $first+$count ;;
      5) message v writeback $first+$count ;;
      6) message v mode tier1 "$([[ $((RANDOM % 2)) == 0 ]] && echo writeback || echo writethrough)" ;;
      7) message v mode tier2 "$([[ $((RANDOM % 2)) == 0 ]] && echo writeback || echo writethrough)" ;;
      8) message v fetch "$([[ $((RANDOM % 3)) == 0 ]] && echo off || echo tier$((RANDOM % 2 + 1)))" ;;
    esac 2>/dev/null || continue # suspended, or read-only after a cut: refused
    n=$((n + 1))
    echo $n >"$SCRATCH/churned"
  done
}
start_churn() {
  rm -f "$SCRATCH/stop" "$SCRATCH/churned"
  churn &
  CHURN=$!
  wait_until 30 "shadows are moved" test -s "$SCRATCH/churned"
}
stop_all() {
  stop_stress
  wait "$CHURN" || fail "moving shadows failed"
  wait_tiers
}

test_reads_and_writes_go_to_shadows() {
  tiered_volume
  promote tier1 0+4
  promote tier2 8+4
  expect_eq "tier1 in use" "$(tier tier1 used)" 4
  expect_match "tiers" "$(message v tiers)" '^0\+4:tier1-clean 8\+4:tier2-clean end$'
  check_data /dev/mapper/v --block=$BLOCK
  (($(field v tier1_reads) > 0 && $(field v tier2_reads) > 0)) || fail "no read went to a shadow"
  shadow_io stress /dev/mapper/v --ops=2000 --writes=70 --block=$BLOCK --length=$((12 * BLOCK)) \
    --journal="$SCRATCH/journal"
  (($(field v tier1_writes) > 0)) || fail "no write went to a shadow"
  expect_eq "dirty shadows under write-through" "$(tier tier1 dirty)" 0
  demote 0+$BLOCKS
  wait_until 20 "all slots are free" used_is tier1 0
  expect_eq "tiers" "$(message v tiers)" end
  check_data /dev/mapper/v --block=$BLOCK
  # Home had everything all the time.
  dm remove v
  check_data /dev/org --block=$BLOCK
}

test_write_back() {
  tiered_volume
  message v mode tier1 writeback
  promote tier1 0+8
  shadow_io stress /dev/mapper/v --ops=1500 --writes=80 --block=$BLOCK --length=$((8 * BLOCK)) \
    --journal="$SCRATCH/journal"
  (($(tier tier1 dirty) > 0)) || fail "nothing became dirty: $(dm status v)"
  check_data /dev/mapper/v --block=$BLOCK
  # A restart in order keeps them.
  dm remove v
  dm_create v "$(tier_table writeback tier1)" SHADOW-test
  (($(tier tier1 dirty) > 0)) || fail "dirty shadows are gone"
  check_data /dev/mapper/v --block=$BLOCK
  message v writeback 0+$BLOCKS
  wait_tiers
  expect_eq "dirty after write-back" "$(tier tier1 dirty)" 0
  demote 0+$BLOCKS
  wait_until 20 "all slots are free" used_is tier1 0
  swap_table v "$(one_leg $LEN /dev/org O)"
  check_data /dev/mapper/v --block=$BLOCK
}

test_churn_under_load() {
  tiered_volume
  start_stress /dev/mapper/v --block=$BLOCK --discards=3 --zeroes=3 --flushes=4 --writes=60
  start_churn
  sleep "${CHURN_SECONDS:-15}"
  stop_all
  note "$(<"$SCRATCH/churned") messages, $(field v promoted) promoted, $(field v demoted) demoted, $(field v written_back) written back"
  check_data /dev/mapper/v --block=$BLOCK
  demote 0+$BLOCKS
  wait_until 20 "tier1 is free" used_is tier1 0
  wait_until 20 "tier2 is free" used_is tier2 0
  check_data /dev/mapper/v --block=$BLOCK
  swap_table v "$(one_leg $LEN /dev/org O)"
  check_data /dev/mapper/v --block=$BLOCK
}

test_suspend_and_reload_under_churn() {
  tiered_volume
  start_stress /dev/mapper/v --block=$BLOCK --flushes=4
  start_churn
  local i
  for i in 1 2 3 4 5 6; do
    sleep 0.7
    if ((i % 2)); then dm_load v "$(tier_table)"; fi
    dm_suspend v
    ((i % 3)) || dm_load v "$(tier_table writeback tier2)"
    dm_resume v
  done
  stop_all
  check_data /dev/mapper/v --block=$BLOCK
}

test_shadows_follow_their_home() {
  tiered_volume
  message v mode tier1 writeback
  promote tier1 0+16
  promote tier2 32+16
  start_stress /dev/mapper/v --block=$BLOCK --flushes=3
  start_churn
  WITH_TARGET=1 swap_table v "$(WITH_TARGET=1 tier_table)"
  copy_all
  sleep 1
  copy_all
  message v retire 0+20
  message v cutover
  sleep 1
  message v commit
  swap_table v "$(ORIGIN=/dev/tgt HOME_ID=T tier_table)"
  sleep 1
  stop_all
  check_data /dev/mapper/v --block=$BLOCK
  demote 0+$BLOCKS
  wait_until 20 "tier1 is free" used_is tier1 0
  dm remove v
  check_data /dev/tgt --block=$BLOCK
}

test_a_full_tier_takes_no_more() {
  tiered_volume
  promote tier1 0+$BLOCKS
  expect_eq "tier1 in use" "$(tier tier1 used)" "$(tier tier1 slots)"
  check_data /dev/mapper/v --block=$BLOCK
  # Refused when it is loaded: the volume runs on.
  expect_failure dm_load v "$(one_leg $LEN /dev/org O)"
  expect_log 'has shadows: demote or forget them'
  check_data /dev/mapper/v --block=$BLOCK
  swap_table v "$(tier_table)"
  check_data /dev/mapper/v --block=$BLOCK
}

test_power_cuts() {
  local round
  tiered_volume cache_size=32
  for round in 1 2 3 4 5 6; do
    start_stress /dev/mapper/v --block=$BLOCK --flushes=6 --writes=70 --discards=2 --until-error
    start_churn
    sleep "$SLOWNESS.$((RANDOM % 10))"
    power_cut all
    touch "$SCRATCH/stop"
    wait "$STRESS" || fail "wrong data before the power cut"
    STRESS=
    wait "$CHURN" || true
    wait_until 20 "the volume goes" gone v
    power_up all
    dm_create v "$(tier_table)" SHADOW-test
    note "round $round: $(tier tier1 used) and $(tier tier2 used) shadows after the cut, $(tier tier1 dirty)+$(tier tier2 dirty) dirty"
    shadow_io check /dev/mapper/v --journal="$SCRATCH/journal" --durable=flush --block=$BLOCK ||
      fail "a flushed write was lost"
  done
}

test_a_lost_tier_under_write_through() {
  tiered_volume
  promote tier1 0+8
  dm remove v
  T1=- dm_create v "$(T1=- tier_table)" SHADOW-test
  expect_eq "state of tier1" "$(tier tier1 state)" missing
  expect_eq "shadows on it" "$(tier tier1 used)" 0
  shadow_io stress /dev/mapper/v --ops=500 --block=$BLOCK --journal="$SCRATCH/journal"
  # Back again: nothing old is believed.
  swap_table v "$(tier_table)"
  check_data /dev/mapper/v --block=$BLOCK
  message v forget tier1
}

test_a_lost_tier_with_dirty_shadows() {
  tiered_volume
  message v mode tier1 writeback
  promote tier1 0+8
  shadow_io stress /dev/mapper/v --ops=800 --writes=90 --block=$BLOCK --length=$((8 * BLOCK)) \
    --journal="$SCRATCH/journal"
  local dirty
  dirty=$(tier tier1 dirty)
  ((dirty > 0)) || fail "nothing is dirty"
  dm remove v
  dm_create v "$(T1=- tier_table)" SHADOW-test
  expect_eq "dirty on the missing tier" "$(tier tier1 dirty)" "$dirty"
  dd if=/dev/mapper/v of=/dev/null bs=4k count=$((8 * BLOCK / 8)) iflag=direct 2>/dev/null &&
    fail "a block whose only copy is missing was read"
  expect_failure message v forget tier1
  expect_log 'it has dirty shadows'
  # It comes back: everything is there.
  swap_table v "$(tier_table)"
  check_data /dev/mapper/v --block=$BLOCK
  dm remove v
  dm_create v "$(T1=- tier_table)" SHADOW-test
  message v forget tier1 lost
  expect_eq "shadows after forget" "$(tier tier1 used)" 0
  dd if=/dev/mapper/v of=/dev/null bs=64k iflag=direct status=none || fail "home does not read"
}

test_a_tier_that_fails_under_load() {
  shadow_legs $MIB
  null_device t1 2
  null_device t2 4
  dm_create f1 "0 4096 linear /dev/t1 0"
  T1=/dev/mapper/f1
  import_volume $LEN
  swap_table v "$(tier_table)"
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  promote tier1 0+16
  start_stress /dev/mapper/v --block=$BLOCK --flushes=3
  sleep 0.5
  dm_load f1 "0 4096 error"
  dm suspend --noflush --nolockfs f1
  dm_resume f1
  sleep 2
  stop_stress
  (($(field v tier_failures) > 0)) || fail "no failure was counted"
  check_data /dev/mapper/v --block=$BLOCK
  message v forget tier1
  swap_table v "0 $LEN shadow /dev/meta $BLOCK 2 origin /dev/org tier2 /dev/t2 6 leg_id origin O leg_id tier2 F2"
  check_data /dev/mapper/v --block=$BLOCK
}

# slow_home: as tiered_volume, but home takes 30 ms for a read, so that reads meet there.
slow_home() {
  modprobe dm_delay
  shadow_legs $MIB
  null_device t1 2 fast
  null_device t2 4 fast
  dm_create so "0 $(sectors /dev/org) delay /dev/org 0 30 /dev/org 0 0"
  ORIGIN=/dev/mapper/so
  import_volume $LEN
  swap_table v "$(tier_table)"
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
}
# reads DEPTH BLOCK: 16 reads of 4 KiB in a block, so many at a time.
reads() {
  fio --name=reads --filename=/dev/mapper/v --rw=randread --bs=4k --direct=1 --ioengine=libaio --iodepth="$1" \
    --offset=$(($2 * BLOCK * 512)) --size=$((BLOCK * 512)) --minimal >/dev/null
}
test_reads_that_come_together_fetch_their_block() {
  slow_home
  local before
  reads 8 3
  expect_field v fetch off
  expect_field v fetched 0
  message v fetch tier2
  expect_field v fetch tier2
  # One after the other: no company, no copy.
  reads 1 4
  expect_field v fetched 0
  reads 8 3
  expect_field v fetched 1
  expect_field v promoted 0
  expect_eq "slots of tier2 in use" "$(tier tier2 used)" 1
  before=$(field v tier2_reads)
  reads 1 3
  expect_eq "reads of tier2" "$(field v tier2_reads)" $((before + 16))
  # A full tier, and one that is called off, leave reads as they were.
  promote tier2 32+63
  expect_eq "slots of tier2 in use" "$(tier tier2 used)" 64
  reads 8 5
  expect_field v fetched 1
  message v fetch off
  reads 8 6
  expect_field v fetched 1
  # Forgotten: nothing more is fetched to it.
  message v fetch tier1
  reads 8 7
  expect_field v fetched 2
  message v forget tier1
  expect_field v fetch off
  reads 8 8
  expect_field v fetched 2
  check_data /dev/mapper/v --block=$BLOCK
}
test_fetching_under_load_and_suspends() {
  slow_home
  local round
  message v fetch tier1
  start_stress /dev/mapper/v --threads=12 --writes=15 --discards=1 --flushes=2 --block=$BLOCK --length=$((BLOCK * 6))
  for round in {1..12}; do
    message v demote 0+6
    sleep 0.3
    case $((round % 4)) in
      0) message v clear tiers ;;
      1) swap_table v "$(tier_table)" ;;
      2) dm suspend --noflush --nolockfs v && dm_resume v ;;
      3) message v fetch off && message v fetch tier$((RANDOM % 2 + 1)) ;;
    esac
  done
  stop_stress
  (($(field v fetched) > 3)) || fail "nothing was fetched: $(dm status v)"
  check_data /dev/mapper/v --block=$BLOCK
}

text() { yes "new data of $1" 2>/dev/null | head -c 65536 || true; }
flushes() { received "$1" flushes; }
# An ext4 of 64 MiB with its journal on tier1, written back: each commit block of the journal comes
# with a flush before it, and lies on a dirty shadow.
journal_on_a_tier() {
  local journal i
  modprobe -a ext4
  MIB=64 LEN=$((64 * 2048))
  load_module
  null_device org 64 fast cache_size=80
  null_device meta 8 fast cache_size=8
  null_device t1 8 fast cache_size=8
  null_device t2 4 fast cache_size=8
  import_volume "$LEN"
  mkfs.ext4 -q -E nodiscard -J size=4 /dev/mapper/v
  mkdir -p "$MNT"
  mount -t ext4 /dev/mapper/v "$MNT"
  swap_table v "$(tier_table writeback tier1)"
  mapfile -t journal < <(journal_blocks ext4 /dev/mapper/v)
  promote tier1 "${journal[@]}"
  # Once round, so that every block of it is dirty.
  for i in {1..60}; do
    echo "$i" >"$MNT/warm"
    sync "$MNT/warm"
  done
  sync
  (($(tier tier1 dirty) > 4)) || fail "the journal is not on the tier: $(dm status v)"
}
test_a_flush_before_data_reaches_every_leg() {
  local MIB=$MIB LEN=$LEN MNT=$SCRATCH/mnt i org t1
  journal_on_a_tier
  org=$(flushes org) t1=$(flushes t1)
  for i in {1..16}; do
    text "$i" >"$SCRATCH/file$i"
    dd if="$SCRATCH/file$i" of="$MNT/file$i" bs=64k conv=fsync status=none
  done
  org=$(($(flushes org) - org)) t1=$(($(flushes t1) - t1))
  power_cut all
  note "16 files synced: $org flushes of the origin, $t1 of the tier"
  umount -l "$MNT" || true
  wait_until 60 "v is gone" gone v
  power_up all
  ((org >= 16 && t1 >= 16)) || fail "16 syncs, $org flushes of the origin, $t1 of the tier"
  dm_create v "$(tier_table writeback tier1)"
  mount -t ext4 /dev/mapper/v "$MNT"
  for i in {1..16}; do
    cmp "$MNT/file$i" "$SCRATCH/file$i" || fail "file$i was synced, and is not there after the power cut"
  done
  umount "$MNT"
}
run_tests "$@"
