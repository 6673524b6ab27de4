#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A volume's life as device mapper sees it: what its metadata says of it, what is refused when a table is
# loaded, who may ask what at which moment, and whom a volume that hangs holds up.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))

# recorded FIELD: of the newest superblock on /dev/meta.
recorded() {
  shadow_dump -o json /dev/meta | jq -r "[.superblocks[] | objects] | max_by(.generation) | .$1 | tostring"
}
expect_recorded() { expect_eq "recorded $1" "$(recorded "$1")" "$2"; }

# What a table needs is on the metadata device, as of the last superblock.
test_metadata_describes_the_volume() {
  shadow_legs $MIB
  null_device t1 2 fast
  import_volume $LEN
  dm remove v
  expect_recorded name v
  expect_recorded policy target
  expect_recorded writeback '[]'
  expect_recorded logical_block 512
  dm_create v "$(one_leg $LEN /dev/org O read balance)"
  dm rename v w
  dm_load w "0 $LEN shadow /dev/meta $BLOCK 2 origin /dev/org tier1 /dev/t1 10 leg_id origin O leg_id tier1 F read balance writeback tier1"
  dm_suspend w
  dm_resume w
  dm_suspend w # so that shadow_dump may have it
  expect_eq "table" "$(dmsetup table w | grep -o 'read balance writeback tier1')" "read balance writeback tier1"
  dm_resume w
  # by message: recorded at the stop
  message w mode tier1 writethrough
  message w read origin
  dm remove w
  expect_recorded name w
  expect_recorded policy origin
  expect_recorded writeback '[]'
  expect_recorded clean true
  dm_create w "0 $LEN shadow /dev/meta $BLOCK 2 origin /dev/org tier1 /dev/t1 8 leg_id origin O leg_id tier1 F writeback tier1"
  dm remove w
  expect_recorded policy target
  expect_recorded writeback '["tier1"]'
  expect_recorded clean true
}

# --- whoever asks while a table is carried out --------------------------------------------------

# delay_table DEVICE SECTORS READ-MS WRITE-MS
delay_table() { echo "0 $2 delay $1 0 $3 $1 0 $4"; }
make_slow() { # NAME DEVICE SECTORS READ-MS WRITE-MS
  dm_load "$1" "$(delay_table "$2" "$3" "$4" "$5")"
  dm suspend --noflush --nolockfs "$1"
  dm_resume "$1"
}

# While a volume grows its arrays change, and zeroes for its old end are written to a slow origin.
test_status_while_a_volume_grows() {
  load_module
  modprobe -a dm_zero dm_delay
  local much=$(((1 << 22) * 128)) pollers=() i
  null_device org 8
  null_device meta 16
  dm_create big "0 $much zero"
  dm_create slow "$(delay_table /dev/mapper/big $much 0 0)"
  TARGET=/dev/mapper/slow
  import_volume $LEN
  swap_table v "$(two_legs $((LEN * 2 + 8)))"
  copy_all
  dd if=/dev/urandom of=/dev/mapper/v bs=512 seek=$((LEN * 2)) count=8 oflag=direct status=none
  message v cutover
  message v commit
  make_slow slow /dev/mapper/big $much 3000 3000
  dm_load v "$(one_leg $much /dev/mapper/slow T)"
  dm_suspend v
  dm_resume v &
  local resume=$!
  rm -f "$SCRATCH/stop"
  for i in 1 2 3; do
    (while [[ ! -e $SCRATCH/stop ]]; do dmsetup status v; dmsetup table v; dmsetup deps v; done >/dev/null) &
    pollers+=($!)
  done
  sleep 1
  # its old shape, at once: the resume is still waiting for the origin
  kill -0 $resume || fail "the resume is over before anybody could look"
  expect_eq "blocks while it grows" "$(field v blocks)" $(((LEN * 2 + 8 + BLOCK - 1) / BLOCK))
  wait $resume
  touch "$SCRATCH/stop"
  wait "${pollers[@]}"
  expect_eq "blocks" "$(field v blocks)" $((much / BLOCK))
  expect_eq "tail" "$(field v tail)" 0
  is_zero /dev/mapper/v $((LEN * 2 + 8)) 64 || fail "the new end shows what the device held"
}

