#!/usr/bin/env python3
"""Puts a peer's times and memory beside ours: one run of each on the same machine, with the ratios.

    benches/compare.py PEER.py [PYTHON]

PEER.py prints a line `name seconds` for each case and `peak_rss_mb megabytes` at its end, as a script that does the same work
with TransformerLens does; PYTHON is the interpreter that has what it needs. Ours are the medians of `cargo bench --bench
engine`, which has the same names. Two times within one column are only comparable when nothing else ran on the machine.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Each of our cases, and the peer's that does the same: the peer runs every site whole, wherever two prompts first differ.
CASES = {
    "forward_8x15": "forward_8x15",
    "run_with_cache_8x15": "run_with_cache_8x15",
    "forward_1x15": "forward_1x15",
    "forward_1x1024": "forward_1x1024",
    "run_with_cache_1x1024": "run_with_cache_1x1024",
    "patch_resid_pre_12x15_b8": "patch_resid_pre_12x15_b8",
    "patch_resid_pre_12x15_b8_from_10": "patch_resid_pre_12x15_b8",
    "patch_head_out_all_pos_144_b8": "patch_head_out_all_pos_144_b8",
    "forward_backward_132_points_8x15": "forward_backward_132_points_8x15",
}
SWEEP = "patch_resid_pre_12x15_b8"


def peer(script, python):
    lines = subprocess.run([python, script], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: float(number) for name, number in (line.split() for line in lines if len(line.split()) == 2)}


def bench():
    """The path of our compiled benchmark."""
    built = subprocess.run(
        ["cargo", "bench", "--bench", "engine", "--no-run", "--message-format", "json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "engine")


def ours(executable):
    chosen = "|".join(f"^{name}$" for name in CASES)
    subprocess.run(["cargo", "bench", "--bench", "engine", "--", chosen], cwd=ROOT, check=True)
    found = {}
    for name in CASES:
        estimates = ROOT / "target" / "criterion" / name / "new" / "estimates.json"
        found[name] = json.loads(estimates.read_text())["median"]["point_estimate"] / 1e9
    # One sweep in a process of its own, for its peak.
    pid = os.spawnv(os.P_NOWAIT, executable, [executable, "--test", f"^{SWEEP}$"])
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"the sweep by itself ended with status {status}")
    return found, usage.ru_maxrss / 1024


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    executable = bench()
    theirs = peer(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else sys.executable)
    mine, peak = ours(executable)
    print(f"\n{'':34}{'peer':>10}{'ours':>10}{'ratio':>8}")
    for name, same in CASES.items():
        print(f"{name:34}{theirs[same]:9.3f}s{mine[name]:9.3f}s{theirs[same] / mine[name]:8.2f}")
    whole = theirs["peak_rss_mb"]
    print(f"{'peak memory (sweep, peer whole)':34}{whole:8.0f}MB{peak:8.0f}MB{whole / peak:8.2f}")


if __name__ == "__main__":
    main()
