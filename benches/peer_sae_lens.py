#!/usr/bin/env python3
"""SAELens' side of benches/compare.py: a dictionary of the largest 24 of 24,576 features.

    benches/peer_sae_lens.py SIDE ROW FOLDER MODEL

benches/peer.py says what these are (no model is read). The dictionary is the one that our side saved, in SAELens' own form. Everything is f32 on
the CPU. Needs sae_lens.
"""

from peer import Row

import torch
from sae_lens import SAE
from safetensors.torch import load_file


def main():
    row = Row()
    dictionary = SAE.load_from_disk(row.inputs["dictionary"], device="cpu")
    x, apart = load_file(row.inputs["activations"])["x"], row.inputs["apart"]
    few = lambda found: found.flatten()[::apart].tolist()
    with torch.no_grad():
        if "encode" in row.name:
            return row.run(lambda: dictionary.encode(x), few)
        acts = dictionary.encode(x)
        row.run(lambda: dictionary.decode(acts), few)


if __name__ == "__main__":
    main()
