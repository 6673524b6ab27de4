#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest, in virtual time: what it costs an I/O of a volume that its accesses are harvested,
# or that it is traced. Writes `name value` lines to $RESULT/values.
#   tests/lab/guest --icount -- tests/bench/access_cost.sh
# Two devices: NVMe-like, and one that does nothing as fast as it can, so that only the path costs.
# One CPU: what the sources themselves do in user space is in the rates, too.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

SECONDS_EACH=${TEST_BENCH_SECONDS:-6}
BLOCK=512
VALUES=$SCRATCH.values
put() {
  echo "$1 $2" >>"$VALUES"
  echo "$1 $2"
}
# iops DEVICE WORKLOAD: I/Os a second of 4 KiB direct I/O at depth 1, the sources' own work included.
iops() {
  fio --name=x --filename="$1" --rw="$2" --bs=4k --direct=1 --ioengine=psync --size=64m \
    --time_based --runtime="$SECONDS_EACH" --norandommap --randseed=1 --output-format=json |
    jq '[.jobs[0].read.iops, .jobs[0].write.iops] | add | floor'
}
# running NAME SOURCE WINDOW: rates while that source runs ("none": nothing does).
running() {
  local workload
  if [[ $2 != none ]]; then
    shadow-trace watch v --source "$2" --window "$3" >"$SCRATCH/windows" &
    local watch=$!
    wait_until 60 "the source" test -s "$SCRATCH/windows"
  fi
  for workload in read write; do put "$1_${workload}_iops" "$(iops /dev/mapper/v "rand$workload")"; done
  if [[ $2 == none ]]; then return; fi
  kill -INT "$watch"
  wait "$watch" || fail "the source failed"
  put "$1_lost" "$(jq -s 'map(.lost // 0) | add' "$SCRATCH/windows")"
  put "$1_windows" "$(jq -s 'map(select(.blocks)) | length' "$SCRATCH/windows")"
}
volume() {
  load_module
  null_device org 64 "$@"
  null_device meta 8
  import_volume "$(sectors /dev/org)"
  # warm: programs and bits
  SECONDS_EACH=1 iops /dev/mapper/v randwrite >/dev/null
  timeout 5 shadow-trace watch v --source both --window 0.1 --windows 2 >/dev/null
}
measure() {
  running "$1_none" none
  # Ten and a hundred times as often as with windows of a minute: a run takes seconds.
  running "$1_access_500ms" access 12
  running "$1_access_50ms" access 1.2
  running "$1_blktrace" blktrace 1
  running "$1_none_again" none
}
bench_nvme() {
  volume nvme
  measure nvme
}
bench_fast() {
  SECONDS_EACH=1 # as many I/Os
  volume fast memory_backed=0 queue_mode=0 discard=0
  measure fast
}

all=(nvme fast)
if (($#)); then all=("$@"); fi
status=0
run_tests "${all[@]/#/bench_}" || status=1
cp "$VALUES" "$RESULT/values"
exit $status
