# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # OUTPUT, LOG_START: for the scripts
# Helpers for scripts that run inside the guest; source it first. A script defines functions named
# test_* and ends with run_tests; each starts on a clean machine and fails at its first failed command.
# There is no udev: device nodes are made by dmsetup mknodes, names are null_blk's and dm's own.

# grep -q ends at the first match, and what writes to it then dies of SIGPIPE: not in a pipeline.
set -euo pipefail
: "${SHADOW_REPO:?this runs inside tests/lab/guest}"
BLOCK=128                       # sectors, the smallest block: most blocks per MiB
SCRATCH=$(mktemp -d)
NULLB=/sys/kernel/config/nullb
export DM_DISABLE_UDEV=1

fail() {
  printf '    FAILED: %s\n' "$*" >&2
  printf '      at %s line %s\n' "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" >&2
  exit 1
}
note() { printf '    %s\n' "$*"; }

# expect_eq WHAT GOT WANT
expect_eq() { [[ $2 == "$3" ]] || fail "$1 is '$2', expected '$3'"; }
# expect_match WHAT GOT REGEX
expect_match() { [[ $2 =~ $3 ]] || fail "$1 is '$2', expected something like '$3'"; }
# expect_failure COMMAND...: it must fail; its words are left in $OUTPUT.
expect_failure() {
  if OUTPUT=$("$@" 2>&1); then fail "'$*' succeeded and should have been refused"; fi
}
# The debug kernel looks at every access to memory.
SLOWNESS=1
[[ $(uname -r) != *-debug ]] || SLOWNESS=8
# wait_until SECONDS WHAT COMMAND...: polls a condition that the kernel reaches by itself.
wait_until() {
  local deadline=$((SECONDS + $1 * SLOWNESS)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "still waiting for $what"
    sleep 0.05
  done
}

# --- devices -----------------------------------------------------------------------------------

# null_device NAME MIB [hdd|ssd|nvme|fast] [KEY=VALUE...]: /dev/NAME, memory-backed.
# hdd, ssd and nvme have a speed (2 ms and 150 MB/s; 100 us and 500 MB/s; 20 us and 2 GB/s); fast answers
# at once.
# cache_size=MIB gives it a volatile write cache, which power_cut loses: tests/lab/module over null_blk's
# NAME-medium. null_blk's own does not lose what overwrites a page that was ever flushed.
null_device() {
  local name=$1 mib=$2 kind=${3:-fast} cache='' pair
  local settings=(size="$mib" memory_backed=1 discard=1)
  modprobe null_blk nr_devices=0
  mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
  case $kind in
    # No discard: a hard disk has none.
    hdd) settings+=(discard=0 irqmode=2 queue_mode=2 completion_nsec=2000000 hw_queue_depth=4 mbps=150) ;;
    ssd) settings+=(irqmode=2 queue_mode=2 completion_nsec=100000 hw_queue_depth=32 mbps=500) ;;
    nvme) settings+=(irqmode=2 queue_mode=2 completion_nsec=20000 hw_queue_depth=128 mbps=2000) ;;
    fast) settings+=(irqmode=0 queue_mode=2) ;;
    *) fail "null_device knows no kind '$kind'" ;;
  esac
  for pair in "${@:4}"; do
    if [[ $pair == cache_size=* ]]; then cache=${pair#*=} name=$1-medium; else settings+=("$pair"); fi
  done
  mkdir "$NULLB/$name"
  for pair in "${settings[@]}"; do echo "${pair#*=}" >"$NULLB/$name/${pair%%=*}"; done
  echo 1 >"$NULLB/$name/power"
  # null_blk with a bandwidth never finishes a discard that is longer than 20 ms worth of it.
  if [[ " ${*:4} " != *" discard=0 "* ]]; then
    case $kind in
      ssd) echo $((8 << 20)) >"/sys/block/$name/queue/discard_max_bytes" ;;
      nvme) echo $((16 << 20)) >"/sys/block/$name/queue/discard_max_bytes" ;;
    esac
  fi
  [[ ! $cache ]] || volatile_device "$1" "/dev/$name" "$cache"
}
null_remove() {
  echo 0 >"$NULLB/$1/power"
  rmdir "$NULLB/$1"
}

