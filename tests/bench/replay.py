# SPDX-License-Identifier: Apache-2.0
"""The replays of tests/bench/run: prepares trace and model, runs the guest, reads what it left.

Pure of judgement but for `replay_rows` and `order_rows`: the goals are there.
"""

import csv
import json
import lzma
import os
import pathlib
import subprocess
import sys
import tempfile

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCK = 256 << 10  # bytes
VOLUME = 4 << 30
SPEED = 4          # the HDD-like device is four times as fast as a disk of 8 ms
SPLIT = 0.6        # of the time: what comes before warms up, and trains the model
TRACE = "oneandone_mysql.csv.xz"
NAMES = {"hdd": "HDD alone", "cache_writethrough": "dm-cache writethrough", "cache_writeback": "dm-cache writeback",
         "cache_writeback_joined": "dm-cache writeback, joined",
         "cache_writeback_128": "dm-cache writeback, 64 KiB", "ewma": "dm-shadow ewma", "pam": "dm-shadow pam",
         "ewma_writethrough": "dm-shadow ewma writethrough", "pam_writethrough": "dm-shadow pam writethrough"}


def find_trace() -> pathlib.Path:
    """In $SHADOW_TRACES or ../shared/traces; exits with 77 (skipped) if it is in neither."""
    for folder in [os.environ.get("SHADOW_TRACES"), REPO.parent / "shared/traces", REPO / "../../shared/traces"]:
        if folder and (pathlib.Path(folder) / TRACE).exists():
            return (pathlib.Path(folder) / TRACE).resolve()
    print(f"bench: there is no {TRACE} in $SHADOW_TRACES or ../shared/traces; skipped. docs/placement.md says where "
          "it comes from.", file=sys.stderr)
    sys.exit(77)


