"""What the peers of benches/compare.py share: which row is asked for, how it is timed, and where its result goes.

A peer is started once for each row: `PEER.py SIDE ROW FOLDER MODEL [whole]`. `FOLDER/ROW.inputs.json` is what our side ran the row
on, and `FOLDER/ROW.SIDE.json` is written: seconds, what came out, and the share of the row that was run.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

# As in benches/engine/bench.rs: what takes longer is not run again, and no new repetition begins behind it.
LONG = 5.0
REPETITIONS = 5


def timed(work):
    """The seconds of each repetition, without a first one that is short enough to be left out, and the last result."""

    def once():
        begin = time.perf_counter()
        result = work()
        return time.perf_counter() - begin, result

    first, result = once()
    if first > LONG:
        return [first], result
    seconds, begin = [], time.perf_counter()
    while len(seconds) < REPETITIONS and (not seconds or time.perf_counter() - begin < LONG):
        del result
        took, result = once()
        seconds.append(took)
    return seconds, result


class Row:
    """The row that this process was asked for."""

    def __init__(self):
        if len(sys.argv) not in (5, 6):
            sys.exit(__doc__)
        self.side, self.name = sys.argv[1:3]
        self.folder, self.model = Path(sys.argv[3]), Path(sys.argv[4])
        self.whole, self.every = len(sys.argv) == 6, 1
        self.inputs = json.loads((self.folder / f"{self.name}.inputs.json").read_text())

    def some(self, sites, every):
        """Some of the sites of a sweep, in equal distances: each costs the same, a run of the whole model."""
        self.every = 1 if self.whole else every
        return sites[:: self.every]

    def run(self, work, values, share=1.0, without=None):
        """Times `work`, which is this share of the row, and keeps what `values` makes of its result, but not the values whose names
        end in `without`."""
        seconds, result = timed(work)
        found = {"seconds": seconds, "share": share, "every": self.every, "without": without, "values": values(result)}
        (self.folder / f"{self.name}.{self.side}.json").write_text(json.dumps(found))
