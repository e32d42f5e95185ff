#!/usr/bin/env python3
"""The side of `transformers` in benches/compare.py: loading, forward passes, greedy generation with its cache of keys and values.

    benches/peer_transformers.py SIDE ROW FOLDER MODEL

benches/peer.py says what these are. Everything is f32 on the CPU. Needs transformers and torch.
"""

from peer import Row

import torch
from transformers import AutoModelForCausalLM


def main():
    row = Row()
    load = lambda: AutoModelForCausalLM.from_pretrained(row.model, dtype=torch.float32).eval()
    if row.name == "load":
        return row.run(load, lambda _: [])
    model, tokens = load(), torch.tensor(row.inputs["tokens"])
    with torch.no_grad():
        if row.name.startswith("forward"):
            apart = row.inputs["apart"]
            return row.run(lambda: model(tokens).logits, lambda logits: logits[:, -1, ::apart].flatten().tolist())
        new = row.inputs["new_tokens"]
        asked = dict(do_sample=False, max_new_tokens=new, min_new_tokens=new, use_cache=True, pad_token_id=0, eos_token_id=None)
        work = lambda: model.generate(tokens, attention_mask=torch.ones_like(tokens), **asked)
        row.run(work, lambda found: found[:, tokens.shape[1] :].flatten().tolist())


if __name__ == "__main__":
    main()
