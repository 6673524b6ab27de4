#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest, in virtual time (tests/bench/run starts it): measures dm-shadow and its peers
# one after the other on equal devices, and writes `name value` lines to $RESULT/values.
# Nanoseconds are instructions here, so a figure is the same on every machine.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

VALUES=$SCRATCH.values
IOS=${TEST_BENCH_IOS:-10000}
MOVE_MIB=256
BLOCK=512

put() {
  echo "$1 $2" >>"$VALUES"
  echo "$1 $2"
}
now_us() { echo "${EPOCHREALTIME/./}"; }
# fio_ns DEVICE WORKLOAD: median ns of one 4 KiB direct I/O at depth 1. Not the mean: work of the
# kernel's own that comes by once in a while, a millisecond in one I/O of ten thousand, would move it by
# more than what is measured here.
fio_ns() {
  fio --name=x --filename="$1" --rw="$2" --bs=4k --direct=1 --ioengine=psync \
    --number_ios="$IOS" --size=64m --write_lat_log="$SCRATCH/fio" >/dev/null
  cut -d, -f2 "$SCRATCH/fio_clat.1.log" | sort -n | sed -n "$((IOS / 2))p" | tr -d ' '
}
cost() {
  # warm: the first read and the first write of a block set its access bits
  fio_ns "$2" randwrite >/dev/null
  fio_ns "$2" randread >/dev/null
  put "$1_read_ns" "$(fio_ns "$2" randread)"
  put "$1_write_ns" "$(fio_ns "$2" randwrite)"
}
# raw NAME MIB: a device that does nothing as fast as it can, so that only the path costs.
raw() { null_device "$1" "$2" fast memory_backed=0 queue_mode=0 discard=0; }
blank_meta() { dd if=/dev/zero of=/dev/meta bs=1M count=8 oflag=direct status=none; }

need_dm_clone() {
  modprobe dm_persistent_data
  [[ -d /sys/module/dm_clone ]] || insmod "$SHADOW_CACHE/dm-clone/$(uname -r)/dm-clone.ko"
}
hydrated() { dm_wait c " $1/$1 " " 0 "; }
in_sync() { dm_wait m " $1/$1 "; }
copied() { dm_wait v " queue=0 " " inflight=0 " " copying=0 "; }

# Idle time is skipped: while a page of a program, or the answer to a lookup, is on its way from the
# host, the guest's clock runs on from timer to timer. So everything that runs while time is taken
# lies in memory, and has run once before. (The hot programs of tests/lab/guest are not enough here:
# their directories still lie on the host, and the look-ups moved the pause at cut-over by a fifth.)
move_into_memory() {
  local name path library box=/run/box
  mkdir -p $box/bin $box/lib
  for name in fio jq dmsetup dd sleep sort awk wc tr touch cat cut sed rm blockdev lvm dm_swap dm_wait shadow_io \
    shadowctl shadowd; do
    path=$(type -P "$name")
    cp "$path" "$box/bin/"
    while read -r library; do cp -n "$library" $box/lib/; done < <(ldd "$path" | grep -o '/lib[^ ]*')
  done
  export PATH=$box/bin:$PATH LD_LIBRARY_PATH=$box/lib LC_ALL=C
}
warm() {
  move_into_memory
  null_device warm 8
  background_load /dev/warm 8
  sleep 0.2
  load_end warm >/dev/null
  sed -i '/^warm_/d' "$VALUES" # too short to have seen a write, maybe
  lvm version >/dev/null
  shadowctl --help >/dev/null
  shadowd --help >/dev/null
  dmsetup targets >/dev/null
  dm_create warm "0 1024 linear /dev/warm 0"
  dm_swap warm "0 1024 linear /dev/warm 0"
  dm status warm | cut -d' ' -f 7 >/dev/null
  dm_wait warm " "
  dm remove warm
  null_remove warm
}

# --- cost of one I/O ---------------------------------------------------------------------------

