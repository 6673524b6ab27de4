#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest, in virtual time (tests/bench/run --only replay starts it): a real trace is replayed on
# an HDD-like device alone, as dm-cache's origin, and as the home of a volume of dm-shadow with two tiers.
#   replay.sh [hdd] [cache_writethrough] [cache_writeback] [ewma] [pam]...  (all of them: the list below)
# Everybody gets the same requests at the same times: first those that warm up, then those that are measured.
# For each, $RESULT/NAME.json is shadow-replay's report of the measured part and $RESULT/NAME.devices
# what the devices below read and wrote meanwhile, in bytes.
#
# TEST_REPLAY_TRACE, a CSV; TEST_REPLAY_MODEL, what `pam train` made of its first part; TEST_REPLAY_SPEED,
# times as fast; TEST_REPLAY_WARM and TEST_REPLAY_MEASURED, seconds of the trace; TEST_REPLAY_SLOTS1 and
# TEST_REPLAY_SLOTS2, blocks of tier 1 and tier 2.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"
# shellcheck source=tests/bench/replay-lib.sh
. "$(dirname "$0")/replay-lib.sh"

# Both parts, on a device that is ready. The counters are those of the measured part.
replay_both() {
  play "$1" 0 "$WARM" "$2-warm"
  count_devices >"$SCRATCH/before"
  play "$1" "$WARM" "$MEASURED" "$2"
  count_devices >"$SCRATCH/after"
  # name, bytes read, bytes written
  join "$SCRATCH/before" "$SCRATCH/after" | awk '{ printf "%s %.0f %.0f\n", $1, $4 - $2, $5 - $3 }' >"$RESULT/$2.devices"
}

bench_hdd() {
  step "The HDD alone"
  home_device
  dm_create lin "0 $(sectors /dev/home) linear /dev/home 0"
  replay_both /dev/mapper/lin hdd
}

# dm-cache knows one fast device. It gets as many blocks as both tiers together, all of them as fast as
# tier 1: more than any split of the same devices would give it.
one_fast_device() { replay_device cache $((SLOTS1 + SLOTS2)) nvme; }
# cache MODE NAME FAST-DEVICE [BLOCK]
cache() {
  step "dm-cache, smq, $1, all of the fast blocks on $3"
  modprobe dm_cache_smq
  home_device
  null_device cachemeta 32 nvme
  dm_create c "0 $(sectors /dev/home) cache /dev/cachemeta $3 /dev/home ${4:-$BLOCK} 1 $1 smq 0"
  replay_both /dev/mapper/c "$2"
  dm status c >"$RESULT/$2.status"
}
bench_cache_writethrough() {
  one_fast_device
  cache writethrough cache_writethrough /dev/cache
}
bench_cache_writeback() {
  one_fast_device
  cache writeback cache_writeback /dev/cache
}
# What an administrator with dm-shadow's two devices could do with dm-cache: join them.
bench_cache_writeback_joined() {
  replay_device cache1 "$SLOTS1" nvme
  replay_device cache2 "$SLOTS2" ssd
  local one two
  one=$(sectors /dev/cache1) two=$(sectors /dev/cache2)
  printf '0 %s linear /dev/cache1 0\n%s %s linear /dev/cache2 0\n' "$one" "$one" "$two" | dm create joined
  dm mknodes joined
  cache writeback cache_writeback_joined /dev/mapper/joined
}
# dm-cache with blocks of 64 KiB, LVM's default; moves fewer bytes, hits less.
bench_cache_writeback_128() {
  one_fast_device
  cache writeback cache_writeback_128 /dev/cache 128
}

# shadow POLICY [NAME]: as an administrator would have it, through shadowd.
shadow() {
  local policy=$1 name=${2:-$1}
  step "dm-shadow, policy $policy, $TIER_MODE: tier 1 NVMe-like, tier 2 SSD-like"
  tiered_volume
  shown shadowctl tier policy db0 --policy "$policy" --window "${WINDOW_MS}ms"
  replay_both /dev/mapper/db0 "$name"
  shown shadowctl tier show db0
  shadowctl -o json tier show db0 >"$RESULT/$name.tiers"
  dm status db0 >"$RESULT/$name.status"
  end_shadowd
}
bench_ewma() { shadow ewma; }
bench_pam() {
  need_model
  shadow pam
}
bench_ewma_writethrough() { TIER_MODE=writethrough shadow ewma ewma_writethrough; }
bench_pam_writethrough() {
  need_model
  TIER_MODE=writethrough shadow pam pam_writethrough
}

all=(hdd cache_writethrough cache_writeback cache_writeback_joined ewma pam ewma_writethrough pam_writethrough)
if (($#)); then all=("$@"); fi
into_memory
status=0
run_tests "${all[@]/#/bench_}" || status=1
exit $status