# volatile_device NAME MEDIUM MIB: /dev/NAME, the dm device disk-NAME, caches so much of MEDIUM's writes.
volatile_device() {
  insert_module lab/dm-volatile.ko
  dm_create "disk-$1" "0 $(sectors "$2") volatile $2 $(($3 * 2048))"
  ln -sf "/dev/mapper/disk-$1" "/dev/$1"
}
# Names of all of them, without disk-.
volatile_devices() { dmsetup ls --target volatile | sed -n 's/^disk-\([^[:space:]]*\).*/\1/p'; }
# received NAME writes|fuas|flushes|discards|zeroes: how many it has got.
received() { dm status "disk-$1" | grep -o " $2=[0-9]*" | cut -d= -f2; }
# power_cut NAME...: these lose power one after the other; power_cut all: the whole machine does, at one instant.
# power_up NAME...|all: they come back, with any part of what was not flushed, drawn from $RANDOM;
# CUT_KEEP=none or all: with nothing or all of it.
power_cut() {
  local name
  if [[ $1 == all ]]; then
    dm message "disk-$(volatile_devices | head -n 1)" 0 off all
  else
    for name in "$@"; do dm message "disk-$name" 0 off; done
  fi
}
power_up() {
  local name
  # shellcheck disable=SC2046  # names have no spaces
  [[ $1 != all ]] || set -- $(volatile_devices)
  for name in "$@"; do dm message "disk-$name" 0 on $RANDOM "${CUT_KEEP:-some}"; done
}
# unplug NAME...: devices without a cache that are gone for good.
unplug() { for n in "$@"; do echo 0 >"$NULLB/$n/power"; done; }

# breakable_legs MIB [KEY=VALUE...]: org, tgt and meta behind dm devices fo, ft, fm, which are what volumes use then;
# fault DEVICE all|reads|writes|flushes|none: it fails wholly, for reads, for writes and flushes, for
# flushes alone, or no longer. breakable_tier MIB [KEY=VALUE...]: t1 behind f1, likewise.
breakable_legs() {
  local pair
  load_module
  modprobe -a dm_flakey dm_delay
  null_device org "$1" fast "${@:2}"
  null_device tgt "$1" fast "${@:2}"
  null_device meta 8 fast "${@:2}"
  for pair in fo:org ft:tgt fm:meta; do
    dm_create "${pair%:*}" "0 $(sectors "/dev/${pair#*:}") linear /dev/${pair#*:} 0"
  done
  ORIGIN=/dev/mapper/fo TARGET=/dev/mapper/ft META=/dev/mapper/fm
}
breakable_tier() {
  null_device t1 "$1" fast "${@:2}"
  dm_create f1 "0 $(sectors /dev/t1) linear /dev/t1 0"
  TIER=/dev/mapper/f1
}
fault() {
  local -A below=([fo]=org [ft]=tgt [fm]=meta [f1]=t1)
  local device=/dev/${below[$1]} bad=/dev/mapper/bad-$1 size
  size=$(sectors "$device")
  case $2 in
    # Not the target error: a flush of it succeeds.
    all) dm_load "$1" "0 $size flakey $device 0 0 3600" ;;
    writes) dm_load "$1" "0 $size flakey $device 0 0 3600 1 error_writes" ;;
    # No delay, but three ways: for reads, writes and flushes.
    reads)
      dm_create "bad-$1" "0 $size error"
      dm_load "$1" "0 $size delay $bad 0 0 $device 0 0 $device 0 0"
      ;;
    flushes)
      dm_create "bad-$1" "0 $size flakey $device 0 0 3600 1 error_writes"
      dm_load "$1" "0 $size delay $device 0 0 $device 0 0 $bad 0 0"
      ;;
    none) dm_load "$1" "0 $size linear $device 0" ;;
    *) fail "there is no fault '$2'" ;;
  esac
  dm suspend --noflush --nolockfs "$1"
  dm_resume "$1"
  [[ $2 != none || ! -e $bad ]] || dm remove "bad-$1"
}

