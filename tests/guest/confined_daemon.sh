#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shadowd with no more than its unit file leaves it: the capabilities of CapabilityBoundingSet, no new
# privileges, its own mounts with the kernel's settings read-only. Under that it still makes legs with
# LVM, moves volumes and grows their file systems. (systemd itself does not run in the guest: device
# lists and system-call filters are not applied here.)
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

unit=$(dirname "$0")/../../daemon/shadowd.service
# LimitMEMLOCK=infinity, which its shadowd has.
ulimit -l unlimited
# "+sys_admin,+mknod,..." of the unit file.
kept=$(sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr '[:upper:]' '[:lower:]' |
  sed 's/cap_/+/g; s/ /,/g')
program=$(command -v shadowd)
# The words are the inner shell's.
# shellcheck disable=SC2016
shadowd() {
  exec unshare --mount --propagation slave -- sh -c '
    for tree in /proc/sys /sys; do
      mount --bind "$tree" "$tree" && mount -o remount,bind,ro "$tree" || exit 9
    done
    bounding=$1 && shift
    exec setpriv --bounding-set "-all,$bounding" --inh-caps=-all --no-new-privs -- "$@"' \
    sh "$kept" "$program" "$@"
}
classes() {
  # As systemd leaves it on a host: what is mounted later reaches the daemon's own mounts, too.
  mount --make-rshared /
  load_module
  null_device slowdev 1024
  null_device fastdev 1400
  lvm_configuration
  vgcreate -qq -y slow /dev/slowdev
  vgcreate -qq -y fast /dev/fastdev
  start_shadowd
}
tear_down() {
  kill "$DAEMON"
  wait "$DAEMON" || fail "shadowd ended with an error: $(tail -n 2 "$RESULT/shadowd.log")"
  dm remove db0 2>/dev/null || true
  vgremove -qq -y -ff slow fast
}
# move_and_grow FILE-SYSTEM MKFS...: of a user's own, mounted, in use.
move_and_grow() {
  classes
  grep -q '^NoNewPrivs:.1$' "/proc/$DAEMON/status" || fail "shadowd is not confined"
  local all=000001ffffffffff
  [[ $(sed -n 's/^CapEff:\t//p' "/proc/$DAEMON/status") != "$all" ]] || fail "shadowd has every capability"
  shadowctl volume create db0 --size 400M --to slow
  "${@:2}" /dev/mapper/db0 >/dev/null
  mkdir -p "$SCRATCH/mnt" && mount -t "$1" /dev/mapper/db0 "$SCRATCH/mnt"
  chown 1000:1000 "$SCRATCH/mnt" && chmod 700 "$SCRATCH/mnt"
  dd if=/dev/urandom of="$SCRATCH/mnt/file" bs=1M count=8 status=none
  local before after
  before=$(sha256sum <"$SCRATCH/mnt/file")
  shadowctl volume modify db0 --to fast --size +200M --grow-fs --grace 0s --wait
  (($(stat -f -c '%b * %S / 1048576' "$SCRATCH/mnt") > 500)) || fail "the file system did not grow"
  after=$(sha256sum <"$SCRATCH/mnt/file")
  [[ $before == "$after" ]] || fail "the file changed"
  umount "$SCRATCH/mnt"
  shadowctl events >"$RESULT/events-$1"
  if grep -i warning "$RESULT/events-$1"; then fail "a step was left out"; fi
  tear_down
}

test_ext4_moves_and_grows() { move_and_grow ext4 mkfs.ext4 -q; }
test_xfs_moves_and_grows() { move_and_grow xfs mkfs.xfs -q; }

run_tests "$@"