# A first resume that is refused, and messages that came meanwhile.
test_messages_while_a_first_resume_is_refused() {
  load_module
  modprobe -a dm_zero dm_delay
  local blocks=$((1 << 22)) pages=$(((4032 + (1 << 22) - 1) / 4032)) table size i
  local much=$((blocks * 128)) waiting=()
  null_device meta 16
  size=$(sectors /dev/meta)
  dm_create big "0 $much zero"
  dm_create slow "$(delay_table /dev/meta "$size" 0 0)"
  table="0 $much shadow /dev/mapper/slow $BLOCK 1 origin /dev/mapper/big 3 leg_id origin O"
  dm_create v "$table" SHADOW-u
  dm remove v
  # both copies of the last page
  dd if=/dev/urandom of=/dev/meta bs=4096 seek=$((16 + 2 * (pages - 1))) count=2 oflag=direct status=none
  make_slow slow /dev/meta "$size" 300 0
  dm create v -u SHADOW-u --notable
  dm_load v "$table"
  dm_resume v 2>/dev/null &
  local resume=$!
  sleep 0.3
  for i in 1 2 3; do
    (dm message v 0 map) &>/dev/null &
    waiting+=($!)
    (dm status v) >/dev/null &
    waiting+=($!)
  done
  if wait $resume; then fail "a volume with a damaged page was resumed"; fi
  for i in "${waiting[@]}"; do wait "$i" || true; done
  expect_log "not active yet"
  # and again: the same answer, from a device that is still there to be removed
  expect_failure dm_resume v
  expect_log "run shadow_check"
  dm remove v
}

# --- whom a volume that hangs holds up -----------------------------------------------------------

# in_time SECONDS WHAT COMMAND...
in_time() {
  local limit=$(($1 * SLOWNESS)) what=$2 begun=$SECONDS
  shift 2
  timeout -s KILL $limit "$@" >/dev/null || fail "$what: not done in $limit s, or failed"
  note "$what: $((SECONDS - begun)) s"
}
export -f dm dm_load dm_suspend dm_resume
small_table() { echo "0 $LEN shadow /dev/m$1 $BLOCK 1 origin /dev/o$1 4 leg_id origin O$1 fresh"; }
# verbs N: everything that is done to a volume, to volume N.
verbs() {
  local t
  t=$(small_table "$1")
  in_time 20 "load of $1" dmsetup load "v$1" --table "$t"
  in_time 20 "suspend of $1" dmsetup suspend "v$1"
  in_time 20 "resume of $1" dmsetup resume "v$1"
  in_time 20 "write to $1" dd if=/dev/zero of="/dev/mapper/v$1" bs=64k count=2 oflag=direct conv=fsync status=none
  in_time 20 "read of $1" dd if="/dev/mapper/v$1" of=/dev/null bs=64k count=2 iflag=direct status=none
  in_time 20 "message to $1" dmsetup message "v$1" 0 sync
  in_time 20 "status of $1" dmsetup status "v$1"
  in_time 20 "remove of $1" dmsetup remove "v$1"
  in_time 20 "create of $1" dmsetup create "v$1" -u "SHADOW-$1" --table "$t"
}
# hung_leg ROLE: verbs on other volumes while a device of v does not answer and all kinds of work wait
# for it.
hung_leg() {
  local role=$1 n waiting=() device
  load_module
  null_device org $MIB
  null_device tgt $MIB
  null_device meta $MIB
  null_device t1 2
  for device in org tgt meta t1; do dm_create "f$device" "0 $(sectors /dev/$device) linear /dev/$device 0"; done
  for n in 1 2 3; do
    null_device "o$n" $MIB
    null_device "m$n" 2
    dm_create "v$n" "$(small_table $n)" "SHADOW-$n"
  done
  META=/dev/mapper/fmeta ORIGIN=/dev/mapper/forg TARGET=/dev/mapper/ftgt
  import_volume $LEN
  local table="0 $LEN shadow $META $BLOCK 3 origin $ORIGIN target $TARGET tier1 /dev/mapper/ft1 11 leg_id origin O leg_id target T leg_id tier1 F writeback tier1"
  swap_table v "$table"
  message v promote tier1 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  dm suspend --noflush --nolockfs "f$role"
  message v copy "0+$(field v blocks)" || true
  dd if=/dev/zero of=/dev/mapper/v bs=64k count=64 oflag=direct conv=fsync status=none &
  waiting+=($!)
  (dm message v 0 sync || true) &
  waiting+=($!)
  sleep 1
  (dm_load v "$table" || true) &
  waiting+=($!)
  (dm suspend --nolockfs v || true) &
  local suspend=$!
  sleep 1
  for n in 1 2 3; do verbs $n & waiting+=($!); done
  for n in "${waiting[@]: -3}"; do wait "$n" || fail "another volume was held up"; done
  in_time 20 "status of the volume that hangs" dmsetup status v
  dm_resume "f$role"
  wait $suspend
  dm_resume v
  for n in "${waiting[@]}"; do wait "$n" || true; done
  expect_field v mode rw
}
test_hung_metadata() { hung_leg meta; }
test_hung_origin() { hung_leg org; }
test_hung_target() { hung_leg tgt; }
test_hung_tier() { hung_leg t1; }

