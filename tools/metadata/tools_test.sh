#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The three programs on files: exit codes, output, refusals. Usage: tools_test.sh BIN GOLDEN
set -u
bin=$1 golden=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

expect() { # status command...
  local want=$1 got
  shift
  "$@" >"$dir/out" 2>"$dir/err"
  got=$?
  if ((got != want)); then
    echo "FAILED: $* gave $got instead of $want"
    cat "$dir/out" "$dir/err"
    failed=1
  fi
}
says() { grep -qF -- "$1" "$dir/out" "$dir/err" || { echo "FAILED: no \"$1\" in:"; cat "$dir/out" "$dir/err"; failed=1; }; }

image() { # NAME FILE: the bytes of a golden image
  python3 - "$golden/$1.hex" "$2" <<'PY'
import sys
image = bytearray()
for line in open(sys.argv[1]):
    if line.startswith('#') or ':' not in line:
        continue
    at, rest = line.split(':')
    data, _, times = rest.partition('*')
    row = bytes.fromhex(data) * int(times or 1)
    at = int(at, 16)
    image.extend(bytes(max(0, at + len(row) - len(image))))
    image[at:at + len(row)] = row
open(sys.argv[2], 'wb').write(image)
PY
}
image v1-migrating "$dir/m"
cp "$dir/m" "$dir/good"

expect 0 "$bin/shadow_check" "$dir/m"; says "The metadata is fine."
expect 0 "$bin/shadow_dump" "$dir/m"; says "volume golden-migrating"; says "1+1:mirrored"
expect 0 "$bin/shadow_dump" -o json "$dir/m"; cp "$dir/out" "$dir/dump"
expect 0 "$bin/shadow_restore" "$dir/dump" "$dir/new"; says "48 blocks"
expect 0 cmp "$dir/new" "$dir/good"

# what a table needs is printed, and survives a dump; a dump of before these fields is taken, too
image v1-described "$dir/d"
expect 0 "$bin/shadow_check" "$dir/d"; says "The metadata is fine."
expect 0 "$bin/shadow_dump" "$dir/d"; says "volume golden-described, db0-described"
says "read policy balance, logical blocks of 4096 bytes, write-back on tier1"
expect 0 "$bin/shadow_dump" -o json "$dir/d"; cp "$dir/out" "$dir/ddump"; says '"name": "db0-described"'
expect 0 "$bin/shadow_restore" "$dir/ddump" "$dir/dnew"
expect 0 cmp "$dir/dnew" "$dir/d"
sed -E '/"(name|logical_block|policy|writeback)":/d' "$dir/dump" >"$dir/olddump"
expect 1 grep -E '"(name|logical_block|policy|writeback)"' "$dir/olddump"
expect 0 "$bin/shadow_restore" "$dir/olddump" "$dir/oldnew"
expect 0 cmp "$dir/oldnew" "$dir/good"
sed 's/"policy": "balance"/"policy": "best"/' "$dir/ddump" >"$dir/bad"
expect 8 "$bin/shadow_restore" "$dir/bad" "$dir/badnew"; says "unknown read policy"

printf 'damage' | dd of="$dir/m" bs=1 seek=66000 conv=notrunc status=none
expect 4 "$bin/shadow_check" "$dir/m"; says "--repair puts this right"
expect 4 "$bin/shadow_dump" "$dir/m"
expect 4 "$bin/shadow_check" -o json "$dir/m"; says '"exit_code": 4'
expect 1 "$bin/shadow_check" --repair "$dir/m"; says "has been repaired"
expect 0 "$bin/shadow_check" "$dir/m"
printf 'damage' | dd of="$dir/m" bs=1 seek=66000 conv=notrunc status=none
printf 'damage' | dd of="$dir/m" bs=1 seek=70000 conv=notrunc status=none
cp "$dir/m" "$dir/both"
expect 4 "$bin/shadow_check" --repair "$dir/m"; says "Uncertain: blocks 0 to 47"
expect 0 cmp "$dir/m" "$dir/both"
expect 1 "$bin/shadow_check" --repair --assume target "$dir/m"
expect 0 "$bin/shadow_check" "$dir/m"

