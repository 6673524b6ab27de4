#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bad tables and bad messages: each is refused with its sentence in the kernel log and changes nothing.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=8
LEN=$((MIB * 2048))

legs() {
  load_module
  null_device org $MIB
  null_device tgt $MIB
  null_device meta 8
  null_device small 1
}
# state: what must be the same after a refusal.
state() {
  dmsetup table v
  dm status v | sed 's/mirrored_writes=[0-9]*//'
}
# A wrong sentence is noted, and the test fails at its end: all of them are seen at once.
MISMATCHES=0
mismatch() {
  note "$*"
  MISMATCHES=$((MISMATCHES + 1))
}
no_mismatch() { ((MISMATCHES == 0)) || fail "$MISMATCHES sentences were not the expected ones"; }
log_size() { dmesg | wc -l; }

# refuse_table NAME UUID TABLE SENTENCE: for a new device.
refuse_table() {
  local from
  from=$(log_size)
  expect_failure dm create "$1" -u "$2" --table "$3"
  dmesg | tail -n +$((from + 1)) | grep -F -- "$4" >/dev/null ||
    mismatch "table '$3' was refused, but without '$4': $(dmesg | tail -n 2)"
  expect_eq "devices after the refusal of '$3'" "$(dmsetup ls | grep -cw "$1" || true)" 0
}

test_tables_for_a_new_volume() {
  legs
  local before after
  before=$(sha256sum </dev/meta)
  local long
  long=$(printf 'x%.0s' {1..64})
  while IFS='|' read -r table sentence; do
    [[ -n $table ]] && refuse_table bad SHADOW-bad "$table" "$sentence"
  done <<EOF
0 $LEN shadow|Too few arguments
0 $LEN shadow /dev/meta|Too few arguments
0 $LEN shadow /dev/meta 128|Too few arguments
0 $LEN shadow /dev/meta 128 1 origin|Too few arguments
0 $LEN shadow /dev/meta 0 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta 100 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta 64 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta 65536 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta -128 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta 128x 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta 99999999999999999999 1 origin /dev/org|Block size must be a power of two
0 $LEN shadow /dev/meta 128 0 origin /dev/org|Number of legs
0 $LEN shadow /dev/meta 128 3 origin /dev/org target /dev/tgt target /dev/small|A role is given twice
0 $LEN shadow /dev/meta 128 5 origin /dev/org|Number of legs
0 $LEN shadow /dev/meta 128 1 tier1 /dev/org|There is no origin
0 $LEN shadow /dev/meta 128 2 origin /dev/org tier1 /dev/tgt|A tier must be named with leg_id
0 $LEN shadow /dev/meta 128 2 origin /dev/org tier1 /dev/org 3 leg_id tier1 F|the same device
0 $LEN shadow /dev/meta 128 2 origin /dev/org tier1 /dev/meta 3 leg_id tier1 F|the same device
0 $LEN shadow /dev/meta 128 2 origin /dev/org tier1 /dev/none 3 leg_id tier1 F|Cannot open tier1
0 $LEN shadow /dev/meta 128 2 origin /dev/org tier1 /dev/tgt 3 leg_id tier1 F|Metadata is blank
0 $LEN shadow /dev/meta 128 3 origin /dev/org tier1 /dev/tgt tier2 /dev/small 6 leg_id tier1 F leg_id tier2 F|the same leg_id
0 $LEN shadow /dev/meta 128 1 origin /dev/org 2 writeback tier1|needs a tier of the table
0 $LEN shadow /dev/meta 128 1 home /dev/org|Unknown role
0 $LEN shadow /dev/meta 128 2 origin /dev/org origin /dev/tgt|A role is given twice
0 $LEN shadow /dev/meta 128 1 target /dev/tgt|There is no origin
0 $LEN shadow /dev/meta 128 1 origin -|No leg is left
0 $LEN shadow /dev/meta 128 1 origin /dev/org 1 faster|Unknown feature
0 $LEN shadow /dev/meta 128 1 origin /dev/org 2 read sometimes|unknown policy
0 $LEN shadow /dev/meta 128 1 origin /dev/org 2 leg_id origin|needs a role and an id
0 $LEN shadow /dev/meta 128 1 origin /dev/org 3 leg_id origin a/b|A leg_id has 1 to 63
0 $LEN shadow /dev/meta 128 1 origin /dev/org 3 leg_id origin $long|A leg_id has 1 to 63
0 $LEN shadow /dev/meta 128 1 origin /dev/org 5 fresh|Number of feature arguments
0 $LEN shadow /dev/meta 128 1 origin /dev/org 0 fresh|Number of feature arguments
0 $LEN shadow /dev/meta 128 2 origin /dev/org target /dev/tgt|must name both legs
0 $LEN shadow /dev/meta 128 2 origin /dev/org target /dev/tgt 6 leg_id origin A leg_id target A|the same leg_id
0 $LEN shadow /dev/none 128 1 origin /dev/org|Cannot open the metadata device
0 $LEN shadow /dev/meta 128 1 origin /dev/none|Cannot open the origin
0 $LEN shadow /dev/meta 128 2 origin /dev/org target /dev/none 6 leg_id origin A leg_id target B|Cannot open the target
0 $LEN shadow /dev/meta 128 2 origin /dev/org target /dev/org 6 leg_id origin A leg_id target B|the same device
0 $LEN shadow /dev/org 128 1 origin /dev/org|the same device
0 $LEN shadow /dev/meta 128 1 origin /dev/meta|the same device
0 $LEN shadow /dev/meta 128 1 origin /dev/small|Origin is smaller than the volume
0 $LEN shadow /dev/meta 128 2 origin /dev/org target /dev/tgt 6 leg_id origin A leg_id target B|Metadata is blank
0 $((LEN * 2)) shadow /dev/meta 128 1 origin /dev/org|Origin is smaller than the volume
EOF
  refuse_table bad WRONG-x "$(one_leg $LEN /dev/org O)" "UUID of the form SHADOW-"
  refuse_table bad SHADOW- "$(one_leg $LEN /dev/org O)" "UUID of the form SHADOW-"
  refuse_table bad SHADOW-bad "0 8 linear /dev/org 0
8 $((LEN - 8)) shadow /dev/meta 128 1 origin /dev/org" "must appear alone in table"
  after=$(sha256sum </dev/meta)
  expect_eq "the metadata device" "$after" "$before"
  no_mismatch
}

