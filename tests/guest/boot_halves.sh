#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest's half of boot_matrix, under systemd and udev with everything installed. `make KIND FS ON` makes
# a volume on the disk or logical volume `old` and files on it; `move WHEN` begins its move and leaves it at WHEN, `finish`
# ends it; `check WHAT` judges what a boot has mounted on /srv/data by UUID.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"
unset DM_DISABLE_UDEV
export SYSTEMD_BUS_TIMEOUT=300

state=/var/lib/dm-shadow
# What the machine said of it, and how it ended, for whoever reads a failure.
leave_a_journal() {
  {
    journalctl --no-pager -q -o short-monotonic -b -u 'dm-shadow@*' -u shadowd -u srv-data.mount -u 'lvm-activate-*' \
      -u systemd-udevd
    findmnt /srv/data
    for device in /dev/vd? /dev/dm-*; do udevadm info "$device"; done
    dm-shadow-activate --list
    dmsetup ls --tree
    cat /run/dm-shadow/legs
  } >"$RESULT/journal.$1" 2>&1 || true
  sync
}
step=$1
trap 'leave_a_journal "$step"' EXIT
# What is on /srv/data: the name of the device, "" if nothing.
mounted() { findmnt -n -o SOURCE /srv/data || true; }
is_mounted() { [[ -n $(mounted) ]]; }
# What the file system lies on when all is well.
right_device() { cat "$RESULT/device"; }
device_of_uuid() {
  udevadm settle
  local path
  path=$(readlink -f "/dev/disk/by-uuid/$1" 2>/dev/null) || true
  [[ -b $path ]] && dmsetup info -c --noheadings -o name "$path" 2>/dev/null || echo "${path:-none}"
}
# No leg is seen by anybody: neither a link nor what systemd and LVM are told.
no_leg_is_seen() {
  local device found=0
  for device in /dev/vd? /dev/dm-*; do
    [[ -b $device ]] || continue
    udevadm info -q property "$device" | grep '^DM_SHADOW_LEG=' >/dev/null || continue
    found=1
    if udevadm info -q property "$device" | grep -E '^ID_FS_(UUID|LABEL|TYPE)='; then
      fail "udev says what lies on the leg $device"
    fi
    if udevadm info -q symlink "$device" | grep -E 'by-(uuid|label)'; then fail "a link leads to the leg $device"; fi
  done
  ((found)) || fail "no device is known as a leg: $(cat /run/dm-shadow/legs)"
}
start_daemon() {
  systemctl unmask --runtime -q shadowd 2>/dev/null || true
  if [[ -L /etc/systemd/system/shadowd.service ]]; then
    rm /etc/systemd/system/shadowd.service
    install -m 644 "$SHADOW_REPO/daemon/shadowd.service" /etc/systemd/system
    systemctl daemon-reload
  fi
  systemctl start shadowd
}
some_copied() { (($(field db0 mirrored) > 20)); }
write_file() {
  dd if=/dev/urandom of="/srv/data/$1" bs=1M count=8 conv=fsync status=none
  (cd /srv/data && sha256sum "$1") >>"$RESULT/sums"
}
# The mount has the volume, and everything that was ever synced.
data_is_right() {
  wait_until 300 "the mount" is_mounted
  expect_eq "what is mounted" "$(mounted)" "$(right_device)"
  (cd /srv/data && sha256sum -c --quiet "$RESULT/sums") || fail "a file is not what was written"
  expect_eq "the device of this UUID" "$(device_of_uuid "$(cat "$RESULT/uuid")")" "$(basename "$(right_device)")"
  no_leg_is_seen
}
# Long enough for a mount to go wrong. A volume that lacks something is no reason for another device.
nothing_is_mounted() {
  sleep 20
  expect_eq "what is mounted" "$(mounted)" ""
  expect_eq "the device of this UUID" "$(device_of_uuid "$(cat "$RESULT/uuid")")" none
  no_leg_is_seen
}