# Tiers: what the slot pages say is there, and comes back from a dump.
image v1-tiers "$dir/t"
expect 0 "$bin/shadow_check" "$dir/t"; says "block 46 is left over from a discard"
expect 0 "$bin/shadow_dump" "$dir/t"; says "block 1 in slot 7 of tier1, dirty"
expect 0 "$bin/shadow_dump" -o json "$dir/t"; cp "$dir/out" "$dir/dump-t"
expect 0 "$bin/shadow_restore" "$dir/dump-t" "$dir/new-t"
expect 0 cmp "$dir/new-t" "$dir/t"
printf 'damage' | dd of="$dir/t" bs=1 seek=78000 conv=notrunc status=none
expect 1 "$bin/shadow_check" --repair "$dir/t"; says "slot page 0"
printf 'damage' | dd of="$dir/t" bs=1 seek=78000 conv=notrunc status=none
printf 'damage' | dd of="$dir/t" bs=1 seek=74000 conv=notrunc status=none
expect 4 "$bin/shadow_check" --repair --assume origin "$dir/t"; says "is on a tier"
expect 0 "$bin/shadow_restore" "$dir/dump-t" "$dir/t"
expect 0 cmp "$dir/new-t" "$dir/t"

# On a long device they lie far behind the states: what is between is neither read nor kept. A dump is
# refused before there is memory for what it claims.
# (A sanitizer maps terabytes of addresses for itself: no limit then.)
most=1000000
{ bash -c "ulimit -v $most; exec '$bin/shadow_check' --help" >/dev/null || most=unlimited; } 2>/dev/null
image v1-tiers "$dir/t"
far=$(((1 << 40) / 512))
"$bin/shadow_dump" -o json "$dir/t" | sed "s/\"slot_end\": 160/\"slot_end\": $far/" >"$dir/dump-far"
expect 0 bash -c "ulimit -v $most; exec '$bin/shadow_restore' '$dir/dump-far' '$dir/far'"
[[ $(stat -c %s "$dir/far") == $((1 << 40)) ]] || { echo "FAILED: the restored device is short"; failed=1; }
expect 0 bash -c "ulimit -v $most; exec '$bin/shadow_check' '$dir/far'"; says "block 46 is left over"
expect 0 bash -c "ulimit -v $most; exec '$bin/shadow_dump' -o json '$dir/far'"; cp "$dir/out" "$dir/dump-back"
expect 0 cmp "$dir/dump-back" "$dir/dump-far"
sed 's/"\(tracked_\|old_\)\?sectors": 6144/"\1sectors": 99999999999/' "$dir/dump-far" >"$dir/dump-claims"
expect 8 bash -c "ulimit -v $most; exec '$bin/shadow_restore' '$dir/dump-claims' '$dir/far'"
says "the volume needs"

expect 16 "$bin/shadow_check"
expect 16 "$bin/shadow_check" --assume target "$dir/m"
expect 16 "$bin/shadow_check" --repair --assume luck "$dir/m"
expect 16 "$bin/shadow_dump" -o yaml "$dir/m"
expect 8 "$bin/shadow_check" "$dir/nothing"; says "No such file"
expect 8 "$bin/shadow_check" "$dir"
expect 8 "$bin/shadow_restore" "$dir/good" "$dir/x"; says "not a usable dump"
[[ ! -e $dir/x ]] || { echo "FAILED: a refused dump made a file"; failed=1; }
sed 's/golden-migrating/other/' "$dir/dump" >"$dir/dump2"
expect 8 "$bin/shadow_restore" "$dir/dump2" "$dir/new"; says "holds the metadata of volume"
expect 0 cmp "$dir/new" "$dir/good"
expect 0 "$bin/shadow_restore" --force "$dir/dump2" "$dir/new"
exec 9<"$dir/m"
flock -x 9
expect 8 "$bin/shadow_check" "$dir/m"; says "is in use"
((failed)) || echo "all as expected"
exit $failed