# disk_path NAME: the virtio disk that was given as --disk NAME=FILE.
disk_path() {
  local serial
  for serial in /sys/block/vd*/serial; do
    [[ $(cat "$serial") == "$1" ]] && echo "/dev/$(basename "$(dirname "$serial")")" && return
  done
  fail "the guest has no disk $1"
}
sectors() { blockdev --getsz "$1"; }
# junk DEVICE: old data that must never be seen.
junk() {
  { yes 'old data that must never be seen' || true; } |
    head -c $(($(sectors "$1") * 512)) | dd of="$1" bs=1M iflag=fullblock oflag=direct status=none
}
is_zero() { cmp -s -n $(($3 * 512)) -i $(($2 * 512)):0 "$1" /dev/zero; }

# --- device mapper -----------------------------------------------------------------------------

dm() { dmsetup --noudevsync --noudevrules "$@"; }
# dm_create NAME TABLE [UUID]
dm_create() {
  local uuid=${3:-}
  [[ $2 != *" shadow "* ]] || uuid=${uuid:-SHADOW-test}
  dm create "$1" ${uuid:+-u "$uuid"} --table "$2"
  dm mknodes "$1"
}
dm_suspend() { dm suspend "$@"; }
dm_resume() { dm resume "$1"; }
dm_load() { dm load "$1" --table "$2"; }
# gone NAME: it is removed, by force; false as long as something keeps it.
gone() {
  dm remove --force "$1" &>/dev/null || true
  ! dmsetup info "$1" &>/dev/null
}
# swap_table NAME TABLE: suspend, load, resume.
swap_table() {
  dm_load "$1" "$2"
  dm_suspend "$1"
  dm_resume "$1"
}
message() { dm message -- "$1" 0 "${@:2}"; }
# field NAME KEY: one key=value of the status line; mode and phase too.
field() {
  local words
  read -r -a words < <(dm status "$1")
  case $2 in
    mode) echo "${words[3]}" ;;
    phase) echo "${words[4]}" ;;
    blocks) echo "${words[5]}" ;;
    *)
      local word
      for word in "${words[@]:7}"; do [[ $word == "$2="* ]] && echo "${word#*=}" && return; done
      fail "the status has no '$2': ${words[*]}"
      ;;
  esac
}
field_is() { [[ $(field "$1" "$2") == "$3" ]]; }
expect_field() { expect_eq "$2 of $1" "$(field "$1" "$2")" "$3"; }
# log_begins NAME: log_since prints what the kernel's log says from here on. A line of our own marks the
# place: the log forgets its oldest lines, so their number is no place. Without the mark all is newer.
log_begins() {
  LOG_START="the lab begins $1 ($RANDOM$RANDOM)"
  echo "$LOG_START" >/dev/kmsg
}
log_since() {
  dmesg | awk -v mark="$LOG_START" '{ line[NR] = $0 } index($0, mark) { from = NR } END { for (i = from + 1; i <= NR; i++) print line[i] }'
}
# kernel_says REGEX: in the log since the test began.
kernel_says() { log_since | grep -E -- "$1" >/dev/null; }
expect_log() { kernel_says "$1" || fail "the kernel log does not say '$1'; it says: $(dmesg | tail -n 3)"; }

# --- dm-shadow ---------------------------------------------------------------------------------