# refuse_load TABLE SENTENCE: for the volume v, which must go on unchanged.
refuse_load() {
  local from before
  before=$(state)
  from=$(log_size)
  expect_failure dm load v --table "$1"
  dmesg | tail -n +$((from + 1)) | grep -F -- "$2" >/dev/null ||
    mismatch "table '$1' was refused, but without '$2': $(dmesg | tail -n 2)"
  expect_eq "the volume after the refusal of '$1'" "$(state)" "$before"
}

test_tables_for_a_volume_that_is_there() {
  legs
  null_device alien 8
  import_volume $LEN
  refuse_load "0 $LEN shadow /dev/meta 256 1 origin /dev/org 3 leg_id origin O" "Block size is not the one"
  refuse_load "$(one_leg $LEN /dev/org X)" "Origin is not the leg that the metadata names"
  refuse_load "$(one_leg $((LEN - 128)) /dev/org O)" "Table is shorter than the volume"
  refuse_load "$(one_leg $((LEN + 128)) /dev/org O)" "Origin is smaller than the volume"
  refuse_load "$(TARGET=/dev/small two_legs $LEN)" "Target is smaller than the table"
  refuse_load "0 $LEN shadow /dev/meta 128 2 origin - target /dev/tgt 6 leg_id origin O leg_id target T" \
    "it cannot be missing"
  refuse_load "0 $LEN shadow /dev/meta 128 2 origin /dev/org target - 6 leg_id origin O leg_id target T" \
    "There is no modification"
  refuse_load "0 $LEN shadow /dev/meta 128 2 origin /dev/org tier1 - 3 leg_id origin O" "There is no such tier"
  refuse_table w SHADOW-other "$(one_leg $LEN /dev/tgt O)" "in use by another volume"
  attach_target $LEN
  refuse_load "$(one_leg $LEN /dev/org O)" "Modification under way"
  refuse_load "$(two_legs $((LEN - 128)))" "Length cannot change"
  refuse_load "$(TARGET=/dev/alien two_legs $LEN | sed 's/target T/target U/')" "A leg is not the one"
  dm remove v
  refuse_table w SHADOW-other "$(two_legs $LEN)" "Metadata belongs to another volume"
  dd if=/dev/urandom of=/dev/alien bs=4k count=4 oflag=direct status=none
  META=/dev/alien
  refuse_table w SHADOW-w "$(one_leg $LEN /dev/tgt T)" "Metadata is neither valid nor blank"
  META=/dev/small
  refuse_table w SHADOW-w "0 $((1 << 31)) shadow /dev/small 128 1 origin /dev/tgt" "too small"
  no_mismatch
}

