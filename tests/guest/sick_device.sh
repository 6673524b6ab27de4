#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A disk that does not answer costs the volume that lies on it, and nothing else: the other volumes,
# lists, doctor and the daemon's own end go on within a bound.
. "$SHADOW_REPO/tests/lab/guest-lib.sh"

some_copied() { (($(field db0 mirrored 2>/dev/null || echo 0) > 60)); }

# in_time SECONDS WHAT COMMAND...: it ends well and in time.
in_time() {
  local begun=$SECONDS
  timeout $(($1 * SLOWNESS)) "${@:3}" >"$SCRATCH/out" 2>&1 || fail "$2: $(tail -n 3 "$SCRATCH/out")"
  note "$2: $((SECONDS - begun)) s"
}
# answers SECONDS WHAT COMMAND...: it says something in time, well or not.
answers() {
  local begun=$SECONDS status=0
  timeout $(($1 * SLOWNESS)) "${@:3}" >"$SCRATCH/out" 2>&1 || status=$?
  ((status != 124)) || fail "$2: no answer"
  note "$2: $((SECONDS - begun)) s, status $status: $(tail -n 1 "$SCRATCH/out")"
}
write_waits() { [[ $(awk '{ print $3 }' "/proc/$WRITER/stat") == D ]]; }
daemon_ended() { ! kill -0 "$DAEMON" 2>/dev/null; }

# db0 on slow moves to a disk that stops answering, with writes on their way; db1 is well.
sick_move() {
  two_classes fast fast
  lvcreate -qq -y -Wn -L 32m -n db1 slow
  null_device hangdev 64
  dm_create hang "0 131072 linear /dev/hangdev 0"
  sed -i 's/devices {/devices { global_filter = [ "r|hang|" ]/' "$LVM_SYSTEM_DIR/lvm.conf"
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  shadowctl volume import db1 /dev/slow/db1 >/dev/null
  shadowctl volume modify db0 --to /dev/mapper/hang --allow-unstable-names --rate 4M --grace 10m >/dev/null
  wait_until 60 "the first copies" some_copied
  dm suspend --noflush hang
  dd if=/dev/urandom of=/dev/mapper/db0 bs=64k count=16 oflag=direct status=none &
  WRITER=$!
  wait_until 20 "a write that waits for the disk" write_waits
}

test_an_abort_that_hangs_costs_one_volume() {
  sick_move
  answers 60 "abort" shadowctl op abort db0
  sleep 3
  in_time 20 "list" shadowctl volume list
  in_time 20 "show the sick one" shadowctl volume show db0
  answers 60 "doctor" shadowctl doctor
  in_time 90 "move the other one" shadowctl volume modify db1 --to fast --grace 0 --wait
  in_time 60 "create another one" shadowctl volume create db2 --size 8M --to fast
  answers 60 "abort again" shadowctl op abort db0
  kill "$DAEMON"
  wait_until 30 "the daemon's end" daemon_ended
  dm resume hang
  wait # the writes are done
}

test_it_ends_well_when_the_disk_answers_again() {
  sick_move
  answers 60 "abort" shadowctl op abort db0
  sleep 35 # longer than one change is waited for
  dm resume hang
  wait_until 120 "the way back" op_phase_is db0 ABORTED
  in_time 60 "delete" shadowctl volume export db0
}

# As after a boot: no device is there, no logical volume active, and nothing in /run.
test_a_start_asks_lvm_once() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  local i
  for i in 1 2 3; do shadowctl volume create db$i --size 8M --to fast >/dev/null; done
  kill "$DAEMON"
  wait_until 30 "the daemon's end" daemon_ended
  for i in 0 1 2 3; do dm remove db$i; done
  vgchange -qq -an slow fast
  rm -rf /run/dm-shadow
  rm -f "$SHADOW_SOCKET"
  shadowd --config "$SCRATCH/shadowd.toml" --log-level debug >"$SCRATCH/log" 2>&1 &
  DAEMON=$!
  wait_until 60 "shadowd" test -S "$SHADOW_SOCKET"
  for i in 0 1 2 3; do expect_field db$i mode rw; done
  expect_eq "lvs of a start" "$(grep -c 'running lvs' "$SCRATCH/log")" 1
  expect_eq "lvchange of a start" "$(grep -c 'running lvchange' "$SCRATCH/log")" 1
  for i in 1 2 3; do shadowctl volume delete db$i --yes >/dev/null; done
}

# lvextend was killed between its suspend and its resume, and shadowd with it.
test_what_lvm_left_suspended_is_resumed() {
  two_classes fast fast
  shadowctl volume import db0 /dev/slow/db0 >/dev/null
  kill -9 "$DAEMON"
  wait "$DAEMON" || true
  dm suspend slow-db0
  start_shadowd
  expect_eq "the origin" "$(dmsetup info -c --noheadings -o suspended slow-db0)" Active
  dd if=/dev/mapper/db0 of=/dev/null bs=64k count=1 iflag=direct status=none
  expect_match "the event" "$(shadowctl events 2>&1 || true)" "was resumed"
}

run_tests "$@"