bench_cost() {
  modprobe dm_mirror
  raw a 64
  raw b 64
  null_device meta 16
  cost null /dev/a
  local len
  len=$(sectors /dev/a)
  dm_create lin "0 $len linear /dev/a 0"
  cost linear /dev/mapper/lin
  dm remove lin
  need_dm_clone
  dm_create c "0 $len clone /dev/meta /dev/b /dev/a $BLOCK"
  hydrated $((len / BLOCK))
  cost clone /dev/mapper/c
  dm remove c
  dm_create m "0 $len mirror core 2 1024 nosync 2 /dev/a 0 /dev/b 0 1 handle_errors"
  cost mirror /dev/mapper/m
  dm remove m
  blank_meta
  load_module
  ORIGIN=/dev/a TARGET=/dev/b
  import_volume "$len"
  cost shadow /dev/mapper/v
  attach_target "$len"
  copy_all
  cost shadow_mirrored /dev/mapper/v
  commit_to_target "$len"
  cost shadow_moved /dev/mapper/v
}

# The shadows of all blocks on a tier, and dm-cache with as large a cache that has seen all of it.
bench_tiers() {
  modprobe dm_cache_smq
  local len
  raw a 64
  raw b 80
  null_device meta 16
  len=$(sectors /dev/a)
  dm_create lin "0 $len linear /dev/a 0"
  cost linear /dev/mapper/lin
  dm remove lin
  load_module
  ORIGIN=/dev/a
  import_volume "$len"
  local legs="0 $len shadow /dev/meta $BLOCK 2 origin /dev/a tier1 /dev/b 6 leg_id origin O leg_id tier1 F"
  swap_table v "$legs"
  message v promote tier1 "0+$(field v blocks)"
  dm_wait v " tier_queue=0 " " tier_inflight=0 "
  cost shadow_clean /dev/mapper/v
  message v mode tier1 writeback
  cost shadow_dirty /dev/mapper/v
  (($(field v tier1_reads) > IOS)) || fail "the reads did not go to shadows: $(dm status v)"
  dm remove v
  blank_meta
  dm_create c "0 $len cache /dev/meta /dev/b /dev/a $BLOCK 1 writethrough smq 0"
  for _ in 1 2 3 4; do fio_ns /dev/mapper/c randread >/dev/null; done
  cost cache /dev/mapper/c
  note "dm-cache: $(dm status c)"
}

# --- moves -------------------------------------------------------------------------------------

speed_legs() {
  null_device hdd "$MOVE_MIB" hdd
  null_device nvme "$MOVE_MIB" nvme
  null_device meta 8 nvme
  # Both hold data: the first write of a page in null_blk costs an allocation.
  dd if=/dev/zero of=/dev/hdd bs=1M count="$MOVE_MIB" oflag=direct status=none
  dd if=/dev/zero of=/dev/nvme bs=1M count="$MOVE_MIB" oflag=direct status=none
}
# background_load DEVICE [MIB]: 100 I/O/s, 70 % reads, zipf, direct, depth 1, until load_end.
background_load() {
  rm -f "$SCRATCH/fio.json"
  fio --name=app --filename="$1" --rw=randrw --rwmixread=70 --rate_iops=70,30 --bs=4k --direct=1 \
    --ioengine=psync --random_distribution=zipf:1.1 --time_based --runtime=3600 --size="${2:-$MOVE_MIB}m" \
    --output-format=json --output="$SCRATCH/fio.json" --write_lat_log="$SCRATCH/fio" --log_unix_epoch=1 &
  FIO=$!
  sleep 0.5
}
# load_end NAME [FROM TO]: ends it and notes the percentiles of the I/O that ended between these
# microseconds (default: all).
load_end() {
  local direction=0 what sorted count
  kill -INT "$FIO"
  wait "$FIO" || true
  for what in read write; do
    # milliseconds, ns, direction, ...
    sorted=$(awk -F', *' -v from="${2:-0}" -v to="${3:-9e18}" -v direction=$direction \
      '$3 == direction && $1 * 1000 >= from && $1 * 1000 <= to { print $2 }' "$SCRATCH"/fio_clat.1.log | sort -n)
    count=$(wc -l <<<"$sorted")
    put "$1_${what}_p50_ns" "$(sed -n "$(((count + 1) / 2))p" <<<"$sorted")"
    put "$1_${what}_p99_ns" "$(sed -n "$(((count * 99 + 99) / 100))p" <<<"$sorted")"
    direction=1
  done
}
# timed NAME COMMAND...
timed() {
  local name=$1 start
  start=$(now_us)
  shift
  "$@"
  put "${name}_us" $(($(now_us) - start))
}

