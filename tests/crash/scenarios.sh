#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest: scenarios.sh POINTS SEED [SCENARIO]. One log for each scenario, replayed by crash_replay.
#
#   org, tgt, meta, t1, order   slices of one device (dm-delay without a delay: dm-linear of 6.12 does
#     |                     not map flushes, and the log has to tell which slice one was for)
#   gate                    dm-delay for flushes only: one thread sends them one after the other.
#     |                     Else a write could be listed behind the flush that made it durable
#   lw                      dm-log-writes over disk, into log
#
# crash_replay flushes the slice order all the time, which makes nothing durable but lets the log list writes soon after
# they were done: what was written before a FUA write of the metadata then stands before it.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

POINTS=$1 SEED=$2
META_LEN=256
# lay_out ORIGIN TARGET TIER1: sectors of the slices. The volume's last block is a short one.
lay_out() {
  ORG_LEN=$1 TGT_LEN=$2 T1_LEN=$3
  META_AT=$((ORG_LEN + TGT_LEN)) T1_AT=$((ORG_LEN + TGT_LEN + META_LEN))
  DISK_LEN=$((T1_AT + T1_LEN + 8))
  LEN=$((ORG_LEN - 24)) GROWN=$((TGT_LEN - 72))
}
ORIGIN=/dev/mapper/org TARGET=/dev/mapper/tgt META=/dev/mapper/meta
SCENARIOS=(move abort rollback fresh grow remirror tiers tiers_move ext4 xfs)
# A point of a file system takes ten times as long: it gets a third of a share.
WEIGHTS=(3 3 3 3 3 3 3 3 1 1)
[[ ! ${3:-} ]] || SCENARIOS=("$3") WEIGHTS=(1)

slice() { dm_create "$1" "0 $3 delay /dev/mapper/gate $2 0"; }
mark() { dm message lw 0 mark "$1"; }

# record import|fresh: the devices of a log; what the target held before is junk, and of a fresh volume the origin too.
record() {
  null_device disk $((DISK_LEN / 2048 + 1)) fast
  null_device log 768 fast
  crash_replay --write-junk /dev/disk
  # The metadata has to be blank, the order slice does not matter; an import begins with zeroes.
  blkdiscard -z -o $((META_AT * 512)) -l $((META_LEN * 512)) /dev/disk
  [[ $1 == fresh ]] || blkdiscard -z -o 0 -l $((ORG_LEN * 512)) /dev/disk
  dm_create lw "0 $DISK_LEN log-writes /dev/disk /dev/log"
  dm_create gate "0 $DISK_LEN delay /dev/mapper/lw 0 0 /dev/mapper/lw 0 0 /dev/mapper/lw 0 1"
  slice org 0 "$ORG_LEN"
  slice tgt "$ORG_LEN" "$TGT_LEN"
  slice meta "$META_AT" "$META_LEN"
  slice t1 "$T1_AT" "$T1_LEN"
  slice order $((T1_AT + T1_LEN)) 8
  crash_replay --keep-flushing /dev/mapper/order &
  ORDER=$!
}
end_record() {
  dm remove v
  kill "$ORDER"
  wait "$ORDER" && fail "nobody flushed the slice order any longer"
  local device
  for device in org tgt meta t1 order gate; do dm remove $device; done
  [[ $(dm status lw) != *logging_disabled* ]] || fail "the log of this scenario is not whole: $(dm status lw)"
  dm remove lw
}
load() {
  start_stress /dev/mapper/v --mark=lw --block="$BLOCK" --seed="$SEED" --threads=4 \
    --writes=60 --discards=4 --zeroes=4 --flushes=6
}
# Under load for a moment, so that the phase has crash points of its own.
phase() {
  mark "$1"
  sleep "${2:-0.3}"
}
imported() {
  record import
  import_volume "$LEN"
  mark live
  shadow_io fill /dev/mapper/v --journal="$SCRATCH/journal" --mark=lw
}
half() { echo "0+$(($(field v blocks) / 2))"; }
# Blocks that are written all the time stay where they are: asked for until none is left.
until_none() { # FIELD MESSAGE
  local round
  for round in {1..40}; do
    message v "$2" "0+$(field v blocks)"
    wait_idle v
    field_is v "$1" 0 && return
  done
  fail "$2 leaves blocks: $(dm status v)"
}

