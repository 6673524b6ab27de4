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

run_tests "$@"
