#!/usr/bin/env python3
"""Puts TransformerLens' times and memory beside ours: one run of each on the same machine, with the ratios.

    benches/compare.py [PYTHON]

PYTHON is an interpreter that has transformer_lens 3 (benches/peer_transformer_lens.py says what else). Our benches write
the model, the tokens and what came out; the peer does the same work on the same files. No ratio is printed unless every
output agrees. Ours are the medians of `cargo bench --bench engine`, which has the same names. Two times within one column
are only comparable when nothing else ran on the machine.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "compare"
PEER = ROOT / "benches" / "peer_transformer_lens.py"
CASES = [
    "forward_8x15", "run_with_cache_8x15", "forward_1x15", "forward_1x1024", "run_with_cache_1x1024",
    "patch_resid_pre_12x15_b8", "patch_resid_pre_12x15_b8_from_10", "patch_head_out_all_pos_144_b8",
    "forward_backward_132_points_8x15", "eap_all_edges_8x15",
]
SWEEP = "patch_resid_pre_12x15_b8"
# Of the largest number of an output: two orders of the same sums in f32, through twelve layers.
TOLERANCE = 1e-3


def apart(ours, theirs):
    """The largest difference of two outputs, as a share of the largest number in them; infinite where they are of other things."""
    if isinstance(ours, dict):
        if not isinstance(theirs, dict) or ours.keys() != theirs.keys():
            return math.inf
        ours, theirs = list(ours.values()), [theirs[name] for name in ours]
    if len(ours) != len(theirs) or not all(map(math.isfinite, [*ours, *theirs])):
        return math.inf
    largest = max(map(abs, [*ours, *theirs]))
    return max(abs(a - b) for a, b in zip(ours, theirs)) / largest if largest else math.inf


def disagreements(ours, theirs):
    """Prints how far apart each output is, and gives the names of those that disagree."""
    differences = {name: apart(values, theirs.get(name, [])) for name, values in ours.items()}
    for name, difference in differences.items():
        print(f"{name:34}{len(ours[name]):8} numbers, apart by {difference:.1e} of the largest")
    return [name for name, difference in differences.items() if not difference <= TOLERANCE]


def bench():
    """The path of our compiled benchmark."""
    built = subprocess.run(
        ["cargo", "bench", "--bench", "engine", "--no-run", "--message-format", "json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "engine")


def ours():
    chosen = "|".join(f"^{name}$" for name in CASES)
    subprocess.run(["cargo", "bench", "--bench", "engine", "--", chosen], cwd=ROOT, check=True)
    found = {}
    for name in CASES:
        estimates = ROOT / "target" / "criterion" / name / "new" / "estimates.json"
        found[name] = json.loads(estimates.read_text())["median"]["point_estimate"] / 1e9
    return found


def peak(executable):
    """The peak of one sweep, in its own process."""
    pid = os.spawnv(os.P_NOWAIT, executable, [executable, "--test", f"^{SWEEP}$"])
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"the sweep by itself ended with status {status}")
    return usage.ru_maxrss / 1024


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    executable = bench()
    subprocess.run([executable], env=os.environ | {"CANDLE_LENS_BENCH_CASES": str(FOLDER)}, check=True)
    subprocess.run([sys.argv[1] if len(sys.argv) == 2 else sys.executable, PEER, FOLDER], check=True)
    theirs = json.loads((FOLDER / "theirs.json").read_text())
    wrong = disagreements(json.loads((FOLDER / "ours.json").read_text()), theirs["values"])
    if wrong:
        sys.exit(f"no ratios: the two disagree by more than {TOLERANCE} of the largest number on {', '.join(wrong)}")
    mine, sweep = ours(), peak(executable)
    print(f"\n{'':34}{'peer':>10}{'ours':>10}{'ratio':>8}")
    for name in CASES:
        theirs_took = theirs["seconds"][name]
        print(f"{name:34}{theirs_took:9.3f}s{mine[name]:9.3f}s{theirs_took / mine[name]:8.2f}")
    whole = theirs["peak_rss_mb"]
    print(f"{'peak memory (sweep, peer whole)':34}{whole:8.0f}MB{sweep:8.0f}MB{whole / sweep:8.2f}")


if __name__ == "__main__":
    main()