scenario_move() {
  imported
  load
  phase steady
  attach_target "$LEN"
  phase attached
  until_none origin copy
  phase mirrored
  message v retire "$(half)"
  phase retired
  until_none origin copy
  message v cutover
  phase grace
  message v commit
  phase committed 0
  swap_table v "$(one_leg "$LEN" "$TARGET" T)"
  phase finished
  stop_stress
}
scenario_abort() {
  imported
  load
  attach_target "$LEN"
  until_none origin copy
  message v retire "$(half)"
  phase retired
  until_none target remirror
  message v abort
  swap_table v "$(one_leg "$LEN" "$ORIGIN" O)"
  phase aborted
  stop_stress
}
scenario_rollback() {
  imported
  load
  attach_target "$LEN"
  until_none origin copy
  message v cutover
  phase grace
  message v rollback
  phase rolled-back
  until_none origin copy
  message v cutover
  phase grace
  until_none target remirror
  message v rollback
  message v abort
  swap_table v "$(one_leg "$LEN" "$ORIGIN" O)"
  phase aborted
  stop_stress
}
scenario_fresh() {
  record fresh
  dm_create v "$(one_leg "$LEN" "$ORIGIN" O fresh)"
  mark live
  start_stress /dev/mapper/v --mark=lw --block="$BLOCK" --seed="$SEED" --writes=40 --discards=15 --flushes=8
  phase fresh 4
  stop_stress
}
scenario_grow() {
  LEN=4096
  imported
  swap_table v "$(two_legs "$GROWN")"
  mark grown
  load
  message v copy "$(half)"
  phase growing 1
  until_none origin copy
  message v cutover
  phase grace
  message v commit
  swap_table v "$(one_leg "$GROWN" "$TARGET" T)"
  phase finished
  stop_stress
}
scenario_remirror() {
  imported
  load
  attach_target "$LEN"
  local round
  for round in 1 2 3; do
    until_none origin copy
    message v retire "$(half)"
    phase "retired-$round"
    until_none target remirror
    phase "remirrored-$round"
  done
  stop_stress
}

# with_tier ORIGIN ID [target]: a table with tier1, and with the target.
with_tier() {
  local legs="2 origin $1" ids="6 leg_id origin $2"
  [[ ${3:-} != target ]] || legs="3 origin $1 target $TARGET" ids="9 leg_id origin $2 leg_id target T"
  echo "0 $LEN shadow $META $BLOCK $legs tier1 /dev/mapper/t1 $ids leg_id tier1 F1"
}
tiers_rest() { field_is v tier_queue 0 && field_is v tier_inflight 0; }
# shuffle ROUNDS: shadows come, change and go under the load.
shuffle_shadows() {
  local round mode
  for ((round = 0; round < $1; round++)); do
    mode=writeback
    ((round % 2)) && mode=writethrough
    message v mode tier1 "$mode"
    message v fetch "$( ((round % 4 == 3)) && echo off || echo tier1)"
    message v promote tier1 $((round * 5 % 24))+6 $((round * 3 % 24))+3
    mark "promoted-$round"
    wait_until 20 "the tier mover" tiers_rest
    sleep 0.1
    message v writeback $((round * 7 % 24))+8
    message v demote $((round * 5 % 24))+4 $((round * 11 % 24))+8
    mark "demoted-$round"
    wait_until 20 "the tier mover" tiers_rest
  done
}
scenario_tiers() {
  imported
  swap_table v "$(with_tier "$ORIGIN" O)"
  load
  shuffle_shadows 8
  phase shuffled
  # Suspended and loaded again with shadows.
  swap_table v "$(with_tier "$ORIGIN" O)"
  shuffle_shadows 3
  stop_stress
}
scenario_tiers_move() {
  imported
  swap_table v "$(with_tier "$ORIGIN" O)"
  load
  shuffle_shadows 2
  swap_table v "$(with_tier "$ORIGIN" O target)"
  message v mode tier1 writeback
  message v promote tier1 0+6
  until_none origin copy
  shuffle_shadows 2
  message v retire "$(half)"
  until_none origin copy
  message v cutover
  shuffle_shadows 2
  message v commit
  swap_table v "$(with_tier "$TARGET" T)"
  shuffle_shadows 2
  stop_stress
}

