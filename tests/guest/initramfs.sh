#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is installed goes into an initramfs of Debian's initramfs-tools, and what is in it puts a volume together there:
# no daemon, no store, nothing of the real root.
# shellcheck source=tests/lab/guest-lib.sh
. "$(dirname "$0")/../lab/guest-lib.sh"

version=$(uname -r)

# A tree of modules that is only what is needed: depmod over 9p takes minutes.
small_module_tree() {
  local tree=$SCRATCH/modules module file
  mkdir "$tree"
  cp "/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$tree"
  for module in dm-mod $(modinfo -F depends "$SHADOW_BUILD/kernel/$version/dm-shadow.ko" | tr , ' '); do
    while read -r _ file _; do
      install -D "$file" "$tree/${file#*"$version"/}"
    done < <(modprobe --show-depends "$module" | grep ^insmod)
  done
  mount --bind "$tree" "/lib/modules/$version"
}

test_an_initramfs_brings_a_volume_up() {
  load_module
  local origin metadata
  origin=$(disk_path org) metadata=$(disk_path meta)
  start_shadowd
  shadowctl volume import db0 "$origin" --metadata "$metadata" >/dev/null
  shadow_io fill /dev/mapper/db0 --journal="$SCRATCH/journal"
  kill "$DAEMON" && wait "$DAEMON"
  dm remove db0

  small_module_tree
  cmake --install "$SHADOW_BUILD" --component boot --prefix /usr >"$RESULT/install.log"
  cmake --install "$SHADOW_BUILD" --component module --prefix /usr >>"$RESULT/install.log"
  depmod
  mkdir -p /etc/dm-shadow "$SCRATCH/conf/conf.d" "$SCRATCH/conf/hooks" "$SCRATCH/conf/scripts"
  echo "# table of legs" >/etc/dm-shadow/legs
  printf 'MODULES=list\nBUSYBOX=n\nCOMPRESS=gzip\n' >"$SCRATCH/conf/initramfs.conf"
  : >"$SCRATCH/conf/modules"
  [[ -e /boot/config-$version ]] || echo CONFIG_RD_GZIP=y >"/boot/config-$version" # the lab keeps kernels elsewhere
  mkinitramfs -d "$SCRATCH/conf" -o "$SCRATCH/initrd" "$version" 2>"$RESULT/mkinitramfs.log" ||
    fail "mkinitramfs: $(tail -n 3 "$RESULT/mkinitramfs.log")"
  mkdir "$SCRATCH/root"
  unmkinitramfs "$SCRATCH/initrd" "$SCRATCH/root"
  local root=$SCRATCH/root file
  [[ ! -d $root/main ]] || root=$root/main
  for file in "usr/lib/modules/$version/extra/dm-shadow.ko" usr/lib/udev/rules.d/59-dm-shadow.rules etc/dm-shadow/legs \
    scripts/local-top/dm-shadow scripts/local-block/dm-shadow; do
    [[ -e $root/$file ]] || fail "the initramfs has no $file"
  done
  for script in local-top local-block; do
    grep -q "/scripts/$script/dm-shadow" "$root/scripts/$script/ORDER" || fail "$script does not run dm-shadow"
  done

  # As in the initramfs: its own programs and libraries only.
  for file in dev proc sys run; do
    mkdir -p "$root/$file"
    mount --bind "/$file" "$root/$file"
  done
  chroot "$root" /scripts/local-block/dm-shadow
  dm mknodes
  [[ -b /dev/mapper/db0 ]] || fail "the volume is not up"
  check_data /dev/mapper/db0
}

run_tests "$@"
