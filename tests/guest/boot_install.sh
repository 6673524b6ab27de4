#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Before systemd starts in a guest of the boot suite (tests/lab/guest --before): installs dm-shadow as a
# package would, and puts back what a machine keeps over a reboot ($RESULT/etc: fstab, /etc/dm-shadow).
# $RESULT/shadowd says what becomes of the daemon: there, masked, or late (started by the test).
set -euo pipefail

version=$(uname -r)
kernel=/lib/modules/$version
ko=$SHADOW_BUILD/kernel/$version/dm-shadow.ko
tree=/run/modules
repo=$SHADOW_REPO
units=/etc/systemd/system

# A tree of modules that is only what is needed, with ours in it.
mkdir "$tree"
cp "$kernel"/modules.{order,builtin,builtin.modinfo} "$tree"
for module in dm-mod ext4 xfs btrfs dm-crypt xts ecb aes_generic algif_skcipher cryptd $(modinfo -F depends "$ko" | tr , ' '); do
  while read -r _ file _; do
    install -D "$file" "$tree/${file#*"$version"/}"
  done < <(modprobe --show-depends "$module" | grep ^insmod)
done
install -D "$ko" "$tree/extra/dm-shadow.ko"
mount --bind "$tree" "$kernel"
depmod

install "$SHADOW_BUILD"/bin/{shadowd,dm-shadow-activate} /usr/sbin
[[ ! -e /run/job/broken ]] || ln -sf /bin/false /usr/sbin/dm-shadow-activate
install -m 644 "$repo/tools/udev/59-dm-shadow.rules" /lib/udev/rules.d
install -m 644 "$repo/tools/udev/dm-shadow@.service" "$repo/daemon/shadowd.service" "$units"
# The machine's own LVM settings may be anything.
echo 'devices { use_devicesfile = 0 }' >/etc/lvm/lvm.conf

mkdir -p /run/job/etc/dm-shadow /etc/dm-shadow
mount --bind /run/job/etc/dm-shadow /etc/dm-shadow
for file in fstab crypttab; do
  [[ ! -e /run/job/etc/$file ]] || cp "/run/job/etc/$file" "/etc/$file"
done
# A disk that comes late: the driver lets go of it, and takes it again when the test says so.
if [[ -e /run/job/late ]]; then
  for serial in /sys/block/vd*/serial; do
    [[ $(cat "$serial") == "$(cat /run/job/late)" ]] || continue
    address=$(basename "$(realpath "${serial%/serial}/device")")
    echo "$address" >/run/job/late-address
    echo "$address" >/sys/bus/virtio/drivers/virtio_blk/unbind
  done
fi
mkdir -p /srv/data /var/lib/dm-shadow "$units/sysinit.target.wants"
case $(cat /run/job/shadowd) in
  there) ln -s "$units/shadowd.service" "$units/sysinit.target.wants/" ;;
  masked) ln -sf /dev/null "$units/shadowd.service" ;;
esac
