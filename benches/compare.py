#!/usr/bin/env python3
"""Puts TransformerLens' times and memory beside ours: one run of each on the same machine, with the ratios.

    benches/compare.py [PYTHON [MODEL [GGUF]]]

PYTHON is an interpreter that has transformer_lens 3 (benches/peer_transformer_lens.py says what else). MODEL is the folder
of a real model in Hugging Face's files, which both sides read; without one, both work on GPT-2 small's shapes with random
weights. GGUF is the same model as a file of llama.cpp, which only we read: how long that takes is printed too.

Our benches write the tokens and what came out, and the model where it is not given; the peer does the same work on the same
files. No ratio is printed unless every output agrees. Ours are the medians of `cargo bench --bench engine`, which has the
same names. Two times within one column are only comparable when nothing else ran on the machine.
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
# Of the largest number of an output: two orders of the same sums in f32, through all layers.
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
        print(f"{name:36}{len(ours[name]):8} numbers, apart by {difference:.1e} of the largest")
    return [name for name, difference in differences.items() if not difference <= TOLERANCE]


class Ours:
    """Our compiled benchmark, run on a model."""

    def __init__(self, model):
        self.environment = dict(os.environ) | ({"CANDLE_LENS_BENCH_MODEL": str(model)} if model else {})
        built = subprocess.run(
            ["cargo", "bench", "--bench", "engine", "--no-run", "--message-format", "json"],
            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
        )
        messages = [json.loads(line) for line in built.stdout.splitlines()]
        found = (m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "engine")
        self.executable = next(found)

    def write(self):
        """Inputs and outputs, and the model where none is given."""
        subprocess.run([self.executable], env=self.environment | {"CANDLE_LENS_BENCH_CASES": str(FOLDER)}, check=True)

    def seconds(self, names):
        chosen = "|".join(f"^{name}$" for name in names)
        command = ["cargo", "bench", "--bench", "engine", "--", chosen]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True)
        found = {}
        for name in names:
            estimates = ROOT / "target" / "criterion" / name / "new" / "estimates.json"
            found[name] = json.loads(estimates.read_text())["median"]["point_estimate"] / 1e9
        return found

    def peak(self, name):
        """The megabytes of one case at their peak, in a process of its own."""
        arguments = [self.executable, "--test", f"^{name}$"]
        pid = os.spawnve(os.P_NOWAIT, self.executable, arguments, self.environment)
        _, status, usage = os.wait4(pid, 0)
        if status != 0:
            sys.exit(f"{name} by itself ended with status {status}")
        return usage.ru_maxrss / 1024


def cases(inputs, model):
    """The names of what is timed, and among them that of the sweep whose memory is measured."""
    layers, heads = inputs["layers"], inputs["layers"] * inputs["heads"]
    sweep = f"patch_resid_pre_{layers}x15_b8"
    names = [
        "forward_8x15", "run_with_cache_8x15", "forward_1x15", "forward_1x1024", "run_with_cache_1x1024",
        sweep, f"{sweep}_from_10", f"patch_head_out_all_pos_{heads}_b8",
    ]
    if model:
        return ["load", *names], sweep
    return [*names, f"forward_backward_{11 * layers}_points_8x15", "eap_all_edges_8x15"], sweep


def main():
    if len(sys.argv) > 4:
        sys.exit(__doc__)
    python, model, gguf = (sys.argv[1:] + [None] * 3)[:3]
    model, gguf = model and Path(model).resolve(), gguf and Path(gguf).resolve()
    ours = Ours(model)
    ours.write()
    subprocess.run([python or sys.executable, PEER, FOLDER], check=True)
    theirs = json.loads((FOLDER / "theirs.json").read_text())
    wrong = disagreements(json.loads((FOLDER / "ours.json").read_text()), theirs["values"])
    if wrong:
        sys.exit(f"no ratios: the two disagree by more than {TOLERANCE} of the largest number on {', '.join(wrong)}")
    names, sweep = cases(json.loads((FOLDER / "inputs.json").read_text()), model)
    mine, memory = ours.seconds(names), ours.peak(sweep)
    print(f"\n{'':36}{'peer':>10}{'ours':>10}{'ratio':>8}")
    for name in names:
        theirs_took = theirs["seconds"][name]
        print(f"{name:36}{theirs_took:9.3f}s{mine[name]:9.3f}s{theirs_took / mine[name]:8.2f}")
    whole = theirs["peak_rss_mb"]
    print(f"{'peak memory (sweep, peer whole)':36}{whole:8.0f}MB{memory:8.0f}MB{whole / memory:8.2f}")
    if model:
        print(f"{'peak memory (load, ours alone)':36}{'':10}{ours.peak('load'):8.0f}MB")
    if gguf:
        of_file = Ours(gguf)
        print(f"{'load of the GGUF file':36}{'':10}{of_file.seconds(['load'])['load']:9.3f}s")
        print(f"{'peak memory (its load)':36}{'':10}{of_file.peak('load'):8.0f}MB")


if __name__ == "__main__":
    main()
