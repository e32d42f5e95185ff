#!/usr/bin/env python3
"""circuit-tracer's side of benches/compare_graphs.py: the attribution graphs of our prompts, on the same model and dictionaries.

    benches/peer_circuit_tracer.py FOLDER [PROMPTS]

FOLDER holds `inputs.json`, `model/` and `dictionaries/`, which our side has written; `theirs.json` is written into it: the seconds of each
prompt, how many features are active, and the edges that `ours.json` has, where that is there. Everything
is f32 on the CPU, on two threads, in batches as circuit-tracer makes them. Needs circuit-tracer 0.5.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
from circuit_tracer.attribution.attribute import attribute
from circuit_tracer.graph import prune_graph
from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
from circuit_tracer.utils.hf_utils import load_transcoder_from_hub
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

TINY = Path(__file__).resolve().parents[1] / "src/storage/tiny"


def load(folder):
    hf = GPT2LMHeadModel.from_pretrained(folder / "model", dtype=torch.float32)
    c = hf.config
    cfg = HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, n_heads=c.n_head, d_head=c.n_embd // c.n_head,
        d_mlp=4 * c.n_embd, d_vocab=c.vocab_size, act_fn="gelu_new", normalization_type="LN", eps=c.layer_norm_epsilon,
        model_name="random", device="cpu", dtype=torch.float32,
    )
    # Only words are decoded with it: the model's vocabulary is larger.
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(TINY / "tokenizer.json"), bos_token=end, eos_token=end, pad_token=end, unk_token=end
    )
    with tempfile.TemporaryDirectory() as place:
        tokenizer.save_pretrained(place)
        made = TransformerLensReplacementModel(cfg, tokenizer=AutoTokenizer.from_pretrained(place), move_to_device=False)
    made.load_and_process_state_dict(
        convert_gpt2_weights(hf, made.cfg), fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )
    transcoders, _ = load_transcoder_from_hub(
        str((folder / "dictionaries").resolve()), device=torch.device("cpu"), dtype=torch.float32, lazy_encoder=False, lazy_decoder=False
    )
    made._configure_replacement_model(transcoders)
    return made


def apart(graph, edges):
    """The largest difference between our edges and the graph's, and how many there are."""
    chosen = graph.active_features[graph.selected_features].tolist()
    features = {tuple(at): number for number, at in enumerate(chosen)}
    layers, positions, count = graph.cfg.n_layers, len(graph.input_tokens), len(features)
    errors, tokens = count, count + layers * positions
    targets = tokens + positions

    def place(node):
        kind, layer, pos, index = node
        return {
            "feature": lambda: features[(layer, pos, index)], "error": lambda: errors + layer * positions + pos,
            "token": lambda: tokens + pos, "target": lambda: targets + index,
        }[kind]()

    ours = torch.tensor([weight for _, _, weight in edges])
    rows = torch.tensor([place(target) for _, target, _ in edges])
    columns = torch.tensor([place(source) for source, _, _ in edges])
    theirs = graph.adjacency_matrix[rows, columns]
    return {"edges": len(edges), "apart": (ours - theirs).abs().max().item(), "largest": theirs.abs().max().item()}


def main():
    folder = Path(sys.argv[1])
    inputs = json.loads((folder / "inputs.json").read_text())
    prompts = inputs["prompts"][: int(sys.argv[2])] if len(sys.argv) > 2 else inputs["prompts"]
    torch.set_num_threads(2)
    start = time.time()
    made = load(folder)
    loaded = time.time() - start
    ours = folder / "ours.json"
    ours = json.loads(ours.read_text())["prompts"] if ours.exists() else []
    found = []
    for number, prompt in enumerate(prompts):
        start = time.time()
        graph = attribute(torch.tensor(prompt), made, attribution_targets=torch.tensor(inputs["targets"]))
        seconds = time.time() - start
        start = time.time()
        pruned = prune_graph(graph, 0.8, 0.98)
        pruning = time.time() - start
        kept = int(pruned.node_mask[: len(graph.selected_features)].sum())
        result = {"seconds": seconds, "pruning": pruning, "features": len(graph.selected_features), "pruned": kept}
        if number < len(ours):
            result |= apart(graph, ours[number]["edges"])
        print(result, flush=True)
        found.append(result)
    (folder / "theirs.json").write_text(json.dumps({"load": loaded, "prompts": found}))


if __name__ == "__main__":
    main()
