#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# daemon/shadowd.service as it is installed, under systemd and udev (tests/lab/guest --systemd): it
# starts and says so, moves volumes with everything the unit takes away taken away, comes back after a
# kill and after it hung, and can be stopped. What the unit forbids is tried from within, and
# pam_worker shuts itself in there.
set -euo pipefail

# What a daemon that somebody took over could do; each has to work outside and must not inside.
# The words are the inner shell's.
# shellcheck disable=SC2016
attempts=(
  'read the memory of the machine|head -c 1 /dev/mem'
  'use a serial line|: >/dev/ttyS0'
  'write to the log of the kernel|echo "<7>probe" >/dev/kmsg'
  'send to another machine|echo x >/dev/udp/192.0.2.1/9'
  'make a packet socket|perl -e "exit !socket(S, 17, 3, 0)"'
  'make a network namespace|unshare --net true'
  'make a user namespace|unshare --user true'
  'mount|mount -t tmpfs none /mnt && umount /mnt'
  'load a module|modprobe dm-zero && modprobe -r dm-zero'
  'set the clock|date -s "$(date)"'
  'set the name of the machine|hostname "$(hostname)"'
  'change a setting of the kernel|cp /proc/sys/kernel/sysrq /tmp/sysrq && cat /tmp/sysrq >/proc/sys/kernel/sysrq'
  'write to /sys|echo 0 >/sys/kernel/rcu_expedited'
  'make a control group|mkdir /sys/fs/cgroup/probe && rmdir /sys/fs/cgroup/probe'
  'read the memory of another process|perl -e "exit(syscall(310, getppid(), 0, 0, 0, 0, 0) != 0)"'
  'run in real time|chrt -f 1 true'
  'set a set-uid bit|cp /bin/true /tmp/probe-suid && chmod u+s /tmp/probe-suid'
  'write to the file of a user|: >>/run/probe-of-user'
  'write code into memory|perl -e "exit(syscall(9, 0, 4096, 7, 0x22, -1, 0) == -1)"'
  'change what the kernel looks like|setarch -R true'
  'be traced|perl -e "exit(syscall(101, 0, 0, 0, 0) != 0)"'
  # Wrong arguments: not permitted is another answer than not done.
  'end swapping|perl -e "my \$none = q(/none); syscall(168, \$none); exit(\$! == 1)"'
  'reboot|perl -e "syscall(169, 0, 0, 0, 0); exit(\$! == 1)"'
)
if [[ ${1-} == --attempts ]]; then
  for attempt in "${attempts[@]}"; do
    if bash -c "${attempt#*|}" &>/dev/null; then echo "can ${attempt%%|*}"; else echo "cannot ${attempt%%|*}"; fi
  done >"$2"
  exit 0
fi
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"
# Here there is one.
unset DM_DISABLE_UDEV
# A busy host makes systemd slow to answer.
export SYSTEMD_BUS_TIMEOUT=300

source_unit=$(dirname "$0")/../../daemon/shadowd.service
units=/etc/systemd/system

# As a package would do it; and a tree of modules that is only what is needed, with ours in it.
install_shadowd() {
  [[ ! -e $units/shadowd.service ]] || return 0
  local version kernel tree=/run/modules ko module file
  version=$(uname -r)
  kernel=/lib/modules/$version
  ko=$SHADOW_BUILD/kernel/$version/dm-shadow.ko
  mkdir "$tree"
  cp "$kernel"/modules.{order,builtin,builtin.modinfo} "$tree"
  for module in dm-mod dm-zero null_blk ext4 xfs dummy $(modinfo -F depends "$ko" | tr , ' '); do
    while read -r _ file _; do
      install -D "$file" "$tree/${file#*"$version"/}"
    done < <(modprobe --show-depends "$module" | grep ^insmod)
  done
  install -D "$ko" "$tree/extra/dm-shadow.ko"
  mount --bind "$tree" "$kernel"
  depmod
  cat >/etc/lvm/lvm.conf <<'END'
devices { use_devicesfile = 0 types = [ "nullb", 16 ] }
END
  mkdir /etc/dm-shadow
  printf '[class.%s]\nvg = "%s"\n' slow slow fast fast >/etc/dm-shadow/shadowd.toml
  install "$SHADOW_BUILD/bin/shadowd" /usr/sbin/shadowd
  install -m 644 "$source_unit" "$units/shadowd.service"
  systemctl daemon-reload
}
property() { systemctl show --value -p "$1" "${2:-shadowd}"; }
property_is() { [[ $(property "$1") == "$2" ]]; }
said() { journalctl --no-pager -q -o cat -u "${2:-shadowd}" | grep -E -- "$1" >/dev/null; }