bench_dd() {
  speed_legs
  timed dd dd if=/dev/hdd of=/dev/nvme bs=1M iflag=direct oflag=direct status=none
}
bench_idle() {
  speed_legs
  dm_create lin "0 $(sectors /dev/hdd) linear /dev/hdd 0"
  background_load /dev/mapper/lin
  sleep 10
  load_end idle
}
# dm-mirror begins to copy when it is made, so its load begins with the copy, not before.
move_mirror() {
  dm_create m "0 $(sectors /dev/hdd) mirror core 1 1024 2 /dev/hdd 0 /dev/nvme 0 1 handle_errors"
  [[ -z ${1:-} ]] || background_load /dev/mapper/m
  in_sync $((MOVE_MIB * 2))
}
bench_mirror() {
  speed_legs
  modprobe dm_mirror
  timed mirror_alone move_mirror
  dm remove m
  timed mirror_load move_mirror load
  load_end mirror_load
}
make_clone() {
  blank_meta
  dm_create c "0 $(sectors /dev/hdd) clone /dev/meta /dev/nvme /dev/hdd $BLOCK 1 no_hydration 4 hydration_threshold 4 hydration_batch_size 1"
}
move_clone() {
  message c enable_hydration
  hydrated $((MOVE_MIB * 2048 / BLOCK))
}
bench_clone() {
  need_dm_clone
  speed_legs
  make_clone
  timed clone_alone move_clone
  dm remove c
  make_clone
  background_load /dev/mapper/c
  timed clone_load move_clone
  load_end clone_load
}

shadow_volume() {
  load_module
  speed_legs
  ORIGIN=/dev/hdd TARGET=/dev/nvme
  import_volume "$(sectors /dev/hdd)"
  attach_target "$(sectors /dev/hdd)"
}
copy_whole() {
  message v copy "0+$(field v blocks)"
  copied
}
bench_shadow_alone() {
  shadow_volume
  timed shadow_alone copy_whole
  expect_field v mirrored "$(field v blocks)"
}
# What a database does, on devices with volatile caches (a write takes as long as its way into them): pages are written at random, and a log in which
# each write is made durable. Milliseconds of the page writes, with no move and during one that takes its time.
database_load() {
  fio --name=pages --filename=/dev/mapper/v --rw=randwrite --rate_iops=100 --bs=8k --direct=1 --ioengine=psync \
    --random_distribution=zipf:1.1 --time_based --runtime=3600 --size=192m --thread \
    --write_lat_log="$SCRATCH/fio" --log_unix_epoch=1 \
    --name=log --filename=/dev/mapper/v --rw=write --rate_iops=50 --bs=4k --direct=1 --fdatasync=1 --ioengine=psync \
    --time_based --runtime=3600 --offset=192m --size=32m --thread --write_lat_log="$SCRATCH/log" >/dev/null &
  FIO=$!
  sleep 0.5
}
database_end() { # NAME FROM TO
  local sorted count
  kill -INT "$FIO"
  wait "$FIO" || true
  sorted=$(awk -F', *' -v from="$2" -v to="$3" '$1 * 1000 >= from && $1 * 1000 <= to { print $2 }' \
    "$SCRATCH"/fio_clat.1.log | sort -n)
  count=$(wc -l <<<"$sorted")
  put "$1_p50_ns" "$(sed -n "$(((count + 1) / 2))p" <<<"$sorted")"
  put "$1_p99_ns" "$(sed -n "$(((count * 99 + 99) / 100))p" <<<"$sorted")"
}
bench_database() {
  local start
  null_device hdd "$MOVE_MIB" hdd cache_size=32
  null_device nvme "$MOVE_MIB" nvme cache_size=32
  null_device meta 8 nvme cache_size=8
  dd if=/dev/zero of=/dev/hdd bs=1M count="$MOVE_MIB" oflag=direct status=none
  load_module
  ORIGIN=/dev/hdd TARGET=/dev/nvme
  import_volume "$(sectors /dev/hdd)"
  database_load
  sleep 5
  start=$(now_us)
  sleep 30
  database_end database_idle "$start" "$(now_us)"
  database_load
  sleep 5
  attach_target "$(sectors /dev/hdd)"
  message v limit rate 8192
  start=$(now_us)
  message v copy "0+$(field v blocks)"
  copied
  sleep 10 # and the time after it, until it is cut over
  database_end database_move "$start" "$(now_us)"
}

