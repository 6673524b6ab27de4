#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Nobody's device is mistaken, written over or removed: exports outlive restarts, renames are followed, what is
# busy stays, what holds data or belongs to another volume is refused. Each of these once lost data.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

restart_shadowd() {
  kill "$DAEMON"
  wait "$DAEMON" || true
  start_shadowd
}
# as at a boot: device mapper's devices of these volumes are gone
reboot_shadowd() {
  kill "$DAEMON"
  wait "$DAEMON" || true
  local volume
  for volume; do dm remove "$volume"; done
  start_shadowd
}
write_word() { echo "$2" | dd of="$1" conv=notrunc,fsync status=none; }
word_on() { dd if="$1" bs=1 count="${#2}" status=none; }
expect_word() { expect_eq "the first word on $1" "$(word_on "$1" "$2")" "$2"; }
events() { shadowctl events | tail -n 20; }

test_an_exported_volume_is_the_users() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  write_word /dev/mapper/db0 precious
  shadowctl volume modify db0 --to fast --grace 0 --wait >/dev/null
  local before
  before=$(shadowctl -o json volume show db0 | jq -r .origin)
  expect_eq "what export says" "$(shadowctl -o json volume export db0 | jq -r .device)" /dev/fast/db0
  expect_eq "its tags" "$(lvs --noheadings -o lv_tags fast/db0 | tr -d ' ')" ""
  [[ -b $before ]] || fail "the name that volume show told, $before, leads nowhere until the next boot"
  ! shadowctl doctor | grep lvremove >/dev/null || fail "doctor advises to remove something"
  restart_shadowd
  expect_word /dev/fast/db0 precious
  # Imported again it is left as it is after its next move.
  shadowctl volume import again /dev/fast/db0 >/dev/null
  shadowctl volume modify again --to slow --grace 0 --wait >/dev/null
  expect_word /dev/fast/db0 precious
  restart_shadowd
  expect_word /dev/fast/db0 precious
}

test_imported_data_stay_wherever_they_have_moved() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  write_word /dev/mapper/db0 precious
  shadowctl volume modify db0 --to fast --grace 0 --wait >/dev/null
  shadowctl volume delete db0 --dry-run | grep "Would keep /dev/fast" >/dev/null || fail "the dry run does not say so"
  shadowctl volume delete db0 --yes | grep "Removed .*metadata" >/dev/null || fail "it does not say what was removed"
  expect_word /dev/fast/db0 precious
  expect_eq "logical volumes of shadowd's" "$(lvs --noheadings -o name @shadow.volume 2>/dev/null | wc -l)" 0
}

test_a_busy_volume_is_neither_deleted_nor_exported_later() {
  two_classes fast fast
  shadowctl volume create db0 --size 16M --to slow >/dev/null
  write_word /dev/mapper/db0 precious
  exec 7</dev/mapper/db0
  expect_failure shadowctl volume delete db0 --yes
  expect_failure shadowctl volume export db0
  exec 7<&-
  reboot_shadowd db0
  expect_word /dev/mapper/db0 precious
  lvs slow | grep shadow.db0 >/dev/null || fail "its logical volume is gone"
}

test_a_renamed_group_loses_nothing() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  write_word /dev/mapper/db0 precious
  shadowctl volume modify db0 --to fast --grace 0 --wait >/dev/null
  kill "$DAEMON"
  wait "$DAEMON" || true
  dm remove db0
  vgrename -qq fast nvme
  start_shadowd slow=slow nvme=nvme
  expect_eq "copies" "$(lvs --noheadings nvme | grep -c target)" 1
  expect_word /dev/mapper/db0 precious
  expect_match "the origin" "$(shadowctl -o json volume show db0 | jq -r .origin)" ^/dev/nvme/
  # The next move, and all that is removed with it, goes by the UUID, too.
  shadowctl volume modify db0 --to slow --grace 0 --wait >/dev/null
  expect_word /dev/mapper/db0 precious
  shadowctl volume delete db0 --yes >/dev/null
  vgremove -qq -y -ff nvme
}

