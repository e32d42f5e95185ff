#!/usr/bin/env python3
"""Puts circuit-tracer's time and memory beside ours: the attribution graphs of 8 prompts, one side after the other.

    benches/compare_graphs.py PYTHON [PROMPTS]

PYTHON is an interpreter that has circuit-tracer 0.5. Both sides work on the model, the dictionaries and the prompts that
`benches/feature_graphs.rs` writes into target/compare_graphs (2.4 GB). PROMPTS is how many of the 8 prompts are taken; circuit-tracer takes
minutes for each. Wall and processor time of whole processes and their peak memory are printed, and how long a prompt takes
without loading the model (our time includes reading dictionaries, which circuit-tracer has loaded before). Edges are compared first: no
ratio is printed where one differs by more than 0.0001.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "compare_graphs"
PEER = ROOT / "benches" / "peer_circuit_tracer.py"
# Sums of some thousand products in f32, of numbers below 100.
TOLERANCE = 1e-4


def executable():
    built = subprocess.run(
        ["cargo", "bench", "--profile", "dev", "--bench", "feature_graphs", "--no-run", "--message-format", "json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "feature_graphs")


def measured(command, environment):
    """Wall time, processor time and peak memory in megabytes of a process."""
    start = time.time()
    pid = os.spawnve(os.P_NOWAIT, command[0], command, environment)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} ended with status {status}")
    return time.time() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    python, prompts = (sys.argv[1:] + [None])[:2]
    ours = executable()
    # As the notebook kernel has it (docs/speed.md).
    memory = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824", "CANDLE_NUM_THREADS": "1"}
    environment = dict(os.environ) | memory
    if not (FOLDER / "inputs.json").exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run([ours], env=environment | {"CANDLE_LENS_BENCH_CASES": str(FOLDER)}, check=True)
    work = {"CANDLE_LENS_BENCH_GRAPHS": str(FOLDER)} | ({"CANDLE_LENS_BENCH_PROMPTS": prompts} if prompts else {})
    mine = measured([ours], environment | work)
    theirs = measured([python, "-P", str(PEER), str(FOLDER), *([prompts] if prompts else [])], dict(os.environ))
    results = [json.loads((FOLDER / name).read_text())["prompts"] for name in ("ours.json", "theirs.json")]
    wrong = [case for case in results[1] if not case["apart"] <= TOLERANCE or case["edges"] == 0]
    counts = [[case["features"] for case in side] for side in results]
    if wrong or counts[0] != counts[1]:
        sys.exit(f"no ratios: the two disagree on {len(wrong)} prompts; active features {counts}")
    largest = max(case["apart"] for case in results[1])
    print(f"edges differ by at most {largest:.1e}; features explained: {counts[0]}; load {os.getloadavg()[0]:.1f}")
    rows = [(name, *[sum(case[key] for case in side) for side in results]) for name, key in
            (("graphs, without loading", "seconds"), ("pruning", "pruning"))]
    rows += [("the whole process", mine[0], theirs[0]), ("processor time", mine[1], theirs[1])]
    print(f"{'':28}{'peer':>10}{'ours':>10}{'ratio':>8}")
    for name, own, other in rows:
        print(f"{name:28}{other:9.1f}s{own:9.1f}s{other / own:8.2f}")
    print(f"{'peak memory':28}{theirs[2]:8.0f}MB{mine[2]:8.0f}MB{theirs[2] / mine[2]:8.2f}")


if __name__ == "__main__":
    main()