class Trace:
    """Requests (us, offset, length, op) as the replay sends them: folded to the volume."""

    def __init__(self, path: pathlib.Path):
        with lzma.open(path, "rt") as file:
            rows = [row for row in csv.reader(file) if row[0].isdigit()]
        self.rows = [(int(t), int(o) % VOLUME, int(n), op) for t, o, n, op in rows]
        self.end_us = self.rows[-1][0]
        self.split_s = int(self.end_us * SPLIT / 60e6) * 60  # whole windows
        self.rest_s = int(self.end_us / 1e6) - self.split_s
        blocks = {b % (VOLUME // BLOCK) for _, o, n, _ in self.rows
                  for b in range(o // BLOCK, (o + max(n, 1) - 1) // BLOCK + 1)}
        self.touched = len(blocks)

    def write_training_part(self, path: pathlib.Path) -> None:
        with open(path, "w") as file:
            file.write("timestamp_us,offset_bytes,length_bytes,op\n")
            for t, o, n, op in self.rows:
                if t < self.split_s * 1e6:
                    file.write(f"{t},{o},{n},{op}\n")


def build_dir() -> pathlib.Path:
    return pathlib.Path(os.environ.get("SHADOW_BUILD", REPO / "build")).resolve()


def train(trace: Trace, folder: pathlib.Path) -> pathlib.Path:
    """A model that has seen the first part alone."""
    part, model = folder / "training.csv", folder / "db0.model"
    trace.write_training_part(part)
    subprocess.run([build_dir() / "bin/pam", "train", "--block", str(BLOCK >> 10), "--volume", f"{VOLUME >> 30}G",
                    "-o", model, part], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return model


def guest(script: str, only: list[str], timeout: int, result: pathlib.Path) -> Trace:
    """Runs a script of tests/bench in the guest; it leaves its files in `result`."""
    path = find_trace()
    trace = Trace(path)
    with tempfile.TemporaryDirectory(prefix="shadow-replay-") as name:
        print(f"Training the model on the first {trace.split_s // 60} minutes of {TRACE}.", flush=True)
        model = train(trace, pathlib.Path(name))
        env = os.environ | {
            "TEST_REPLAY_TRACE": str(path), "TEST_REPLAY_MODEL": str(model), "TEST_REPLAY_SPEED": str(SPEED),
            "TEST_REPLAY_WARM": str(trace.split_s), "TEST_REPLAY_MEASURED": str(trace.rest_s),
            "TEST_REPLAY_SLOTS1": str(trace.touched // 20), "TEST_REPLAY_SLOTS2": str(trace.touched // 5)}
        command = [REPO / "tests/lab/guest", "--kernel", "6.1", "--icount", "--mem", "3072",
                   "--timeout", str(timeout), "--result", result,
                   *(["--tty"] if sys.stdout.isatty() else []), "--", REPO / "tests/bench" / script, *only]
        status = subprocess.run(command, check=False, env=env).returncode
        if status != 0:
            sys.exit(f"bench: {script} failed (status {status}); its files are in {result}.")
    return trace


class Replayed:
    """What one competitor did in the measured part."""

    def __init__(self, name: str, folder: pathlib.Path):
        self.name = name
        report = json.loads((folder / f"{name}.json").read_text())
        self.report = report
        self.served = report["read"]["bytes"] + report["write"]["bytes"]
        # From due, as an application would have seen it.
        self.read, self.write = report["read"]["response"], report["write"]["response"]
        count = report["read"]["count"] + report["write"]["count"]
        self.mean_us = (self.read["mean_us"] * report["read"]["count"] +
                        self.write["mean_us"] * report["write"]["count"]) / count
        self.tiers = {tier: (t["read_hit_ratio"], t["write_hit_ratio"]) for tier, t in report["tiers"].items()}
        self.devices = {line.split()[0]: (int(line.split()[1]), int(line.split()[2]))
                        for line in (folder / f"{name}.devices").read_text().splitlines()}
        self.moved = self._moved()

    def _moved(self) -> float:
        """Bytes copied between home and the fast devices. Each is read once and written once, so with writes that
        go to one device only the devices say it. A write-through one counts its promotions: it has no others."""
        if self.name.endswith("writethrough"):
            return self.report["moved"]["bytes"]
        below = sum(r + w for r, w in self.devices.values())
        return max(0, below - self.served) / 2

    @property
    def moved_per_byte(self) -> float:
        return self.moved / self.served

    def as_json(self) -> dict:
        return {"name": NAMES.get(self.name, self.name), "hits": self.tiers, "read": self.read, "write": self.write,
                "mean_us": self.mean_us, "moved_per_byte": self.moved_per_byte, "served_bytes": self.served,
                "devices": self.devices, "late": self.report["late"], "most_in_flight": self.report["most_in_flight"]}


def read_replays(folder: pathlib.Path) -> dict[str, Replayed]:
    return {name: Replayed(name, folder) for name in NAMES
            if (folder / f"{name}.json").exists() and (folder / f"{name}.devices").exists()}


def hits_text(r: Replayed, which: int) -> str:
    shares = [t[which] * 100 for t in r.tiers.values()]
    return " + ".join(f"{s:.1f}" for s in shares) if shares else "-"


def print_replays(trace: Trace, replays: dict[str, Replayed]) -> None:
    print(f"\n{TRACE}, {SPEED} x as fast, folded to {VOLUME >> 30} GiB; {trace.touched} blocks of {BLOCK >> 10} KiB "
          f"touched; measured: {trace.split_s // 60} min to the end\n"
          f"tiers {trace.touched // 20} + {trace.touched // 5} blocks; dm-cache: all {trace.touched // 20 + trace.touched // 5} "
          "on the fastest device. Latency from due, ms; hits in per cent, tier 1 + tier 2\n")
    print(f"{'':28} {'read hits':>12} {'write hits':>12} {'read mean':>9} {'p50':>7} {'p95':>7} {'p99':>7} "
          f"{'write mean':>10} {'p99':>7} {'all mean':>8} {'moved/served':>12}")
    for r in replays.values():
        ms = [r.read[k] / 1000 for k in ["mean_us", "p50_us", "p95_us", "p99_us"]]
        print(f"{NAMES[r.name]:28} {hits_text(r, 0):>12} {hits_text(r, 1):>12} {ms[0]:9.2f} {ms[1]:7.2f} {ms[2]:7.1f} "
              f"{ms[3]:7.1f} {r.write['mean_us'] / 1000:10.2f} {r.write['p99_us'] / 1000:7.1f} {r.mean_us / 1000:8.2f} "
              f"{r.moved_per_byte:12.3f}")


def replay_goals(replays: dict[str, Replayed]) -> list[tuple]:
    """(name, value, unit, reach, peers, digits) for the table of all rows."""
    caches = [replays[n] for n in ["cache_writethrough", "cache_writeback"] if n in replays]
    if not caches or "pam" not in replays:
        return []
    pam = replays["pam"]
    best, least = min(c.read["mean_us"] for c in caches), min(c.moved_per_byte for c in caches)
    others = {NAMES[n]: replays[n] for n in ["cache_writethrough", "cache_writeback", "ewma", "hdd"] if n in replays}
    return [("replay: mean read latency, pam", pam.read["mean_us"] / 1000, "ms", 0.8 * best / 1000,
             {n: r.read["mean_us"] / 1000 for n, r in others.items()}, 2),
            ("replay: bytes moved per byte served, pam", pam.moved_per_byte, "", 0.5 * least,
             {n: r.moved_per_byte for n, r in others.items()}, 3)]


ORDERS = {"heat": "by heat (pam)", "ascending": "ascending", "hottest": "hottest first", "random": "random"}


class Moved:
    """What a move in one order did, from its start to the last block's copy."""

    def __init__(self, name: str, folder: pathlib.Path):
        self.name = name
        self.report = json.loads((folder / f"{name}.json").read_text())
        counts = dict(line.split() for line in (folder / f"{name}.move").read_text().splitlines())
        self.copied, self.again = int(counts["copied"]), int(counts["recopied"])
        self.mirrored, self.seconds = int(counts["mirrored_writes"]), int(counts["us"]) / 1e6

    @property
    def extra(self) -> int:
        return self.again + self.mirrored

    def as_json(self) -> dict:
        return {"order": ORDERS[self.name], "copied": self.copied, "copied_again": self.again,
                "writes_mirrored": self.mirrored, "seconds": self.seconds, "read": self.report["read"]["response"],
                "write": self.report["write"]["response"]}


def read_orders(folder: pathlib.Path) -> dict[str, Moved]:
    return {name: Moved(name, folder) for name in ORDERS if (folder / f"{name}.move").exists()}


def print_orders(trace: Trace, orders: dict[str, Moved]) -> None:
    print(f"\n{TRACE} at its own speed, folded to {VOLUME >> 30} GiB; the volume moves from minute {trace.split_s // 60} on\n")
    print(f"{'order of copies':16} {'copied':>8} {'copied again':>12} {'writes mirrored':>15} {'read p99 ms':>11} "
          f"{'write p99 ms':>12} {'time s':>8}")
    for o in orders.values():
        print(f"{ORDERS[o.name]:16} {o.copied:8} {o.again:12} {o.mirrored:15} "
              f"{o.report['read']['response']['p99_us'] / 1000:11.1f} "
              f"{o.report['write']['response']['p99_us'] / 1000:12.1f} {o.seconds:8.1f}")


def order_goals(orders: dict[str, Moved]) -> list[tuple]:
    if "heat" not in orders or "ascending" not in orders:
        return []
    return [("move: blocks copied again + writes mirrored", orders["heat"].extra, "", 0.6 * orders["ascending"].extra,
             {ORDERS[n]: o.extra for n, o in orders.items() if n != "heat"}, 0)]
