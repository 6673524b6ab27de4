#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest, in virtual time (tests/bench/run --only order starts it): a volume moves to another device
# while a real trace is replayed on it, its blocks copied in one order or another.
#   order.sh [heat] [ascending] [hottest] [random]
# For each: first the part of the trace that warms up, so that shadowd knows the heat; then the move begins with
# the measured part. $RESULT/ORDER.json is shadow-replay's report of that, $RESULT/ORDER.move what the kernel
# counted from the start of the move to the last block's copy, and how long that took.
# The trace runs at its own speed here: windows are a minute. Environment: see replay.sh; TEST_ORDER_RATE,
# bytes copied a second; TEST_ORDER_WARM_FROM, where in the trace warming up begins, s.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"
# shellcheck source=tests/bench/replay-lib.sh
. "$(dirname "$0")/replay-lib.sh"

RATE=${TEST_ORDER_RATE:-8M}
WARM_FROM=${TEST_ORDER_WARM_FROM:-0}
SPEED=1

# note_move ORDER START: waits for the last copy.
note_move() {
  local blocks start=$2 end
  dm_wait db0 " migrating "
  blocks=$(field db0 blocks)
  dm_wait db0 " mirrored=$blocks "
  end=${EPOCHREALTIME/./}
  {
    echo "copied $(field db0 copied)"
    echo "recopied $(field db0 recopied)"
    echo "mirrored_writes $(field db0 mirrored_writes)"
    echo "us $((end - start))"
  } >"$RESULT/$1.move"
}
order() {
  local start player
  step "Copies in the order: $1"
  need_model
  export SHADOW_COPY_ORDER=$1
  plain_volume
  replay_device new $((VOLUME_MIB * 2048 / BLOCK)) nvme
  play /dev/mapper/db0 "$WARM_FROM" $((WARM - WARM_FROM)) "$1-warm"
  play /dev/mapper/db0 "$WARM" "$MEASURED" "$1" &
  player=$!
  start=${EPOCHREALTIME/./}
  shadowctl volume modify db0 --to /dev/new --allow-unstable-names --rate "$RATE" --grace 1h >/dev/null
  note_move "$1" "$start"
  # The rest of the trace is of no interest.
  pkill -INT -x shadow-replay || true
  wait "$player" || (($? == 130)) || fail "the replay failed"
  end_shadowd
}
bench_heat() { order heat; }
bench_ascending() { order ascending; }
bench_hottest() { order hottest; }
bench_random() { order random; }

all=(heat ascending hottest random)
if (($#)); then all=("$@"); fi
into_memory
status=0
run_tests "${all[@]/#/bench_}" || status=1
exit $status
