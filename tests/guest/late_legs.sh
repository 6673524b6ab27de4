#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks that come late, leave, and come back, with the daemon there: volumes come up by themselves, modifications
# wait and go on, no copy that is good is thrown away, and no volume runs on the wrong disk.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

# hide DEVICE: LVM does not see it, as if it were not connected; show DEVICE.
hide() { sed -i "s/devices {/devices { global_filter = [ \"r|$1|\" ]/" "$LVM_SYSTEM_DIR/lvm.conf"; }
show() { sed -i "s/global_filter = \[ \"r|$1|\" \]//" "$LVM_SYSTEM_DIR/lvm.conf"; }
some_copied() { (($(field db0 mirrored 2>/dev/null || echo 0) > 60)); }
is_active() { [[ -b /dev/mapper/db0 ]]; }
read_all() { dd if=/dev/mapper/db0 of=/dev/null bs=1M iflag=direct status=none 2>/dev/null; }
says() { shadowctl events | grep -F -- "$1" >/dev/null; }

imported() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 --metadata "${1:-slow}" >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
}
# down: the daemon is killed, the volume taken down, its groups deactivated, as after a power cut.
down() {
  kill -9 "$DAEMON"
  wait "$DAEMON" || true
  dm remove db0
  vgchange -qq -an slow fast
}

test_a_leg_is_not_activated_by_anybody_else() {
  imported
  down
  vgchange -qq -ay slow fast
  expect_eq "active legs" "$(lvs --noheadings -o lv_active slow/db0 | tr -d ' ')" ""
  start_shadowd
  wait_until 30 "the volume" is_active
  check_data /dev/mapper/db0
  # Given back, it is an ordinary logical volume again.
  shadowctl volume export db0
  vgchange -qq -an slow
  vgchange -qq -ay slow
  expect_eq "the exported volume" "$(lvs --noheadings -o lv_active slow/db0 | tr -d ' ')" active
}

test_a_volume_whose_disk_comes_late_comes_up_by_itself() {
  imported
  down
  hide slowdev
  start_shadowd
  OUTPUT=$(shadowctl volume activate db0 2>&1) && fail "activated without its disk"
  expect_match "the refusal" "$OUTPUT" "waits for its"
  OUTPUT=$(shadowctl doctor 2>&1) && fail "doctor is content"
  expect_match "doctor" "$OUTPUT" "waits for its"
  show slowdev
  wait_until 60 "the volume" is_active
  check_data /dev/mapper/db0
  shadowctl doctor >/dev/null
}

moved_half() {
  imported fast
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m >/dev/null
  wait_until 60 "the first copies" some_copied
  down
}
test_a_move_waits_for_its_origin() {
  moved_half
  hide slowdev
  start_shadowd
  sleep 5
  if is_active; then fail "the volume runs without its only copy"; fi
  show slowdev
  wait_until 60 "the volume" is_active
  read_all || fail "some blocks cannot be read"
  shadowctl op rate db0 --impact full >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  check_data /dev/mapper/db0
}

test_a_move_waits_for_its_target_and_keeps_its_copies() {
  imported slow
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m >/dev/null
  wait_until 60 "the first copies" some_copied
  local mirrored
  mirrored=$(field db0 mirrored)
  down
  hide fastdev
  start_shadowd
  sleep 20
  expect_eq "the phase" "$(op_phase db0)" COPYING
  show fastdev
  wait_until 60 "the volume" is_active
  (($(field db0 mirrored) >= mirrored)) || fail "of $mirrored copies $(field db0 mirrored) are left"
  shadowctl op rate db0 --impact full >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  check_data /dev/mapper/db0
}

# After leg_wait_seconds it runs without a leg that no block needs, says so, and takes it back.
test_a_target_that_stays_away_is_done_without_and_taken_back() {
  imported slow
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m >/dev/null
  wait_until 60 "the first copies" some_copied

  down
  hide fastdev
  start_shadowd
  sed -i 's/^\[daemon\]/[daemon]\nleg_wait_seconds = 3/' "$SCRATCH/shadowd.toml"
  kill "$DAEMON" && wait "$DAEMON"
  shadowd --config "$SCRATCH/shadowd.toml" >>"$RESULT/shadowd.log" 2>&1 &
  DAEMON=$!
  wait_until 60 "the volume" is_active
  expect_match "the table" "$(dmsetup table db0)" "target -"
  check_data /dev/mapper/db0
  wait_until 20 "a word about it" says "It runs without its target"
  show fastdev
  wait_until 60 "the target's return" says "is back"
  shadowctl op rate db0 --impact full >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  check_data /dev/mapper/db0
}

# The metadata alone, without daemon, store or configuration.
test_without_the_daemon_a_volume_comes_up_from_its_metadata() {
  imported fast
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m >/dev/null
  wait_until 60 "the first copies" some_copied
  down
  hide slowdev
  vgchange -qq -ay fast
  vgmknodes -qq
  OUTPUT=$(dm-shadow-activate --all 2>&1) && fail "put together without its origin"
  expect_match "what is missing" "$OUTPUT" "origin .* is not there"
  OUTPUT=$(dm-shadow-activate --all --without-missing 2>&1) && fail "started without the only copy"
  expect_match "why not" "$OUTPUT" "only current copy"
  show slowdev
  dm-shadow-activate --all
  check_data /dev/mapper/db0
  expect_field db0 phase migrating
  # The daemon takes over what is up.
  start_shadowd
  shadowctl op rate db0 --impact full >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  check_data /dev/mapper/db0
}

# /var is gone. What lies on the metadata device brings the volume back into shadowd's hands, and its move.
test_a_lost_state_is_taken_from_the_metadata() {
  imported slow
  local metadata
  metadata=$(shadowctl -o json volume show db0 | jq -r .metadata)
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m >/dev/null
  wait_until 60 "the first copies" some_copied
  down
  rm -rf "$SCRATCH/state"
  start_shadowd
  expect_match "the list" "$(shadowctl volume list)" "no volumes"
  vgchange -qq -ay slow fast
  vgmknodes -qq
  shadowctl volume recover "$metadata"
  wait_until 30 "the volume" is_active
  check_data /dev/mapper/db0
  expect_eq "the phase" "$(op_phase db0)" PAUSED
  shadowctl op resume db0 >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  shadowctl op commit db0 --wait >/dev/null
  check_data /dev/mapper/db0
  [[ -n $(lvs --noheadings slow/db0) ]] || fail "the old origin was removed"
  shadowctl volume delete db0 --yes >/dev/null
  [[ $(lvs --noheadings fast | wc -l) == 1 ]] || fail "the data were removed: $(lvs fast)"
}

run_tests "$@"
