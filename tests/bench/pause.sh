#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How long I/O stands still when a table is exchanged, by the size of the volume, in virtual time:
#   tests/lab/guest --icount --mem 4000 -- tests/bench/pause.sh [GIB...]        (default: 1 1024 65536)
# A line each: what was done, size, milliseconds in which a stream of reads got no answer. Fails if the
# largest volume needs more than 1.2 times what the smallest needs.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

BLOCK=512 # 256 KiB, the default
SIZES=("$@")
((${#SIZES[@]})) || SIZES=(1 1024 65536)

# pause WHAT GIB COMMAND...: the longest gap of the stream around it.
pause() {
  local what=$1 gib=$2 stream ns
  shift 2
  rm -f "$SCRATCH/stop" "$SCRATCH/mark" "$SCRATCH/gap"
  shadow_io gap /dev/mapper/v --stop-file="$SCRATCH/stop" --mark-file="$SCRATCH/mark" >"$SCRATCH/gap" &
  stream=$!
  sleep 0.05
  touch "$SCRATCH/mark"
  sleep 0.05
  "$@"
  sleep 0.05
  touch "$SCRATCH/stop"
  wait $stream
  ns=$(cat "$SCRATCH/gap")
  note "$(printf '%-24s %6d GiB %9.3f ms' "$what" "$gib" "$((ns / 1000))e-3")"
  echo "$what|$gib|$ns" >>"$RESULT/pauses"
}
measure() {
  local gib=$1 len=$(($1 * 2097152)) more began
  local pages=$(((gib * 4096 + 4031) / 4032 + 2))
  more=$((len + BLOCK * 16))
  null_device meta $(((pages * 8 + (gib * 4096 / 1008 + 4) * 8) / 1024 + 2))
  null_device t1 4
  dm_create org "0 $((more * 2)) zero"
  dm_create tgt "0 $((more * 2)) zero"
  ORIGIN=/dev/mapper/org TARGET=/dev/mapper/tgt
  began=$(date +%s%N)
  dm_create v "$(one_leg "$len" "$ORIGIN" O fresh)"
  note "$(printf '%-24s %6d GiB %9d ms' "format" "$gib" $((($(date +%s%N) - began) / 1000000)))"
  dm remove v
  began=$(date +%s%N)
  dd if=/dev/meta of=/dev/null bs=1M iflag=direct status=none
  note "$(printf '%-24s %6d GiB %9d ms' "dd of the metadata" "$gib" $((($(date +%s%N) - began) / 1000000)))"
  began=$(date +%s%N)
  dm_create v "$(one_leg "$len" "$ORIGIN" O)"
  note "$(printf '%-24s %6d GiB %9d ms' "activation" "$gib" $((($(date +%s%N) - began) / 1000000)))"
  # what the kernel itself needs, and what it costs to begin
  pause "the same table" "$gib" dm_swap v "$(one_leg "$len" "$ORIGIN" O)"
  pause "the same table" "$gib" dm_swap v "$(one_leg "$len" "$ORIGIN" O)"
  pause "grow" "$gib" dm_swap v "$(one_leg "$more" "$ORIGIN" O)"
  pause "attach a target" "$gib" dm_swap v "$(two_legs "$more")"
  pause "cut over" "$gib" dmsetup message v 0 cutover
  pause "commit" "$gib" dm_swap v "$(one_leg "$more" "$TARGET" T)" commit
  pause "attach a tier" "$gib" dm_swap v "0 $more shadow /dev/meta $BLOCK 2 origin $TARGET tier1 /dev/t1 6 leg_id origin T leg_id tier1 F"
  pause "take the tier away" "$gib" dm_swap v "$(one_leg "$more" "$TARGET" T)"
  began=$(date +%s%N)
  dm status v >/dev/null
  note "$(printf '%-24s %6d GiB %9d ms' "status" "$gib" $((($(date +%s%N) - began) / 1000000)))"
  dm remove v
  dm remove org
  dm remove tgt
  null_remove meta
  null_remove t1
}
test_pause() {
  local gib
  load_module
  modprobe dm_zero
  rm -f "$RESULT/pauses"
  for gib in "${SIZES[@]}"; do measure "$gib"; done
  awk -F'|' -v small="${SIZES[0]}" -v large="${SIZES[-1]}" '
    !($1 "|" $2 in ns) || $3 < ns[$1 "|" $2] { ns[$1 "|" $2] = $3; what[$1] = 1 }
    END {
      for (w in what) {
        ratio = ns[w "|" large] / ns[w "|" small]
        printf "    %-24s %.2f times\n", w, ratio
        if (ratio > 1.2) bad = 1
      }
      exit bad
    }' "$RESULT/pauses" || fail "a pause grows with the volume"
}

run_tests test_pause
