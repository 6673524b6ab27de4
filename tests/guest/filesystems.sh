#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Others' judges: fio's verifying jobs and stress-ng's file system stressors on ext4 and xfs over a
# volume that moves; and after every power cut e2fsck and xfs_repair have nothing to complain about.
# file_io does what fsx does, and knows which files were synced before the power was cut.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

MIB=96
LEN=$((MIB * 2048))
MNT=$SCRATCH/mnt

# volume KIND: a file system on v, over devices with volatile caches; two legs.
volume() {
  modprobe -a ext4 xfs
  load_module
  null_device org $MIB fast cache_size=128
  null_device tgt $MIB fast cache_size=128
  null_device meta 8 fast cache_size=8
  import_volume $LEN
  small_file_system "$1" /dev/mapper/v
  mkdir -p "$MNT"
  mount -t "$1" /dev/mapper/v "$MNT"
}
verify_job() {
  fio --name=verify --directory="$MNT" --size=6m --numjobs=2 --rw=randrw --bsrange=4k-64k \
    --ioengine=libaio --iodepth=8 --direct="$1" --verify=crc32c --verify_fatal=1 --do_verify=1 \
    --fsync=32 --output="$RESULT/fio.log" || fail "fio found: $(grep -m 3 -i verify "$RESULT/fio.log")"
}
stressors() {
  mkdir -p "$MNT/stress"
  stress-ng --temp-path "$MNT/stress" --timeout "$1" --metrics-brief --hdd 1 --hdd-bytes 4m \
    --iomix 1 --iomix-bytes 4m --fallocate 1 --fallocate-bytes 4m --dir 1 --rename 1 --link 1 \
    &>"$RESULT/stress-ng.log"
}
# exercise SECONDS [OPTION...]: in the background, with files and a journal of its own.
exercise() {
  rm -rf "$MNT/files" "$SCRATCH/files"
  mkdir "$MNT/files"
  (trap - ERR EXIT && exec file_io run "$MNT/files" "$SCRATCH/files" --seconds="$1" "${@:2}") \
    &>"$RESULT/file_io.log" &
  EXERCISE=$!
}
exercised() { wait "$EXERCISE" || fail "$(tail -n 1 "$RESULT/file_io.log")"; }

moves() {
  volume "$1"
  attach_target $LEN
  message v limit rate 8192
  message v copy "0+$(field v blocks)"
  exercise 12 --seed=1
  verify_job 1
  stressors 6 || fail "stress-ng: $(tail -n 3 "$RESULT/stress-ng.log")"
  exercised
  message v limit rate 0
  fstrim "$MNT" 2>/dev/null || true
  verify_job 0
  wait_idle v
  copy_all
  commit_to_target $LEN
  verify_job 1
  file_io check "$MNT/files" "$SCRATCH/files" >"$RESULT/file_io.log" || fail "a file changed on the way"
  umount "$MNT"
  whole_file_system "$1" /dev/mapper/v
}
test_ext4_is_used_while_it_moves() { moves ext4; }
test_xfs_is_used_while_it_moves() { moves xfs; }

# on_a_tier KIND: its journal lies on a write-back tier, dirty, the rest at home: a flush of it promises what
# lies on two legs.
on_a_tier() {
  null_device t1 24 fast cache_size=32
  TABLE="0 $LEN shadow /dev/meta $BLOCK 3 origin /dev/org target /dev/tgt tier1 /dev/t1"
  TABLE+=" 11 leg_id origin O leg_id target T leg_id tier1 F writeback tier1"
  swap_table v "$TABLE"
  local journal
  mapfile -t journal < <(journal_blocks "$1" /dev/mapper/v)
  message v promote tier1 "${journal[@]}"
}
# cuts KIND [COMMAND]: one cut while copying, one while blocks are retired, one in grace. COMMAND comes first.
cuts() {
  local during stress ended seed=0
  volume "$1"
  TABLE=$(two_legs $LEN)
  swap_table v "$TABLE"
  [[ ! ${2:-} ]] || "$2" "$1"
  message v limit rate 16384
  for during in copy retire cutover; do
    case $during in
      copy) message v copy "0+$(field v blocks)" ;;
      retire) copy_all && message v retire 0+200 ;;
      cutover) message v copy "0+$(field v blocks)" && message v limit rate 0 && wait_idle v && copy_all && message v cutover ;;
    esac
    # They die with the file system, as everything does in a power cut.
    exercise 600 --until-error --seed="$((++seed))"
    (trap - ERR && stressors 30) &>/dev/null &
    stress=$!
    wait_until 60 "files that are synced" grep -qs kept "$SCRATCH/files"
    sleep 4
    power_cut all
    pkill -KILL stress-ng || true
    wait "$stress" || true
    exercised
    ended=$(grep -s "^ended" "$RESULT/file_io.log" || echo "ended: a mapping cannot be used.")
    umount -l "$MNT"
    wait_until 60 "the volume to go" gone v
    power_up all
    dm_create v "$TABLE" SHADOW-test
    mount -t "$1" /dev/mapper/v "$MNT"
    umount "$MNT"
    whole_file_system "$1" /dev/mapper/v
    mount -t "$1" /dev/mapper/v "$MNT"
    file_io check "$MNT/files" "$SCRATCH/files" >"$RESULT/file_io.log" || fail "a synced file was lost"
    note "cut while $during: clean, $(cat "$RESULT/file_io.log"); it had $ended"
  done
  verify_job 1
  umount "$MNT"
  whole_file_system "$1" /dev/mapper/v
}
test_ext4_after_power_cuts() { cuts ext4; }
test_xfs_after_power_cuts() { cuts xfs; }
test_ext4_on_a_tier_after_power_cuts() { cuts ext4 on_a_tier; }
test_xfs_on_a_tier_after_power_cuts() { cuts xfs on_a_tier; }

run_tests "$@"