classes() {
  install_shadowd
  null_device slowdev 256
  null_device fastdev 320
  vgcreate -qq -y slow /dev/slowdev
  vgcreate -qq -y fast /dev/fastdev
  systemctl reset-failed shadowd 2>/dev/null || true
  systemctl start shadowd
}
tear_down() {
  journalctl --no-pager -q -o cat -u shadowd >>"$RESULT/shadowd.log"
  systemctl stop shadowd
  rm -rf /var/lib/dm-shadow
  local name
  for name in "$@"; do dmsetup remove "$name" || true; done
  vgremove -qq -y -ff slow fast
}
# imported NAME: a volume full of a pattern, over a logical volume that was there before.
imported() {
  classes
  lvcreate -qq -y -Wn -L 32m -n "$1" slow
  shadowctl volume import "$1" "/dev/slow/$1" >/dev/null
  shadow_io fill "/dev/mapper/$1" --journal="$SCRATCH/journal"
}
some_copied() { (($(field "$1" mirrored) > 4)); }

test_it_starts_and_says_so() {
  install_shadowd
  [[ ! -d /sys/module/dm_shadow ]] || fail "the module is there before the unit wants it"
  classes
  # `systemctl start` came back: READY=1 was said.
  expect_eq "the state" "$(property ActiveState)/$(property SubState)" active/running
  expect_eq "what it says" "$(property StatusText)" "Serving."
  [[ -d /sys/module/dm_shadow ]] || fail "modprobe@dm_shadow.service did not load the module"
  expect_eq "mode of the admin socket" "$(stat -c %a /run/dm-shadow/shadowd.sock)" 660
  expect_eq "mode of the read-only socket" "$(stat -c %a /run/dm-shadow/shadowd-ro.sock)" 666
  expect_eq "mode of the state" "$(stat -c %a /var/lib/dm-shadow)" 700
  shadowctl doctor >"$RESULT/doctor" || fail "doctor: $(cat "$RESULT/doctor")"
  local status
  status=/proc/$(property MainPID)/status
  expect_match "seccomp" "$(cat "$status")" 'Seccomp:.2'
  expect_match "its status" "$(cat "$status")" 'NoNewPrivs:.1'
  systemd-analyze security --no-pager --threshold=39 shadowd.service >"$RESULT/security" ||
    fail "the unit is more open than before: $(tail -n 1 "$RESULT/security")"
  note "$(tail -n 1 "$RESULT/security")"
  tear_down
}

# moved NAME KIND: a mounted file system of a user's own, in use, on another class and larger.
moved() {
  local dir=$SCRATCH/mnt-$1 before
  small_file_system "$2" "/dev/mapper/$1"
  mkdir "$dir"
  mount -t "$2" "/dev/mapper/$1" "$dir"
  chown 1000:1000 "$dir" && chmod 700 "$dir"
  dd if=/dev/urandom of="$dir/file" bs=1M count=8 status=none
  before=$(sha256sum <"$dir/file")
  shadowctl volume modify "$1" --to fast --size +32M --grow-fs --grace 10m --wait --until cutover
  shadowctl op commit "$1" --wait
  expect_eq "the device of $1" "$(shadowctl -o json volume show "$1" | jq -r .size_bytes)" $((96 << 20))
  shadowctl events >"$RESULT/events"
  if grep -i warning "$RESULT/events"; then fail "a step was left out"; fi
  (($(stat -f -c '%b * %S / 1048576' "$dir") > 80)) || fail "the file system on $1 did not grow"
  expect_eq "the file on $1" "$(sha256sum <"$dir/file")" "$before"
  umount "$dir"
}
test_volumes_are_made_imported_moved_and_committed() {
  classes
  shadowctl volume create made --size 64M --to slow
  moved made ext4
  lvcreate -qq -y -Wn -L 64m -n taken slow
  shadowctl volume import taken /dev/slow/taken
  moved taken xfs
  whole_file_system ext4 /dev/mapper/made
  whole_file_system xfs /dev/mapper/taken
  shadowctl volume export taken
  if said 'not permitted|denied'; then fail "the unit forbids what shadowd needs"; fi
  tear_down made
}

# As an emulator or a database has it: another user, no exclusive claim. And a mount that only
# another namespace has.
test_it_sees_who_uses_a_device() {
  classes
  lvcreate -qq -y -Wn -L 32m -n used slow
  lvcreate -qq -y -Wn -L 32m -n mounted slow
  (exec 9<>/dev/slow/used && exec setpriv --reuid=1000 --regid=1000 --clear-groups sleep 1000) &
  local user=$! mounter
  wait_until 20 "the user" grep -q sleep "/proc/$user/comm"
  expect_failure shadowctl volume import db0 /dev/slow/used
  expect_match "who has it" "$OUTPUT" "sleep .process $user"
  small_file_system ext4 /dev/slow/mounted
  # The words are the inner shell's.
  # shellcheck disable=SC2016
  unshare --mount --propagation private sh -c 'mount -t ext4 /dev/slow/mounted /mnt && exec sleep 1000' &
  mounter=$!
  wait_until 20 "the mount" grep -q /mnt "/proc/$mounter/mounts"
  expect_failure shadowctl volume import db0 /dev/slow/mounted
  expect_match "where it is mounted" "$OUTPUT" "mounted on /mnt"
  kill $user $mounter
  tear_down
}

