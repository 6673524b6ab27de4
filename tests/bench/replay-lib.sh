# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # for the scripts
# What the replays in the guest have in common (tests/bench/replay.sh, order.sh, tests/lab/demo-tiers):
# devices with a speed and no memory, programs in memory, a volume with tiers. Source guest-lib.sh first.
#
# Only metadata is kept: what the other devices hold does not matter here, and 4 GiB would not fit. So
# nothing here looks at data; tests/guest/tiers.sh and daemon_tiers.sh do.

: "${TEST_REPLAY_TRACE:?tests/bench/run sets it}"
BLOCK=512 # sectors: 256 KiB, the default
VOLUME_MIB=4096
SPEED=${TEST_REPLAY_SPEED:-4}
WARM=${TEST_REPLAY_WARM:-2160}
MEASURED=${TEST_REPLAY_MEASURED:-1440}
SLOTS1=${TEST_REPLAY_SLOTS1:-284}
SLOTS2=${TEST_REPLAY_SLOTS2:-1138}
WINDOW_MS=$((60000 / SPEED)) # scaled as the trace is
TIER_MODE=writeback
TRACE=/run/replay.csv
export TEST_TIMEOUT=${TEST_TIMEOUT:-100000} # seconds of guest time

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
# shown COMMAND...: as a person would see it.
shown() {
  printf '  %s$ %s%s\n' "$dim" "$*" "$plain"
  "$@" | sed 's/^/  /'
}

# replay_device NAME BLOCKS KIND
replay_device() {
  null_device "$1" $((($2 * BLOCK + 2047) / 2048)) "$3" memory_backed=0 discard=0
}
home_device() { replay_device home $((VOLUME_MIB * 2048 / BLOCK)) hdd; }

# Idle time is skipped in virtual time, so what the host takes to answer shows as time of the guest:
# programs and the trace lie in memory before anything is measured. The model's worker does not: it is
# linked with half a gigabyte, and is long there when the measured part begins.
into_memory() {
  local name path library box=/run/box
  mkdir -p $box/bin $box/lib
  for name in shadow-replay shadowctl shadowd dmsetup jq awk join sleep cat; do
    path=$(type -P "$name") || continue
    cp -L "$path" "$box/bin/"
    while read -r library; do cp -L -n "$library" $box/lib/; done < <(ldd "$path" | grep -o ' /[^ ]*')
  done
  ln -s "$(type -P pam_worker)" $box/bin/ # shadowd looks for it beside itself
  export PATH=$box/bin:$PATH LD_LIBRARY_PATH=$box/lib
  case $TEST_REPLAY_TRACE in
    *.xz) xz -dc "$TEST_REPLAY_TRACE" >$TRACE ;;
    *) cp "$TEST_REPLAY_TRACE" $TRACE ;;
  esac
}

# play DEVICE START SECONDS NAME: a part of the trace, in its own time.
play() {
  shadow-replay --json --speed "$SPEED" --offset-fold --depth 1024 --start "$2" --duration "$3" \
    $TRACE "$1" >"$RESULT/$4.json"
  jq -r --arg part "minutes $(($2 / 60)) to $((($2 + $3) / 60))" '"  \($part): \(.ios) I/Os in \(.elapsed_s | floor) s; " +
    "read \(.read.response.mean_us / 10 | round / 100) ms, write \(.write.response.mean_us / 10 | round / 100) ms"' "$RESULT/$4.json"
}
# count_devices: name, bytes read, bytes written, of all that are not for metadata; sorted.
count_devices() {
  local stat name
  for stat in "$NULLB"/*/; do
    name=$(basename "$stat")
    [[ $name != *meta ]] || continue
    awk -v name="$name" '{ printf "%s %.0f %.0f\n", name, $3 * 512, $7 * 512 }' "/sys/block/$name/stat"
  done | sort
}

# plain_volume: db0 on /dev/home, through shadowd.
plain_volume() {
  load_module
  home_device
  null_device meta 32 nvme
  mkdir -p "$SCRATCH/state/pam"
  lvm_configuration
  # No training while the trace runs: emulated, LibTorch takes half an hour for what takes 20 s.
  export PAM_UPDATE_MINUTES=0
  start_shadowd
  shown shadowctl volume import db0 /dev/home --metadata /dev/meta --allow-unstable-names
}
# tiered_volume: with both tiers.
tiered_volume() {
  plain_volume
  replay_device fast "$SLOTS1" nvme
  replay_device mid "$SLOTS2" ssd
  local mode=()
  [[ $TIER_MODE == writethrough ]] || mode=(--write-back)
  shown shadowctl tier add db0 tier1 --to /dev/fast --allow-unstable-names "${mode[@]}"
  shown shadowctl tier add db0 tier2 --to /dev/mid --allow-unstable-names "${mode[@]}"
}
# The model goes where the worker looks for it when the volume is first opened.
need_model() {
  [[ -s ${TEST_REPLAY_MODEL:-} ]] || fail "there is no model: TEST_REPLAY_MODEL"
  mkdir -p "$SCRATCH/state/pam"
  cp "$TEST_REPLAY_MODEL" "$SCRATCH/state/pam/db0.model"
  chmod 644 "$SCRATCH/state/pam/db0.model"
}
end_shadowd() {
  kill "$DAEMON"
  wait "$DAEMON" || fail "shadowd ended with an error: $(tail -n 2 "$RESULT/shadowd.log")"
}