case $1 in
  make)
    mkfs.ext4 -q "$(disk_path state)"
    mount "$(disk_path state)" $state
    case $2 in
      lv)
        vgcreate -qq -y slow "$(disk_path old)"
        vgcreate -qq -y fast "$(disk_path new)"
        lvcreate -qq -y -Wn -L 300m -n data slow
        printf '[class.%s]\nvg = "%s"\n' slow slow fast fast >/etc/dm-shadow/shadowd.toml
        origin=/dev/slow/data metadata=fast
        ;;
      disk)
        origin=$(disk_path old) metadata=$(disk_path meta)
        : >/etc/dm-shadow/shadowd.toml
        ;;
    esac
    printf '[daemon]\nleg_wait_seconds = 15\n' >>/etc/dm-shadow/shadowd.toml
    echo "$2" >"$RESULT/kind"
    device=/dev/mapper/db0
    case $4 in
      "") ;;
      lvm) device=/dev/mapper/top-data ;;
      luks) device=/dev/mapper/secret ;;
    esac
    if [[ ! $4 ]]; then small_file_system "$3" "$origin"; fi
    udevadm settle
    mkdir -p "$RESULT/etc"
    start_daemon
    shadowctl volume import db0 "$origin" --metadata "$metadata"
    case $4 in
      lvm)
        vgcreate -qq -y top /dev/mapper/db0
        lvcreate -qq -y -Wn -l 90%FREE -n data top
        ;;
      luks)
        echo key >"$RESULT/etc/key"
        cryptsetup -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luksFormat /dev/mapper/db0 "$RESULT/etc/key"
        cryptsetup open --key-file "$RESULT/etc/key" /dev/mapper/db0 secret
        echo "secret UUID=$(cryptsetup luksUUID /dev/mapper/db0) /run/job/etc/key luks" >"$RESULT/etc/crypttab"
        ;;
    esac
    if [[ $4 ]]; then small_file_system "$3" "$device"; fi
    udevadm settle
    uuid=$(blkid -p -s UUID -o value "$device")
    echo "$uuid" >"$RESULT/uuid"
    echo "$device" >"$RESULT/device"
    {
      echo "UUID=$(blkid -p -s UUID -o value "$(disk_path state)") $state ext4 nofail 0 0"
      echo "UUID=$uuid /srv/data $3 nofail,x-systemd.device-timeout=600 0 0"
    } >"$RESULT/etc/fstab"
    mount "$device" /srv/data
    : >"$RESULT/sums"
    write_file old
    umount /srv/data
    expect_eq "the device of this UUID" "$(device_of_uuid "$uuid")" "$(basename "$device")"
    no_leg_is_seen
    ;;
  move)
    data_is_right
    [[ $(systemctl is-active shadowd) == active ]] || start_daemon
    to=fast
    [[ $(cat "$RESULT/kind") == lv ]] || to=$(disk_path new)
    case $2 in
      during | abort)
        shadowctl volume modify db0 --to "$to" --rate 4M --grace 1h >/dev/null
        wait_until 90 "the first copies" some_copied
        ;;
      grace | back) shadowctl volume modify db0 --to "$to" --grace 1h --wait --until cutover >/dev/null ;;
      after) shadowctl volume modify db0 --to "$to" --grace 0 --wait >/dev/null ;;
    esac
    write_file "$2"
    case $2 in
      abort) shadowctl op abort db0 --wait || true ;;
      back) shadowctl op rollback db0 --wait ;;
    esac
    sync
    data_is_right
    ;;
  finish)
    data_is_right
    # The move goes on by itself, from where the last boot left it.
    [[ $(systemctl is-active shadowd) == active ]] || start_daemon
    shadowctl op rate db0 --impact full >/dev/null
    wait_until 300 "the cut-over" op_phase_is db0 GRACE
    (cd /srv/data && sha256sum -c --quiet "$RESULT/sums") || fail "a file is not what was written"
    shadowctl op commit db0 --wait
    write_file after
    data_is_right
    ;;
  check)
    case $2 in
      mounted) data_is_right ;;
      nothing) nothing_is_mounted ;;
      late)
        nothing_is_mounted
        cat "$RESULT/late-address" >/sys/bus/virtio/drivers/virtio_blk/bind
        data_is_right
        ;;
    esac
    systemctl --no-pager list-units --failed --plain --no-legend | grep -v -e srv-data -e shadowd | sed 's/^/    failed: /' || true
    ;;
esac