# The end of a volume waits for its own metadata, and for that of nobody else.
test_a_removal_that_hangs() {
  local n waiting=()
  load_module
  for n in 1 2 3; do
    null_device "o$n" $MIB
    null_device "m$n" 2
  done
  null_device meta 2
  null_device org $MIB
  dm_create fmeta "0 $(sectors /dev/meta) linear /dev/meta 0"
  dm_create v "0 $LEN shadow /dev/mapper/fmeta $BLOCK 1 origin /dev/org 4 leg_id origin O fresh" SHADOW-v
  for n in 1 2 3; do dm_create "v$n" "$(small_table $n)" "SHADOW-$n"; done
  dd if=/dev/urandom of=/dev/mapper/v bs=64k count=1 oflag=direct status=none
  dm suspend --noflush --nolockfs fmeta
  dm remove v &
  local removal=$!
  sleep 1
  for n in 1 2 3; do verbs $n & waiting+=($!); done
  for n in "${waiting[@]}"; do wait "$n" || fail "another volume was held up"; done
  kill -0 $removal || fail "the removal did not wait for its metadata"
  dm_resume fmeta
  wait $removal
}

# The metadata of one volume lies on another one.
test_stacked_volumes() {
  load_module
  null_device ob $MIB
  null_device mb $MIB
  null_device oa $MIB
  local b="0 $LEN shadow /dev/mb $BLOCK 1 origin /dev/ob 4 leg_id origin B fresh" removal
  dm_create b "$b" SHADOW-b
  dm_create a "0 $LEN shadow /dev/mapper/b $BLOCK 1 origin /dev/oa 4 leg_id origin A fresh" SHADOW-a
  dd if=/dev/urandom of=/dev/mapper/a bs=64k count=1 oflag=direct status=none
  dm_load b "$b"
  dm suspend --nolockfs b
  dm remove a &
  removal=$!
  sleep 2
  in_time 20 "resume of the lower volume" dmsetup resume b
  wait $removal
}

# --- what is refused when a table is loaded ------------------------------------------------------

