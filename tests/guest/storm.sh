#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything that device mapper can be asked, at once: many tasks ask one device for status and tables,
# send messages, load, clear, suspend, resume, rename, remove and create, while I/O is verified. Each
# call has to come back, the data has to be right, and the kernel must have nothing to say.
# TEST_STORM_SECONDS sets how long each test blows.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))
BLOWS=${TEST_STORM_SECONDS:-25}

# Where device mapper's measurements for IMA are built in, "clear" followed by "rename" frees a string twice, and
# two tasks that load, resume or remove one device race for it: with any target, also linear.
modprobe dm_mod
CHANGERS=(--changers=2)
! grep -q dm_ima_measure_on_table_load /proc/kallsyms || CHANGERS=(--changers=1 --no-clear)

calm() {
  ! log_since | grep -E "BUG:|WARNING:|KASAN|KCSAN|Oops|possible deadlock|blocked for more than|possible recursive" >"$SCRATCH/uproar" ||
    fail "the kernel complains: $(head -n 3 "$SCRATCH/uproar")"
}
tiered() { # SECTORS FEATURE...: the origin is whichever it is by now
  echo "0 $1 shadow /dev/meta $BLOCK 2 origin /dev/$2 tier1 /dev/t1 $((6 + $# - 3)) leg_id origin $3 leg_id tier1 F ${*:4}"
}
all_at_once() { # SECTORS TARGET ID
  echo "0 $1 shadow /dev/meta $BLOCK 3 origin /dev/org target /dev/tgt tier1 /dev/t1 11 leg_id origin O leg_id target T leg_id tier1 F writeback tier1"
}
tables() {
  TABLES=("$(one_leg $LEN /dev/org O)" "$(two_legs $LEN)" "$(two_legs $((LEN + BLOCK * 8)))"
    "$(tiered $LEN org O)" "$(tiered $LEN org O writeback tier1)" "$(tiered $LEN tgt T writeback tier1)"
    "$(one_leg $LEN /dev/tgt T)" "$(all_at_once $LEN)" "$(one_leg $((LEN + 8)) /dev/org O)"
    "0 $LEN linear /dev/org 0" "$(one_leg $LEN /dev/org WRONG)")
}
legs() {
  load_module
  null_device org $((MIB + 1))
  null_device tgt $((MIB + 1))
  null_device meta 8
  null_device t1 2
}
# After the storm one table or another fits.
come_to_rest() {
  local table
  dm rename v-renamed v 2>/dev/null || true
  dm resume v 2>/dev/null || true
  for table in "${TABLES[@]:0:9}"; do
    [[ $(dmsetup info v | grep State) != *SUSPENDED* && $(dm status v) != *inactive* ]] && break
    dm_load v "$table" 2>/dev/null || continue
    dm suspend v 2>/dev/null || true
    dm resume v 2>/dev/null || true
  done
  expect_match "the state" "$(dmsetup info v | grep State)" ACTIVE
}

test_with_io() {
  legs
  tables
  unset 'TABLES[9]' # it would be the origin as it is, without its volume
  import_volume $LEN
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal"
  start_stress /dev/mapper/v --length=$LEN --discards=5 --zeroes=2 --flushes=3
  note "$(dm_storm v --seconds="$BLOWS" --tasks=9 "${CHANGERS[@]}" --uuid=SHADOW-test -- "${TABLES[@]}")"
  come_to_rest
  stop_stress
  check_data /dev/mapper/v
  expect_field v mode rw
  calm
}

test_with_removals() {
  legs
  tables
  import_volume $LEN
  note "$(dm_storm v --seconds="$BLOWS" --seed=2 --tasks=9 "${CHANGERS[@]}" --remove --uuid=SHADOW-test -- "${TABLES[@]}")"
  calm
}

# Two devices that want the same metadata, and a third that has its own.
test_two_storms() {
  legs
  tables
  null_device o1 $MIB
  null_device m1 2
  local other
  other="0 $LEN shadow /dev/m1 $BLOCK 1 origin /dev/o1 4 leg_id origin O1 fresh"
  import_volume $LEN
  dm_create w "$other" SHADOW-w
  dm_storm v --seconds="$BLOWS" --seed=3 --tasks=5 "${CHANGERS[@]}" --remove --uuid=SHADOW-test -- "${TABLES[@]}" &
  local first=$!
  dm_storm w --seconds="$BLOWS" --seed=4 --tasks=5 "${CHANGERS[@]}" --remove --uuid=SHADOW-w -- "$other" "${TABLES[0]}"
  wait $first
  calm
}

run_tests "$@"
