#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Both sources of accesses on the kernel's own: they see the same blocks of the same I/O, blktrace
# counts each request once, a trace that a crash left running is ended, and nobody else's is. What is
# recorded can be replayed, and the replay reports what it did.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

volume() {
  shadow_legs 64
  import_volume "$(sectors /dev/org)"
}
# watch OPTION...: shadow-trace in the background; next_window gives it a line, and reads one of JSON
# for each source.
watch() {
  mkfifo "$SCRATCH/lines" "$SCRATCH/said"
  shadow-trace watch v --by-line "$@" <"$SCRATCH/lines" >"$SCRATCH/said" &
  WATCH=$!
  exec 7>"$SCRATCH/lines" 8<"$SCRATCH/said"
}
said() {
  local line
  IFS= read -r -t 60 line <&8 || fail "shadow-trace said nothing"
  echo "$line"
}
end_watch() {
  exec 7>&-
  wait "$WATCH" || fail "shadow-trace failed"
  exec 8<&-
}
io() { dd if="$1" of="$2" bs="$3" "${@:4}" conv=notrunc status=none; }
blocks() { jq -c '[.blocks[][0]]' <<<"$1"; }
# The trace that the other one writes has begun: an access is in it.
traced_by_other() {
  io /dev/mapper/v /dev/null 4k count=1 iflag=direct
  [[ -s $SCRATCH/blktrace ]]
}
written() { jq -c '[.blocks[] | select(.[2] > 0)][][0]' <<<"$1" | tr '\n' ' '; }

test_both_sources_see_the_same_blocks() {
  volume
  watch --source both
  said >/dev/null
  said >/dev/null
  # (blkdiscard without -f would look for signatures.)
  # 64 KiB blocks: one write in 3, one that crosses 7 and 8, a read of 16..31, one in all of 40..55.
  io /dev/zero /dev/mapper/v 4k seek=48 count=1 oflag=direct
  io /dev/zero /dev/mapper/v 8k seek=$((63)) count=2 oflag=direct
  io /dev/mapper/v /dev/null 1M skip=1 count=1 iflag=direct
  io /dev/zero /dev/mapper/v 64k seek=40 count=16 oflag=direct
  fio --name=x --filename=/dev/mapper/v --rw=randrw --bs=4k --direct=1 --ioengine=psync --offset=32m \
    --size=16m --number_ios=400 --randseed=7 >/dev/null
  blkdiscard -f -o $((60 << 20)) -l $((1 << 20)) /dev/mapper/v
  echo >&7
  local trace access
  trace=$(said)
  access=$(said)
  expect_eq "the first source" "$(jq -r .source <<<"$trace")" blktrace
  expect_eq "the second" "$(jq -r .source <<<"$access")" access
  expect_eq "lost events" "$(jq .lost <<<"$trace")" 0
  expect_eq "blocks" "$(blocks "$trace")" "$(blocks "$access")"
  expect_eq "written blocks" "$(written "$trace")" "$(written "$access")"
  expect_eq "requests" "$(jq .ops <<<"$trace")" $((1 + 2 + 1 + 16 + 400))
  # The block layer counts each piece into which device mapper cuts a request: 16 of the large read.
  # Kernels differ: some count the request.
  expect_match "requests, as the block layer counts" "$(jq .ops <<<"$access")" '^(420|435)$'
  expect_eq "bytes" "$(jq .bytes <<<"$trace")" "$(jq .bytes <<<"$access")"
  # Each request once, in each block that it touches: 63*8 KiB is in 7, 64*8 KiB in 8.
  expect_match "counts" "$(jq -c '.blocks[:4]' <<<"$trace")" '^\[\[3,1,1\],\[7,1,1\],\[8,1,1\],\[16,1,0\]\]$'
  # The next window begins empty.
  echo >&7
  expect_eq "blocks of an idle window" "$(blocks "$(said)")$(blocks "$(said)")" "[][]"
  end_watch
  expect_failure cat /sys/kernel/debug/block/dm-0/dropped
  dm remove v || fail "something keeps the volume open"
}