test_what_holds_data_is_not_written_over() {
  two_classes fast fast
  modprobe ext4
  null_device plain 64
  null_device pv 64
  mkfs.ext4 -q -L backup /dev/plain
  vgcreate -qq -y backup /dev/pv
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  local device
  for device in plain pv; do
    expect_failure shadowctl volume modify db0 --to "/dev/$device" --allow-unstable-names --grace 0 --wait
    expect_match "the refusal" "$OUTPUT" "--overwrite (ext4|LVM2_member)"
    expect_failure shadowctl volume create new --size 32M --to "/dev/$device" --allow-unstable-names
    expect_match "the refusal" "$OUTPUT" "--overwrite (ext4|LVM2_member)"
    expect_failure shadowctl tier add db0 tier1 --to "/dev/$device" --allow-unstable-names
    expect_match "the refusal" "$OUTPUT" "--overwrite (ext4|LVM2_member)"
    expect_failure shadowctl volume import other /dev/slow/db0 --metadata "/dev/$device" --allow-unstable-names
  done
  whole_file_system ext4 /dev/plain
  vgs backup >/dev/null || fail "the volume group is gone"
  shadowctl volume modify db0 --to /dev/plain --overwrite ext4 --allow-unstable-names --grace 0 --wait >/dev/null
  vgremove -qq -y backup
}

# null_blk has no serial number, and a dm device may have no UUID.
test_a_device_needs_an_identity() {
  two_classes fast fast
  null_device plain 64
  null_device more 64
  dm_create unnamed "0 $(sectors /dev/more) linear /dev/more 0"
  write_word /dev/plain precious
  local device
  for device in /dev/plain /dev/mapper/unnamed; do
    expect_failure shadowctl volume import db1 "$device" --metadata slow
    expect_match "the refusal" "$OUTPUT" "nothing but its name.*--allow-unstable-names"
    expect_failure shadowctl volume create db1 --size 32M --to "$device"
    expect_failure shadowctl volume import db1 /dev/slow/db0 --metadata "$device"
  done
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  for device in /dev/plain /dev/mapper/unnamed; do
    expect_failure shadowctl volume modify db0 --to "$device" --grace 0
    expect_failure shadowctl tier add db0 tier1 --to "$device"
  done
  expect_match "the plan" "$(shadowctl volume modify db0 --to /dev/mapper/unnamed --allow-unstable-names --dry-run)" \
    "nothing but its name"
  # With the user's word it comes up again as long as its size is right.
  shadowctl volume import db1 /dev/plain --metadata slow --allow-unstable-names >/dev/null
  shadowctl doctor >"$RESULT/doctor" || true
  grep "/dev/plain has nothing but its name" "$RESULT/doctor" >/dev/null || fail "doctor does not say it"
  reboot_shadowd db1
  expect_word /dev/mapper/db1 precious
  kill "$DAEMON"
  wait "$DAEMON" || true
  dm remove db1
  null_remove plain
  null_device plain 32
  start_shadowd
  expect_failure shadowctl volume activate db1
  expect_match "why" "$OUTPUT" "its size is not what it was"
  dm remove unnamed
}

# The old copy has the UUID of the volume's file system: nobody may find it by that.
test_an_old_origin_is_not_recognised() {
  two_classes fast fast
  modprobe ext4
  mkfs.ext4 -q -L data /dev/slow/db0
  local uuid kind
  uuid=$(blkid -p -s UUID -o value /dev/slow/db0)
  for kind in ext4 swap; do
    if [[ $kind == swap ]]; then
      lvcreate -qq -y -Wn -L 16m -n db1 slow
      mkswap /dev/slow/db1 >/dev/null 2>&1
    fi
    local name=db0 id
    [[ $kind == ext4 ]] || name=db1
    sha256sum "/dev/slow/$name" >"$RESULT/before.$name"
    shadowctl volume import "$name" "/dev/slow/$name" >/dev/null
    shadowctl volume modify "$name" --to fast --grace 0 --wait >/dev/null
    expect_eq "what blkid finds on the old origin" "$(blkid -p -o value "/dev/slow/$name" || true)" ""
    [[ -n $(blkid -p -o value "/dev/mapper/$name") ]] || fail "the volume itself lost its signatures"
    id=$(shadowctl -o json op list "$name" | jq -r '.[0].id')
    if [[ $kind == ext4 ]]; then
      # Another file system there, or a user: nothing is written.
      exec 7<"/dev/slow/$name"
      expect_failure shadowctl op restore-origin "$id"
      exec 7<&-
    fi
    shadowctl op restore-origin "$name" >/dev/null
    sha256sum --quiet -c "$RESULT/before.$name" || fail "the old origin is not what it was, byte for byte"
    expect_failure shadowctl op restore-origin "$id"
  done
  expect_eq "the UUID on the old origin" "$(blkid -p -s UUID -o value /dev/slow/db0)" "$uuid"
  # On request it stays.
  shadowctl volume modify db0 --to slow --grace 0 --wait >/dev/null
  lvcreate -qq -y -Wn -L 32m -n db2 slow
  mkfs.ext4 -q /dev/slow/db2
  shadowctl volume import db2 /dev/slow/db2 >/dev/null
  shadowctl volume modify db2 --to fast --grace 0 --keep-origin-signature --wait >/dev/null
  [[ -n $(blkid -p -o value /dev/slow/db2) ]] || fail "the signature was wiped all the same"
}