# Whatever its role there and here, live or only loaded. The volume that has it runs on.
test_a_device_of_another_volume() {
  legs
  null_device meta2 8
  null_device free $MIB
  import_volume $LEN
  attach_target $LEN
  local taken="A device is in use by another volume" table before
  before=$(state)
  for table in "/dev/meta2 128 1 origin /dev/org 3 leg_id origin X" \
    "/dev/meta2 128 1 origin /dev/tgt 3 leg_id origin X" \
    "/dev/meta2 128 1 origin /dev/meta 3 leg_id origin X" \
    "/dev/meta2 128 2 origin /dev/free target /dev/org 6 leg_id origin X leg_id target Y" \
    "/dev/org 128 1 origin /dev/free 3 leg_id origin X"; do
    refuse_table w SHADOW-w "0 $LEN shadow $table" "$taken"
  done
  # Only loaded; and free again when that table is cleared.
  table="0 $LEN shadow /dev/meta2 128 1 origin /dev/free 3 leg_id origin X"
  dm create u -u SHADOW-u --notable
  dm load u --table "$table"
  refuse_table w SHADOW-w "0 $LEN shadow /dev/small 128 1 origin /dev/free 3 leg_id origin Y" "$taken"
  dm clear u
  dm create w -u SHADOW-w --table "$table"
  dm remove w
  dm remove u
  expect_eq "the volume" "$(state)" "$before"
  # A table of the same volume shares its devices.
  dm load v --table "$(two_legs $LEN)"
  dm clear v
  no_mismatch
}

# refuse_message SENTENCE MESSAGE...
refuse_message() {
  local from before sentence=$1
  shift
  before=$(state)
  from=$(log_size)
  expect_failure message v "$@"
  dmesg | tail -n +$((from + 1)) | grep -F -- "$sentence" >/dev/null ||
    mismatch "message '$*' was refused, but without '$sentence': $(dmesg | tail -n 1)"
  expect_eq "the volume after the refusal of '$*'" "$(state)" "$before"
}

test_messages() {
  legs
  import_volume $LEN
  local blocks
  blocks=$(field v blocks)
  refuse_message "unknown message" bogus
  refuse_message "unknown message" COPY 0
  refuse_message "ranges are missing" copy
  refuse_message "ranges are missing" retire
  local range
  for range in x -1 0+0 "$blocks" "0+$((blocks + 1))" 1+ +1 0x1 1-2 18446744073709551616 \
    18446744073709551615+2; do
    refuse_message "range must be" map "$range"
  done
  refuse_message "one range at most" map 0 1
  refuse_message "takes no arguments" pause now
  refuse_message "use: limit" limit
  refuse_message "use: limit" limit rate
  refuse_message "use: limit" limit rate fast
  refuse_message "use: limit" limit rate -5
  refuse_message "use: limit" limit rate 18446744073709551615
  refuse_message "use: limit" limit speed 5
  refuse_message "use: read" read
  refuse_message "use: read" read both
  refuse_message "use: promote" promote 0
  refuse_message "use: mode" mode tier1 fast
  refuse_message "use: forget" forget origin
  # Right in form, wrong at this time: there are no tiers, and no modification is under way.
  refuse_message "has no tiers" promote tier1 0
  refuse_message "has no tiers" demote 0
  refuse_message "no such tier" mode tier1 writeback
  refuse_message "no such tier" forget tier1 lost
  local what
  for what in cutover rollback commit abort; do refuse_message "refused" $what; done
  refuse_message "refused" copy 0
  attach_target $LEN
  refuse_message "refused" commit
  refuse_message "refused" rollback
  refuse_message "origin" cutover
  copy_all
  message v cutover
  refuse_message "refused" cutover
  message v retire 0+4
  refuse_message "refused" rollback
  refuse_message "refused" abort
  no_mismatch
}

test_messages_while_suspended() {
  legs
  import_volume $LEN
  attach_target $LEN
  dm_suspend v
  refuse_message "suspended" copy 0
  refuse_message "suspended" cutover
  refuse_message "suspended" abort
  message v limit rate 100
  message v pause
  message v resume
  message v map >/dev/null
  dm_resume v
}

test_too_small_metadata_and_unequal_logical_blocks() {
  legs
  null_device big $((64 * 1024)) fast memory_backed=0
  null_device coarse $MIB fast blocksize=4096
  META=/dev/small
  refuse_table w SHADOW-w "$(one_leg "$(sectors /dev/big)" /dev/big O)" "Metadata device is too small"
  META=/dev/meta
  import_volume $LEN
  TARGET=/dev/coarse
  refuse_load "$(two_legs $LEN)" "larger logical blocks"
  no_mismatch
}

test_a_queue_that_is_full_is_said() {
  legs
  import_volume $LEN
  attach_target $LEN
  message v pause
  local refused=0 ranges
  ranges=$(for i in {1..4000}; do printf '%d ' $(((i * 2) % 128)); done)
  for _ in {1..5}; do
    # shellcheck disable=SC2086  # one argument for each range
    message v copy $ranges 2>/dev/null || { refused=1 && break; }
  done
  ((refused)) || note "ranges are joined: the queue did not fill"
  message v clear
  expect_field v queue 0
}

run_tests "$@"
