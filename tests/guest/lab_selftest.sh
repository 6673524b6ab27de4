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

test_power_cut_loses_only_what_was_not_flushed() {
  null_device a 8 fast cache_size=4
  shadow_io fill /dev/a --length=2048 --journal="$SCRATCH/journal"
  shadow_io stress /dev/a --ops=500 --until-error --journal="$SCRATCH/journal" --flushes=3
  power_cut a
  power_up a
  check_data /dev/a --durable=flush
}

run_tests "$@"