test_a_trace_that_a_crash_left_is_ended_and_no_other() {
  volume
  watch --source blktrace
  said >/dev/null
  kill -9 "$WATCH"
  wait "$WATCH" || true
  exec 7>&- 8<&-
  cat /sys/kernel/debug/block/dm-0/dropped >/dev/null || fail "the trace ended with its reader"
  rm "$SCRATCH/lines" "$SCRATCH/said"
  watch --source blktrace
  said >/dev/null
  io /dev/zero /dev/mapper/v 64k seek=5 count=1 oflag=direct
  echo >&7
  expect_eq "blocks" "$(blocks "$(said)")" "[5]"
  # While it runs nobody else may trace, and the other way round.
  expect_failure shadow-trace record v "$SCRATCH/no.csv"
  [[ ! -e $SCRATCH/no.csv ]] || fail "an empty recording was left behind"
  end_watch
  blktrace -d /dev/mapper/v -o - >"$SCRATCH/blktrace" 2>/dev/null &
  local other=$!
  # Not its first sign of life: a signal that comes while it starts its threads never ends blktrace.
  wait_until 60 "blktrace" traced_by_other
  expect_failure shadow-trace watch v --source blktrace --windows 1
  expect_match "the words" "$OUTPUT" "Somebody else traces"
  cat /sys/kernel/debug/block/dm-0/dropped >/dev/null || fail "somebody else's trace was ended"
  kill -INT $other
  wait $other || true
}

test_a_recording_is_replayed_and_reported() {
  volume
  shadow-trace record v "$SCRATCH/t.csv.zst" >"$SCRATCH/record" &
  local recording=$! rows
  wait_until 60 "the recording" grep -q recording "$SCRATCH/record"
  fio --name=x --filename=/dev/mapper/v --rw=randrw --bs=4k --direct=1 --ioengine=psync \
    --size=64m --number_ios=300 --randseed=3 >/dev/null
  kill -INT $recording
  wait $recording || fail "the recording failed"
  expect_match "the recorder" "$(tail -n 1 "$SCRATCH/record")" "^300 requests, .* 0 events lost"
  dm remove v
  # On a device of half the size, four times as fast, then on the volume.
  null_device small 32 nvme
  expect_failure shadow-replay "$SCRATCH/t.csv.zst" /dev/small --speed 4
  expect_match "the words" "$OUTPUT" "--offset-fold"
  shadow-replay "$SCRATCH/t.csv.zst" /dev/small --speed 4 --offset-fold --json >"$SCRATCH/json"
  rows=$(jq -c '[.requests, .read.count + .write.count, .read.errors + .write.errors, .target]' "$SCRATCH/json")
  expect_eq "the replay" "$rows" '[300,300,0,null]'
  jq -e '.folded > 0 and .read.p50_us >= 20 and .read.max_us >= .read.p99_us and .elapsed_s >= .planned_s' \
    "$SCRATCH/json" >/dev/null || fail "the report is odd: $(cat "$SCRATCH/json")"
  import_volume "$(sectors /dev/org)"
  shadow-replay "$SCRATCH/t.csv.zst" /dev/mapper/v --speed 4 | tee "$SCRATCH/table"
  grep -q "^read  *[0-9]" "$SCRATCH/table" || fail "there is no row for reads"
  expect_eq "the target" "$(shadow-replay "$SCRATCH/t.csv.zst" /dev/mapper/v --speed 100 --json | jq -r .target)" shadow
  # A device in use is not written to.
  expect_failure shadow-replay "$SCRATCH/t.csv.zst" /dev/org
  expect_match "the words" "$OUTPUT" "in use"
}

test_hits_of_dm_cache_are_counted() {
  if ((SLOWNESS > 1)); then
    echo "    left out: the debug kernel has no dm-cache, and nothing of the module is in this test"
    return
  fi
  modprobe dm_cache dm_cache_smq
  null_device org 32
  null_device fast 16
  null_device meta 8
  dm_create c "0 $(sectors /dev/org) cache /dev/meta /dev/fast /dev/org 128 1 writethrough smq 0"
  { for _ in {1..40}; do echo "0,0,65536,W"; echo "500,0,4096,R"; done; } >"$SCRATCH/hot.csv"
  shadow-replay "$SCRATCH/hot.csv" /dev/mapper/c --json --depth 1 >"$SCRATCH/json"
  jq -e '.target == "cache" and .moved.promoted >= 1 and .tiers.cache.reads > 0 and .tiers.cache.read_hit_ratio <= 1
    and .legs.written_bytes > 0' "$SCRATCH/json" >/dev/null || fail "the report is odd: $(cat "$SCRATCH/json")"
}

run_tests "$@"