# move_by_daemon IMPACT: what an administrator gets. shadowd has the same devices as classes and decides
# how fast. Taken from the moment the target is attached to the last block's second copy.
move_by_daemon() {
  local start end
  load_module
  null_device hdd $((MOVE_MIB + 16)) hdd
  null_device nvme $((MOVE_MIB + 64)) nvme
  dd if=/dev/zero of=/dev/hdd bs=1M count=$((MOVE_MIB + 16)) oflag=direct status=none
  dd if=/dev/zero of=/dev/nvme bs=1M count=$((MOVE_MIB + 64)) oflag=direct status=none
  lvm_configuration
  rm -rf /dev/slow /dev/fast # directories of the groups before
  vgcreate -qq -y slow /dev/hdd
  vgcreate -qq -y fast /dev/nvme
  lvcreate -qq -y -Wn -n app -L "${MOVE_MIB}m" slow
  start_shadowd
  shadowctl volume import v /dev/slow/app
  background_load /dev/mapper/v
  sleep 3
  shadowctl volume modify v --to fast --impact "$1" --grace 1h
  dm_wait v " migrating "
  start=$(now_us)
  dm_wait v " mirrored=$(field v blocks) "
  end=$(now_us)
  put "shadow_$1_us" $((end - start))
  load_end "shadow_$1" "$start" "$end"
  kill "$DAEMON"
  wait "$DAEMON"
}
bench_shadow_full() { move_by_daemon full; }
bench_shadow_low() { move_by_daemon low; }

# --- pause at cut-over -------------------------------------------------------------------------

# pause NAME DEVICE read|write COMMAND...: longest distance between two completions of a steady
# stream of direct I/O while the command runs.
pause() {
  local name=$1 device=$2 flag=$3 options=(--stop-file="$SCRATCH/stop" --mark-file="$SCRATCH/mark")
  shift 3
  [[ $flag == read ]] || options+=(--write)
  rm -f "$SCRATCH/stop" "$SCRATCH/mark"
  shadow_io gap "$device" "${options[@]}" >"$SCRATCH/gap" &
  sleep 0.2
  touch "$SCRATCH/mark"
  sleep 0.1
  "$@"
  sleep 0.1
  touch "$SCRATCH/stop"
  wait $!
  put "pause_${name}_${flag}_ns" "$(cat "$SCRATCH/gap")"
}
bench_pause() {
  null_device nvme 64 nvme
  null_device other 64 nvme
  null_device meta 8 nvme
  load_module
  local len flag
  len=$(sectors /dev/nvme)
  ORIGIN=/dev/other TARGET=/dev/nvme
  for flag in read write; do
    dm_create lin "0 $len linear /dev/nvme 0"
    pause linear /dev/mapper/lin "$flag" dm_swap lin "0 $len linear /dev/nvme 0"
    dm remove lin
    blank_meta
    import_volume "$len"
    attach_target "$len"
    copy_all
    pause shadow /dev/mapper/v "$flag" \
      dm_swap v "$(one_leg "$len" /dev/nvme T)" cutover commit
    dm remove v
  done
}

# --- memory ------------------------------------------------------------------------------------

bench_memory() {
  load_module
  local mib=$((1024 * 1024))
  null_device big "$mib" fast memory_backed=0
  null_device meta 128
  ORIGIN=/dev/big
  import_volume "$(sectors /dev/big)"
  put memory_blocks "$(field v blocks)"
  put memory_bytes "$(field v mem)"
}

all=(cost tiers dd idle mirror clone shadow_alone shadow_full shadow_low database pause memory)
if (($#)); then all=("$@"); fi
warm
status=0
run_tests "${all[@]/#/bench_}" || status=1
cp "$VALUES" "$RESULT/values"
exit $status
