#!/usr/bin/env python3
"""Puts a peer's times beside ours: one run of each on the same machine, with the ratios.

    benches/compare.py PEER.py [PYTHON]

PEER.py prints a line `name seconds` for each case, as a script that does the same work with TransformerLens does; PYTHON is
the interpreter that has what it needs. Ours are the medians of `cargo bench --bench engine`, which has the same names.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = [
    "forward_8x15",
    "run_with_cache_8x15",
    "forward_1x15",
    "forward_1x1024",
    "run_with_cache_1x1024",
    "patch_resid_pre_12x15_b8",
    "patch_head_out_all_pos_144_b8",
]


def peer(script, python):
    lines = subprocess.run([python, script], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: float(seconds) for name, seconds in (line.split() for line in lines if len(line.split()) == 2)}


def ours(names):
    chosen = "|".join(f"^{name}$" for name in names)
    subprocess.run(["cargo", "bench", "--bench", "engine", "--", chosen], cwd=ROOT, check=True)
    found = {}
    for name in names:
        estimates = ROOT / "target" / "criterion" / name / "new" / "estimates.json"
        found[name] = json.loads(estimates.read_text())["median"]["point_estimate"] / 1e9
    return found


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    theirs = peer(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else sys.executable)
    mine = ours(CASES)
    print(f"\n{'':34}{'peer':>10}{'ours':>10}{'ratio':>8}")
    for name in CASES:
        print(f"{name:34}{theirs[name]:9.3f}s{mine[name]:9.3f}s{theirs[name] / mine[name]:8.2f}")


if __name__ == "__main__":
    main()