running_again() { [[ $(property MainPID) != "$1" ]] && property_is SubState running; }
test_killed_in_the_middle_of_a_copy_it_comes_back() {
  local first
  imported db0
  start_stress /dev/mapper/db0 --threads=2 --length=60000
  shadowctl volume modify db0 --to fast --rate 4M --grace 10m
  wait_until 60 "the first copies" some_copied db0
  first=$(property MainPID)
  kill -9 "$first"
  wait_until 60 "systemd to start it again" running_again "$first"
  expect_eq "restarts" "$(property NRestarts)" 1
  shadowctl op rate db0 --impact full >/dev/null
  wait_until 120 "the cut-over" op_phase_is db0 GRACE
  stop_stress
  check_data /dev/mapper/db0
  shadowctl op commit db0 --wait
  check_data /dev/mapper/db0
  tear_down db0
}

petted() { (($(property WatchdogTimestampMonotonic) > $1)); }
test_when_it_hangs_the_watchdog_ends_it() {
  local first started
  imported db0
  first=$(property MainPID)
  wait_until 60 "it to pet the watchdog" petted "$(property WatchdogTimestampMonotonic)"
  kill -STOP "$first"
  started=$SECONDS
  # Nobody is there, and the volume works on.
  start_stress /dev/mapper/db0 --threads=2
  wait_until 120 "the watchdog" running_again "$first"
  note "ended and started again after $((SECONDS - started)) s"
  stop_stress
  said 'Watchdog timeout' || fail "it was not the watchdog that ended it"
  shadowctl volume list >/dev/null
  check_data /dev/mapper/db0
  tear_down db0
}

test_stopped_it_stays_so_and_volumes_work_on() {
  imported db0
  start_stress /dev/mapper/db0 --threads=2
  systemctl restart shadowd
  shadowctl volume list >/dev/null
  systemctl stop shadowd
  expect_eq "the state" "$(property ActiveState)" inactive
  expect_eq "the result" "$(property Result)" success
  expect_eq "restarts" "$(property NRestarts)" 0
  stop_stress
  check_data /dev/mapper/db0
  systemctl start shadowd
  shadowctl volume show db0 >/dev/null
  tear_down db0
}

# confined NAME COMMAND [SED-SCRIPT]: another program in shadowd's place.
confined() {
  sed -e "s|^ExecStart=.*|ExecStart=$2|; s|^Type=.*|Type=oneshot\nTimeoutStartSec=500|; /^Restart/d; /^WatchdogSec/d" \
    -e "${3-}" "$source_unit" >"$units/$1.service"
  systemctl daemon-reload
  systemctl start "$1"
}
test_what_it_does_not_need_it_cannot_do() {
  install_shadowd
  modprobe dummy numdummies=1
  busybox ip address add 192.0.2.2/24 dev dummy0
  busybox ip link set dummy0 up
  touch /run/probe-of-user
  chown 1000:1000 /run/probe-of-user
  chmod 600 /run/probe-of-user
  local tried
  tried=$(realpath "$0")
  "$tried" --attempts "$RESULT/outside"
  if grep '^cannot' "$RESULT/outside"; then fail "these attempts show nothing: they do not work outside either"; fi
  rm -f /tmp/probe-suid /tmp/sysrq
  confined probe "$tried --attempts $RESULT/inside"
  if grep '^can ' "$RESULT/inside"; then fail "the unit lets it"; fi
  expect_eq "attempts" "$(wc -l <"$RESULT/inside")" "${#attempts[@]}"
  note "${#attempts[@]} attempts work outside, none inside"
}

test_pam_worker_shuts_itself_in_there() {
  local program=$SHADOW_BUILD/tests/pam_test
  if [[ ! -e $program ]]; then
    note "SKIPPED: $program was not built (-DSHADOW_PAM=ON, LibTorch)"
    return
  fi
  install_shadowd
  # The test looks at its worker in /proc, where another user's process cannot be seen otherwise.
  # One of its tests: under emulation LibTorch computes for minutes in all of them.
  confined worker "$program --gtest_filter=WorkerTest.ShutInItTrainsAndSaves" \
    's|^ProtectProc=.*|Environment=OMP_NUM_THREADS=1|' ||
    fail "$(journalctl --no-pager -q -o cat -u worker | tail -n 25)"
  said '\[  PASSED  \] [1-9]' worker || fail "no test ran"
}

run_tests "$@"