# refused_at_load TABLE SENTENCE: and the volume goes on.
refused_at_load() {
  expect_failure dm_load v "$1"
  expect_log "$2"
  dd if=/dev/mapper/v of=/dev/null bs=64k count=1 iflag=direct status=none
  expect_match "the state" "$(dmsetup info v | grep State)" ACTIVE
}
tier_v() { echo "0 $LEN shadow /dev/meta $BLOCK 2 origin ${1:-/dev/org} tier1 /dev/t1 8 leg_id origin ${2:-O} leg_id tier1 F1 writeback tier1"; }

test_a_tier_left_out() {
  shadow_legs $MIB
  null_device t1 2
  import_volume $LEN
  swap_table v "$(tier_v)"
  message v promote tier1 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  wait_until 20 "tier" field_is v tier_inflight 0
  refused_at_load "$(one_leg $LEN /dev/org O)" "A tier that is left out has shadows"
  message v demote 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  wait_until 20 "tier" field_is v tier_inflight 0
  # what was true at the load is asked again at the resume, and the old table can go on
  dm_load v "$(one_leg $LEN /dev/org O)"
  message v promote tier1 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  wait_until 20 "tier" field_is v tier_inflight 0
  dm_suspend v
  expect_failure dm_resume v
  expect_failure dm_resume v
  dm_load v "$(tier_v)"
  dm_resume v
  expect_eq "shadows" "$(field v tier1 | cut -d: -f4)" 8
  message v demote 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  wait_until 20 "tier" field_is v tier_inflight 0
  swap_table v "$(one_leg $LEN /dev/org O)"
}

test_a_volume_that_is_read_only() {
  breakable_legs $MIB
  dm_create v "$(one_leg $LEN "$ORIGIN" O)"
  dd if=/dev/urandom of=/dev/mapper/v bs=64k count=4 oflag=direct status=none
  dm_load v "$(one_leg $LEN "$ORIGIN" O)"
  fault fm writes
  blkdiscard -o 0 -l 65536 /dev/mapper/v || true
  message v sync 2>/dev/null || true
  expect_field v mode ro
  # a table that was loaded before, and asks for nothing, lets reads go on
  dm_suspend v
  dm_resume v
  expect_field v mode ro
  dd if=/dev/mapper/v of=/dev/null bs=64k count=4 iflag=direct status=none
  refused_at_load "$(one_leg $LEN "$ORIGIN" O)" "not in rw mode: remove it and create it again"
  fault fm none
  dm remove v
  dm_create v "$(one_leg $LEN "$ORIGIN" O)"
  expect_field v mode rw
}

# What a file system has seen must not grow; what it has seen must not make a table impossible.
test_logical_blocks_after_a_move() {
  load_module
  null_device org $MIB fast blocksize=4096
  null_device t1 2 fast blocksize=4096
  null_device tgt $MIB fast blocksize=512
  null_device meta 8
  import_volume $LEN
  swap_table v "$(tier_v)"
  message v promote tier1 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  swap_table v "0 $LEN shadow /dev/meta $BLOCK 3 origin /dev/org target /dev/tgt tier1 /dev/t1 11 leg_id origin O leg_id target T leg_id tier1 F1 writeback tier1"
  copy_all
  dd if=/dev/urandom of="$SCRATCH/new" bs=64k count=8 status=none
  dd if="$SCRATCH/new" of=/dev/mapper/v bs=64k oflag=direct status=none
  message v cutover
  message v commit
  swap_table v "$(tier_v /dev/tgt T)"
  expect_eq "logical block size" "$(blockdev --getss /dev/mapper/v)" 4096
  dm remove v
  dm_create v "$(tier_v /dev/tgt T)"
  cmp "$SCRATCH/new" <(dd if=/dev/mapper/v bs=64k count=8 iflag=direct status=none)
  message v demote 0+8
  wait_until 20 "tier" field_is v tier_queue 0
  wait_until 20 "tier" field_is v tier_inflight 0
  swap_table v "$(one_leg $LEN /dev/tgt T)"
  expect_eq "logical block size without the tier" "$(blockdev --getss /dev/mapper/v)" 4096
}

run_tests "$@"
