#!/usr/bin/env python3
"""Puts peers' times and memory beside ours, row by row: each row runs in a process of its own, ours and then each peer's.

    benches/compare.py [--model FOLDER] [--rows PATTERN] [--again SIDE] [--whole] [--plot FILE] [SIDE=PYTHON ..]

SIDE is one of tl3 (TransformerLens 3), tl4 (TransformerLens 4), transformers and sae_lens, and PYTHON an interpreter that has it. Without a
model both sides work on GPT-2 small's shapes with random weights, which our side writes; a folder has Hugging Face's files, which both
sides read, and a file of llama.cpp is read by ours alone. `--dtype f16` or bf16 loads our side in half precision.

A row whose result is there is not run again, so the work can be stopped and continued; `--again ours` (or a peer, or all) runs it again. Of the
sites of a sweep a peer runs some, in equal distances, since each costs it one run of the whole model, and its time is that of all; `--whole`
runs all. No ratio is printed unless the numbers that came out agree. `--plot FILE.png` draws how ours grow.
Times are only comparable when nothing else ran on the machine.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Each side's script and the rows that it has.
SWEEPS = r"patch_.*|path_patch.*"
LENS = ("peer_transformer_lens.py", rf"load|forward_.*|run_with_cache_.*|eap_all_.*|eap_ig_5_.*|{SWEEPS}")
SIDES = {
    "tl3": LENS,
    "tl4": LENS,
    "transformers": ("peer_transformers.py", r"load|forward_\d.*|generate_.*"),
    "sae_lens": ("peer_sae_lens.py", r"sparse_encode_\d.*|sparse_decode_\d.*"),
}
# Of the largest number of an output: two orders of the same sums in f32, through all layers.
TOLERANCE = 1e-3
# What others wrote is built as for tests, so that little is compiled; our own code as it is released.
BUILD = {
    "CARGO_PROFILE_DEV_OPT_LEVEL": "3", "CARGO_PROFILE_DEV_DEBUG_ASSERTIONS": "false",
    "CARGO_PROFILE_DEV_OVERFLOW_CHECKS": "false", "CARGO_INCREMENTAL": "0",
}
# As the notebook kernel has it (docs/speed.md).
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824", "CANDLE_NUM_THREADS": "1"}


def apart(ours, theirs):
    """The largest difference of two outputs, as a share of the largest number in them; infinite where they are of other things."""
    if isinstance(ours, dict):
        if not isinstance(theirs, dict) or ours.keys() != theirs.keys():
            return math.inf
        ours, theirs = list(ours.values()), [theirs[name] for name in ours]
    if len(ours) != len(theirs) or not all(map(math.isfinite, [*ours, *theirs])):
        return math.inf
    largest = max(map(abs, [*ours, *theirs]), default=0)
    return max(abs(a - b) for a, b in zip(ours, theirs)) / largest if largest else 0.0


def run(command, environment, cwd=None):
    """Runs a command, and gives its peak in megabytes; none if it fails."""
    before = os.getcwd()
    os.chdir(cwd or before)
    pid = os.spawnve(os.P_NOWAIT, command[0], list(map(str, command)), environment)
    os.chdir(before)
    _, status, usage = os.wait4(pid, 0)
    return usage.ru_maxrss / 1024 if status == 0 else None


class Table:
    """The rows of one model."""

    def __init__(self, asked):
        self.asked, self.sides = asked, dict(side.split("=", 1) for side in asked.sides)
        if unknown := self.sides.keys() - SIDES.keys():
            sys.exit(f"there is no side {', '.join(unknown)}: {', '.join(SIDES)}")
        self.executable = self.built()
        model = asked.model and Path(asked.model).resolve()
        self.folder = TARGET / "compare" / (f"{model.stem if model else 'gpt2'}{'-' + asked.dtype if asked.dtype else ''}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = model or self.folder / "model"
        self.environment = dict(os.environ) | MEMORY
        if not self.model.exists():
            self.ours("WRITE", self.model)
        self.environment["CANDLE_LENS_BENCH_MODEL"] = str(self.model)
        self.environment["CANDLE_LENS_BENCH_CASES"] = str(self.folder)
        self.environment |= {"CANDLE_LENS_BENCH_DTYPE": asked.dtype} if asked.dtype else {}

    @staticmethod
    def built():
        command = ["cargo", "bench", "--profile", "dev", "--bench", "engine", "--no-run", "--message-format", "json"]
        environment = dict(os.environ) | BUILD
        built = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
        return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "engine")

    def ours(self, what, word):
        """Our program, asked for something; its peak."""
        peak = run([self.executable], self.environment | {f"CANDLE_LENS_BENCH_{what}": str(word)})
        return peak or sys.exit(f"{self.executable} failed at {what} {word}")

    def names(self):
        """The rows that the pattern chooses."""
        environment = self.environment | {"CANDLE_LENS_BENCH_LIST": "1"}
        listed = subprocess.run([self.executable], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return [name for name in listed.stdout.split() if re.fullmatch(self.asked.rows, name)]

    def found(self, row, side):
        """A result, unless it is not there or was left behind when the work was stopped, before its peak was known."""
        file = self.folder / f"{row}.{side}.json"
        result = json.loads(file.read_text()) if file.exists() else {}
        return result if "peak" in result else None

    def measure(self, row, side):
        """Runs a side of a row unless its result is there."""
        file = self.folder / f"{row}.{side}.json"
        if self.found(row, side) and self.asked.again not in (side, "all"):
            return
        file.unlink(missing_ok=True)
        if side == "ours":
            peak = self.ours("ROW", row)
        else:
            script = ROOT / "benches" / SIDES[side][0]
            words = [self.sides[side], script, side, row, self.folder, self.model, *(["whole"] if self.asked.whole else [])]
            peak = run(words, dict(os.environ), cwd=self.folder)
        if file.exists():
            result = json.loads(file.read_text()) | {"peak": peak}
            file.write_text(json.dumps(result))
            print(f"{row} {side}: {seconds(result):.4f} s, {peak:.0f} MB", flush=True)
        else:
            print(f"{row} {side}: it failed", flush=True)

    def cell(self, row, side, ours):
        """What a peer's side of a row says: its time, the ratio and its memory."""
        theirs = self.found(row, side)
        if theirs is None:
            return ""
        values, without = ours["values"], theirs["without"]
        if isinstance(values, dict):
            values = {name: value for name, value in values.items() if not (without and name.endswith(without))}
        else:
            values = values[:: theirs["every"]]
        difference = apart(values, theirs["values"])
        if not difference <= TOLERANCE:
            return f"disagrees by {difference:.1e}"
        mark = "~" if theirs["share"] < 1 else ""
        said = f"{mark}{short(seconds(theirs))}, {seconds(theirs) / seconds(ours):.2f} x, {theirs['peak']:,.0f} MB"
        return said + (f" ({without} not compared)" if without else "")

    def line(self, row):
        ours = self.found(row, "ours")
        if ours is None:
            return None
        cells = [row, f"{short(seconds(ours))}, {ours['peak']:,.0f} MB"]
        cells += [self.cell(row, side, ours) for side in self.sides]
        return f"| {' | '.join(cells)} |"


def seconds(result):
    """The median of the repetitions, of the whole row where a share of it was run."""
    return statistics.median(result["seconds"]) / result.get("share", 1.0)


def short(time):
    return f"{time:.3g} s" if time >= 0.1 else f"{1000 * time:.3g} ms"


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--model")
    words.add_argument("--dtype", choices=["f16", "bf16"])
    words.add_argument("--rows", default=".*", help="a pattern that the whole name of a row must match")
    words.add_argument("--again", help="the side that is run although its results are there, or all")
    words.add_argument("--whole", action="store_true")
    words.add_argument("--plot")
    words.add_argument("sides", nargs="*", metavar="SIDE=PYTHON")
    asked = words.parse_args()
    table = Table(asked)
    names = table.names()
    for row in names:
        table.measure(row, "ours")
        for side in table.sides:
            if re.fullmatch(SIDES[side][1], row):
                table.measure(row, side)
    print(f"\n| row | ours | {' | '.join(table.sides)} |\n|{'---|' * (2 + len(table.sides))}")
    print("\n".join(filter(None, map(table.line, names))))
    if asked.plot:
        table.ours("PLOT", Path(asked.plot).resolve())


if __name__ == "__main__":
    main()