# The state directory is gone, the volumes are up.
test_a_lost_state_is_rebuilt() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  shadowctl volume create db1 --size 16M --to fast >/dev/null
  write_word /dev/mapper/db0 precious
  shadowctl state export "$RESULT/kept.json" >/dev/null
  kill "$DAEMON"
  wait "$DAEMON" || true
  rm -rf "$SCRATCH/state"
  start_shadowd
  expect_eq "volumes" "$(shadowctl -o json volume list | jq -r '[.[].name] | join(" ")')" "db0 db1"
  expect_word /dev/mapper/db0 precious
  # Down, and lost: the kept file knows them.
  kill "$DAEMON"
  wait "$DAEMON" || true
  rm -rf "$SCRATCH/state"
  dm remove db0
  dm remove db1
  start_shadowd
  expect_eq "volumes" "$(shadowctl -o json volume list | jq length)" 0
  expect_match "the import" "$(shadowctl state import "$RESULT/kept.json")" "db0: taken in.*db1: taken in"
  expect_word /dev/mapper/db0 precious
  shadowctl volume delete db1 --yes | grep "Removed" >/dev/null || fail "it does not know that db1's devices were made for it"
}

test_one_device_is_not_given_twice() {
  two_classes fast fast
  write_word /dev/slow/db0 precious
  local failures=0 first second
  shadowctl volume import one /dev/slow/db0 >"$RESULT/one.log" 2>&1 &
  first=$!
  shadowctl volume import two /dev/slow/db0 >"$RESULT/two.log" 2>&1 &
  second=$!
  wait $first || failures=$((failures + 1))
  wait $second || failures=$((failures + 1))
  expect_eq "imports of one device that were refused" "$failures" 1
  grep -Eqh "of the volume (one|two)|is in use" "$RESULT/one.log" "$RESULT/two.log" || fail "it is not said who has it"
  expect_eq "volumes" "$(shadowctl -o json volume list | jq length)" 1
}

test_use_without_a_claim_is_seen() {
  two_classes fast fast
  exec 7<>/dev/slow/db0
  expect_failure shadowctl volume import db0 /dev/slow/db0
  expect_match "who has it" "$OUTPUT" "process [0-9]+"
  exec 7>&-
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  lvcreate -qq -y -Wn -L 64m -n vm fast
  exec 7<>/dev/fast/vm
  expect_failure shadowctl volume modify db0 --to /dev/fast/vm
  exec 7>&-
}

test_a_volume_is_not_put_on_itself() {
  two_classes fast fast
  shadowctl volume import db1 /dev/slow/db0 >/dev/null
  shadowctl volume import db2 /dev/mapper/db1 --metadata fast >/dev/null
  expect_failure shadowctl volume modify db1 --to /dev/mapper/db2
  expect_match "the refusal" "$OUTPUT" "lies on the volume db1 itself"
  # The daemon would put db2 up again.
  kill "$DAEMON"
  wait "$DAEMON" || true
  dm remove db2
  dm remove db1
}

run_tests "$@"