load_module() { insert_module dm-shadow.ko; }
# insert_module FILE: one that was built for this kernel, with what it needs.
insert_module() {
  local ko need name=${1##*/}
  name=${name%.ko} ko=$SHADOW_BUILD/kernel/$(uname -r)/$1
  [[ -e $ko ]] || fail "there is no $ko; build it first"
  [[ ! -d /sys/module/${name//-/_} ]] || return 0
  for need in dm_mod $(modinfo -F depends "$ko" | tr , ' '); do modprobe "$need"; done
  insmod "$ko"
}
# shadow_legs MIB [KIND-OPTIONS...]: /dev/org, /dev/tgt (old data on it), /dev/meta.
shadow_legs() {
  local mib=$1
  shift
  load_module
  null_device org "$mib" fast "$@"
  null_device tgt "$mib" fast "$@"
  null_device meta 8 fast "$@"
  [[ " $* " == *" cache_size="* ]] || junk /dev/tgt
}
# one_leg SECTORS DEVICE ID [FEATURE...], two_legs SECTORS [FEATURE...]: tables over /dev/meta.
one_leg() {
  local len=$1 dev=$2 id=$3
  shift 3
  echo "0 $len shadow ${META:-/dev/meta} $BLOCK 1 origin $dev $((3 + $#)) leg_id origin $id $*"
}
two_legs() {
  local len=$1
  shift
  echo "0 $len shadow ${META:-/dev/meta} $BLOCK 2 origin ${ORIGIN:-/dev/org} target ${TARGET:-/dev/tgt}" \
    "$((6 + $#)) leg_id origin O leg_id target T $*"
}
# import_volume SECTORS: v over /dev/org; attach_target SECTORS: a modification to /dev/tgt begins.
import_volume() { dm_create v "$(one_leg "$1" "${ORIGIN:-/dev/org}" O)"; }
attach_target() { swap_table v "$(two_legs "$@")"; }
idle() { field_is "$1" queue 0 && field_is "$1" inflight 0 && field_is "$1" copying 0 && field_is "$1" remirroring 0 && field_is "$1" filling 0; }
wait_idle() { wait_until "${2:-120}" "the mover of $1: $(dm status "$1")" idle "$1"; }
copy_all() {
  message v copy "0+$(field v blocks)"
  wait_idle v
}
# commit_to_target SECTORS: cut-over, commit, the one-leg table.
commit_to_target() {
  message v cutover
  message v commit
  swap_table v "$(one_leg "$1" "${TARGET:-/dev/tgt}" T)"
}

# --- LVM and shadowd ---------------------------------------------------------------------------

# A guest without udev; null_blk is not among the kinds of device that LVM knows.
lvm_configuration() {
  export LVM_SYSTEM_DIR=$SCRATCH/lvm
  mkdir -p "$LVM_SYSTEM_DIR"
  cat >"$LVM_SYSTEM_DIR/lvm.conf" <<EOF
devices { use_devicesfile = 0 obtain_device_list_from_udev = 0 md_component_detection = 0 types = [ "nullb", 16 ] filter = [ "r|-medium$|" ] }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
global { use_lvmpolld = 0 event_activation = 0 }
backup { backup_dir = "$LVM_SYSTEM_DIR/backup" archive = 0 }
EOF
}
# keep_in_memory PROGRAM...: these and their libraries, as tests/lab/stage2 does it with what every script
# needs: shadowctl starts twice as fast then.
keep_in_memory() {
  local programs path
  mapfile -t programs < <(type -P "$@")
  for path in "${programs[@]}" $(ldd "${programs[@]}" | grep -o '/[^ :]*'); do
    printf '%s\n' "$path" "$(realpath "$path")"
  done | sort -u | xargs touch -c -h
}

# start_shadowd [CLASS=VG...]: default classes slow and fast over the groups of these names.
start_shadowd() {
  (($#)) || set -- slow=slow fast=fast
  local class
  # not in a test's directory: once for all tests of this guest
  [[ -e /run/shadowd-in-memory ]] || keep_in_memory shadowctl shadowd lvm jq
  : >/run/shadowd-in-memory
  export SHADOW_SOCKET=$SCRATCH/shadowd.sock
  {
    printf '[daemon]\nstate_dir = "%s"\nsocket = "%s"\nreadonly_socket = "%s"\n' \
      "$SCRATCH/state" "$SHADOW_SOCKET" "$SCRATCH/shadowd-ro.sock"
    for class in "$@"; do printf '[class.%s]\nvg = "%s"\n' "${class%=*}" "${class#*=}"; done
  } >"$SCRATCH/shadowd.toml"
  rm -f "$SHADOW_SOCKET"
  shadowd --config "$SCRATCH/shadowd.toml" >>"$RESULT/shadowd.log" 2>&1 &
  DAEMON=$!
  wait_until 60 "shadowd" test -S "$SHADOW_SOCKET"
}

# two_classes KIND KIND: shadowd over the groups slow and fast, on devices of these kinds, and
# the logical volume slow/db0, which nobody uses.
two_classes() {
  load_module
  null_device slowdev 192 "$1"
  null_device fastdev 256 "$2"
  lvm_configuration
  rm -rf /dev/slow /dev/fast # of a test that failed half-way
  vgcreate -qq -y slow /dev/slowdev
  vgcreate -qq -y fast /dev/fastdev
  lvcreate -qq -y -Wn -L 64m -n db0 slow
  start_shadowd
}

# op_phase VOLUME: of its last modification.
op_phase() { shadowctl -o json op show "$1" | jq -r .phase; }
op_phase_is() { [[ $(op_phase "$1") == "$2" ]]; }
# small_file_system KIND DEVICE: mkfs.xfs makes one this small only for the tests of xfs.
small_file_system() { TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 "mkfs.$1" -q "$2"; }
# whole_file_system KIND DEVICE [OPTION...]: the judge that comes with it has nothing to mend. The status of e2fsck does not
# tell of wrong sums; an offer to mend them does. That an extent tree could be shorter is no damage.
whole_file_system() {
  case $1 in
    ext4) e2fsck -fn -E no_optimize_extents "${@:3}" "$2" >"$RESULT/fsck.log" 2>&1 && ! grep -q "? no$" "$RESULT/fsck.log" ;;
    xfs) xfs_repair -n "${@:3}" "$2" >"$RESULT/fsck.log" 2>&1 ;;
  esac || fail "$1 is damaged: $(grep -B 1 -m 4 "? no$" "$RESULT/fsck.log"; tail -n 4 "$RESULT/fsck.log")"
}
# journal_blocks ext4|xfs DEVICE: where its journal lies, first+count in blocks of a volume, a line each.
journal_blocks() {
  local first last unit runs
  case $1 in
    ext4)
      unit=$(dumpe2fs -h "$2" 2>/dev/null | awk '/^Block size:/ { print $3 }')
      runs=$(debugfs -R 'stat <8>' "$2" 2>/dev/null | grep -o '):[0-9]*-[0-9]*' | tr -d ')' | tr ':-' ' ')
      ;;
    xfs)
      unit=$(xfs_db -r -c 'sb 0' -c 'p blocksize' "$2" | awk '{ print $3 }')
      first=$(xfs_db -r -c 'sb 0' -c 'p logstart' "$2" | awk '{ print $3 }')
      first=$(xfs_db -r -c "convert fsblock $first daddr" "$2" | sed 's/.*(\([0-9]*\)).*/\1/')
      last=$(xfs_db -r -c 'sb 0' -c 'p logblocks' "$2" | awk '{ print $3 }')
      runs="$((first * 512 / unit)) $((first * 512 / unit + last - 1))"
      ;;
  esac
  while read -r first last; do
    first=$((first * unit / 512 / BLOCK)) last=$((last * unit / 512 / BLOCK))
    echo "$first+$((last - first + 1))"
  done <<<"$runs" | sort -u
}
# told TIER FIELD: what shadowctl says of a tier of db0.
told() { shadowctl -o json tier show db0 | jq -r ".tiers[]? | select(.tier == \"$1\") | .$2"; }
no_tier() { [[ -z $(told "$1" device) ]]; }

# --- load --------------------------------------------------------------------------------------

# start_stress DEVICE [SHADOW_IO OPTION...]: in the background until stop_stress, which judges it.
start_stress() {
  rm -f "$SCRATCH/stop"
  shadow_io stress "$1" --stop-file="$SCRATCH/stop" --journal="$SCRATCH/journal" "${@:2}" &
  STRESS=$!
}
stop_stress() {
  touch "$SCRATCH/stop"
  wait "$STRESS" || fail "the data was wrong under load"
  STRESS=
}
check_data() { shadow_io check "$1" --journal="$SCRATCH/journal" "${@:2}" || fail "the data is wrong"; }

# --- running -----------------------------------------------------------------------------------

STRESS=
clean_machine() {
  local name try
  wait
  while read -r _ name _; do
    [[ $name != "$SCRATCH"/* ]] || umount "$name"
  done < <(tac /proc/mounts)
  for try in 1 2 3; do
    # what lies on the disks before them
    while read -r name _; do
      [[ $name == No ]] && continue
      dm remove --force "$name" &>/dev/null || ((try < 3)) || fail "the device $name cannot be removed"
    done < <(dmsetup ls 2>/dev/null | sed 's/^disk-/~&/' | sort | tr -d '~' || true)
  done
  if [[ -d $NULLB ]]; then
    for name in "$NULLB"/*/; do [[ -d $name ]] && null_remove "$(basename "$name")"; done
    find /dev -maxdepth 1 -lname '/dev/mapper/disk-*' -delete
  fi
  rm -rf "${SCRATCH:?}"/*
}

# Whatever a test left running in the background must not outlive it.
end_of_test() {
  local jobs
  mapfile -t jobs < <(jobs -p)
  ((${#jobs[@]} == 0)) || kill -9 "${jobs[@]}" 2>/dev/null || true
}

# Processes that PID started, and those that they started.
descendants() {
  local child
  for child in $(ps -o pid= --ppid "$1"); do echo "$child" && descendants "$child"; done
}
# A test that hangs says where, and ends the whole script: its devices may be stuck for good.
watch_test() {
  local limit=300 left
  [[ $(uname -r) != *-debug ]] || limit=1800 # it is up to ten times as slow
  limit=${TEST_TIMEOUT:-$limit} left=$limit
  while ((left-- > 0)); do
    sleep 1
    kill -0 "$1" 2>/dev/null || return 0
  done
  echo "    FAILED: no end after $limit s; what runs (D: blocked):" >&2
  ps -eo pid,ppid,stat,wchan:24,args | awk '$2 != 2 && $1 != 2' | cut -c 1-160 >&2
  echo w >/proc/sysrq-trigger
  dmesg | tail -n 60 >&2
  dmsetup status >&2
  # All of it: what is left over would hold the output, and the guest would not end.
  local started
  mapfile -t started < <(descendants $$)
  kill -9 "$1" $$
  local process
  for process in "${started[@]}"; do
    [[ $process == "$BASHPID" ]] || kill -9 "$process" 2>/dev/null || true
  done
}

# run_tests [NAME...]: all test_* functions, or those named; a line each.
run_tests() {
  local tests failed=0 name started
  if (($#)); then tests=("$@"); else mapfile -t tests < <(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); fi
  for name in "${tests[@]}"; do
    started=$SECONDS
    log_begins "$name"
    # In a subshell of its own, where set -e works: not as part of a condition.
    set +e
    (
      set -eE
      trap 'printf "    FAILED: %s\n      at %s line %s\n" "$BASH_COMMAND" "${BASH_SOURCE[0]##*/}" "$LINENO" >&2' ERR
      trap end_of_test EXIT
      "$name"
    ) &
    local test=$! status
    watch_test "$test" &
    local watcher=$!
    wait "$test"
    status=$?
    kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
    set -e
    if ((status == 0)); then
      printf 'ok    %s (%d s)\n' "${name#test_}" $((SECONDS - started))
    else
      printf 'FAIL  %s (%d s)\n' "${name#test_}" $((SECONDS - started))
      log_since | tail -n 25 | sed 's/^/    | /'
      dmsetup status 2>/dev/null | sed 's/^/    dm: /' || true
      failed=1
    fi
    clean_machine
  done
  return $failed
}