files_under_way() { kill -0 "$FILES" 2>/dev/null; }
# file_system KIND SECONDS: made, with its journal on a write-back tier and the rest at home: what a flush of the
# journal promises lies on two legs. In use until files_written.
file_system() {
  record import
  import_volume "$LEN"
  mark live
  case $1 in
    ext4) mkfs.ext4 -q -b 1024 -J size=1 -E nodiscard /dev/mapper/v ;;
    xfs) small_file_system xfs /dev/mapper/v ;;
  esac
  swap_table v "$(with_tier "$ORIGIN" O)"
  mapfile -t JOURNAL < <(journal_blocks "$1" /dev/mapper/v)
  mkdir -p "$SCRATCH/mnt"
  mount -t "$1" /dev/mapper/v "$SCRATCH/mnt"
  mkdir "$SCRATCH/mnt/files"
  sync
  message v mode tier1 writeback
  message v promote tier1 "${JOURNAL[@]}"
  wait_until 60 "the tier mover" tiers_rest
  file_io run "$SCRATCH/mnt/files" "$SCRATCH/files" --seconds="$2" --length=49152 --mark=lw --seed="$SEED" >"$SCRATCH/file_io" &
  FILES=$!
}
files_written() {
  wait "$FILES" || fail "the files were wrong before any cut"
  FILES=
  note "journal in ${JOURNAL[*]}, $(message v tiers | tr ' ' '\n' | grep -c dirty) runs of dirty shadows, $(cat "$SCRATCH/file_io")"
  mark written
  umount "$SCRATCH/mnt"
}
scenario_ext4() {
  lay_out 16384 8 4096
  file_system ext4 12
  phase journal-on-tier 6
  # other shadows come and go
  local round
  for ((round = 0; round < 40; round++)); do
    files_under_way || break
    message v promote tier1 $((round * 7 % 120))+4
    wait_until 60 "the tier mover" tiers_rest
    message v writeback $((round * 7 % 120))+4
    message v demote $((round * 7 % 120))+4
    message v promote tier1 "${JOURNAL[@]}"
    wait_until 60 "the tier mover" tiers_rest
    mark "round-$round"
  done
  files_written
}
scenario_xfs() {
  lay_out 34816 34816 16384
  file_system xfs 16
  phase journal-on-tier 6
  swap_table v "$(with_tier "$ORIGIN" O target)"
  message v mode tier1 writeback
  until_none origin copy
  phase mirrored 1
  message v retire "$(half)"
  until_none origin copy
  message v cutover
  phase grace 1
  message v commit
  swap_table v "$(with_tier "$TARGET" T)"
  phase finished 1
  files_written
}

# replay NAME POINTS [OPTION...]
replay() {
  local name=$1 points=$2 longest=$LEN junk=(--junk tgt)
  shift 2
  [[ $name != grow ]] || longest=$GROWN
  [[ $name != fresh ]] || junk+=(--junk org)
  [[ $name != ext4 && $name != xfs ]] || set -- "$@" --judge "${0%/*}/judge_files $name"
  crash_replay --log /dev/log --name "$name" --points "$points" --seed "$SEED" --sectors "$longest" \
    --slice "org:0:$ORG_LEN" --slice "tgt:$ORG_LEN:$TGT_LEN" --slice "meta:$META_AT:$META_LEN" \
    --slice "t1:$T1_AT:$T1_LEN" \
    "${junk[@]}" "$@"
}
scratch_devices() {
  null_device xorg $(((ORG_LEN + 2047) / 2048)) fast
  null_device xtgt $(((TGT_LEN + 2047) / 2048)) fast
  null_device xmeta 1 fast
  null_device xt1 $(((T1_LEN + 2047) / 2048)) fast
}
# The replay has to find what is planted, or its silence means nothing.
planted() {
  local fault status
  for fault in drop-flushed stale-metadata; do
    status=0
    replay move 40 --plant $fault >"$SCRATCH/planted" 2>&1 || status=$?
    ((status == 1)) || fail "a planted fault, $fault, was not found (status $status): $(tail -n 3 "$SCRATCH/planted")"
    note "planted $(tail -n 1 "$SCRATCH/planted")"
    ((++FOUND))
  done
}

load_module
modprobe dm-log-writes
modprobe -a dm-delay ext4 xfs
echo 1 >/sys/kernel/rcu_expedited
FOUND=0 total=0 positions=0 wrong=0 status=0 before=0
all=$(IFS=+ && echo $((${WEIGHTS[*]})))
for index in "${!SCENARIOS[@]}"; do
  name=${SCENARIOS[index]}
  share=$((POINTS * (before + WEIGHTS[index]) / all - POINTS * before / all))
  before=$((before + WEIGHTS[index]))
  lay_out 4096 6144 1024
  started=$SECONDS
  log_begins "the replay"
  rm -f "$SCRATCH/journal" "$SCRATCH/files"
  "scenario_$name"
  end_record
  recorded=$((SECONDS - started))
  scratch_devices
  [[ $name != move ]] || planted
  replay "$name" "$share" >"$SCRATCH/figures" || status=1
  line=$(tail -n 1 "$SCRATCH/figures")
  note "$line; recorded in $recorded s, replayed in $((SECONDS - started - recorded)) s"
  [[ $line =~ \ ([0-9]+)\ points\ at\ ([0-9]+)\ positions.*\ ([0-9]+)\ wrong$ ]] ||
    fail "crash_replay gave no figures for $name"
  total=$((total + BASH_REMATCH[1])) positions=$((positions + BASH_REMATCH[2]))
  wrong=$((wrong + BASH_REMATCH[3]))
  clean_machine
done
((total >= POINTS)) || status=1
echo "crash: $total of $POINTS distinct points at $positions positions in ${#SCENARIOS[@]} logs," \
  "$wrong wrong, $FOUND of 2 planted faults found, kernel $(uname -r), seed $SEED, $SECONDS s"
exit $status
