#!/usr/bin/env python3
"""TransformerLens' side of benches/compare.py: the work of our benches on the same model and the same tokens.

    benches/peer_transformer_lens.py FOLDER [REPEATS]

FOLDER holds `inputs.json`, which our side has written and which names the folder of the model; `theirs.json` is written
into it: the seconds of each case (the median of REPEATS, 5 by default; sweeps run once), what came out, and the peak
memory. Everything is f32 on the CPU. Needs transformer_lens 3 (4 removed HookedTransformer), torch and transformers.
"""

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig, loading_from_pretrained as loading, patching
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

SITES = (
    "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "attn.hook_pattern", "hook_resid_pre", "hook_resid_mid",
    "hook_resid_post", "hook_attn_out", "hook_mlp_out", "mlp.hook_post",
)


# Of a real model: TransformerLens keeps a mask of `n_ctx` by `n_ctx` for each layer, and no case is longer.
LONGEST = 1024


def load(folder):
    if json.loads((folder / "config.json").read_text())["model_type"] == "gpt2":
        model = load_gpt2(folder)
    else:
        original = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        cfg = loading.get_pretrained_model_config(str(folder), device="cpu", n_ctx=LONGEST)
        model = HookedTransformer(cfg)
        weights = loading.get_pretrained_state_dict(str(folder), cfg, original)
        model.load_and_process_state_dict(
            weights, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False,
        )
    for weight in model.parameters():
        weight.requires_grad_(False)
    return model


def load_gpt2(folder):
    original = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    shape = original.config
    cfg = HookedTransformerConfig(
        n_layers=shape.n_layer, d_model=shape.n_embd, n_heads=shape.n_head, d_head=shape.n_embd // shape.n_head,
        d_mlp=4 * shape.n_embd, n_ctx=shape.n_positions, d_vocab=shape.vocab_size, eps=shape.layer_norm_epsilon,
        act_fn="gelu_new", normalization_type="LN", device="cpu",
    )
    model = HookedTransformer(cfg)
    # The masks and biases that a state dict of the layout lacks are the model's own.
    model.load_state_dict(convert_gpt2_weights(original, cfg), strict=False)
    return model


def answer_gap(answers):
    """The mean over prompts of right minus wrong logit at the last position."""
    right, wrong = torch.tensor(answers).T

    def metric(logits):
        end = logits[:, -1]
        row = torch.arange(len(end))
        return (end[row, right] - end[row, wrong]).mean()

    return metric


def gradients(model, case):
    """The norms of the gradients at every site of every block, of each prompt's own metric: of their sum, not of the mean."""
    norms, metric = {}, answer_gap(case["answers"])

    def keep(gradient, hook):
        norms[hook.name] = gradient.norm().item()

    names = [f"blocks.{layer}.{site}" for layer in range(model.cfg.n_layers) for site in SITES]
    start = ("hook_embed", lambda x, hook: x.requires_grad_(True))
    with model.hooks(fwd_hooks=[start], bwd_hooks=[(name, keep) for name in names]):
        (len(case["tokens"]) * metric(model(torch.tensor(case["tokens"])))).backward()
    return norms


def edges(model, case):
    """Edge attribution patching: what each writer writes corrupted minus clean, times the clean run's gradient at each reader."""
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    model.set_use_attn_result(True)
    model.set_use_split_qkv_input(True)
    model.set_use_hook_mlp_in(True)
    writes = ["hook_embed"] + [f"blocks.{i}.{site}" for i in layers for site in ("attn.hook_result", "hook_mlp_out")]
    reads = [f"blocks.{i}.{site}" for i in layers for site in ("hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in")]
    reads.append(f"blocks.{model.cfg.n_layers - 1}.hook_resid_post")
    written, slopes = {}, {}

    def write(sign):
        def add(x, hook):
            written[hook.name] = written.get(hook.name, 0) + sign * x.detach()
        return add

    with torch.no_grad(), model.hooks(fwd_hooks=[(name, write(1)) for name in writes]):
        model(torch.tensor(case["corrupted"]))

    def slope(gradient, hook):
        slopes[hook.name] = gradient.detach()

    start = ("hook_embed", lambda x, hook: x.requires_grad_(True))
    forward = [start] + [(name, write(-1)) for name in writes]
    with model.hooks(fwd_hooks=forward, bwd_hooks=[(name, slope) for name in reads]):
        answer_gap(case["answers"])(model(torch.tensor(case["clean"]))).backward()
    model.set_use_attn_result(False)
    model.set_use_split_qkv_input(False)
    model.set_use_hook_mlp_in(False)

    # Each writer as `[batch, pos, d_model]` by name, with how many sublayers are before it.
    writers = [("input", 0, written["hook_embed"])]
    for i in layers:
        result = written[f"blocks.{i}.attn.hook_result"]
        writers += [(f"a{i}.h{h}", 2 * i + 1, result[:, :, h]) for h in heads]
        writers.append((f"m{i}", 2 * i + 2, written[f"blocks.{i}.hook_mlp_out"]))
    readers = []
    for i in layers:
        for part in "qkv":
            slope_of = slopes[f"blocks.{i}.hook_{part}_input"]
            readers += [(f"a{i}.h{h}<{part}>", 2 * i, slope_of[:, :, h]) for h in heads]
        readers.append((f"m{i}", 2 * i + 1, slopes[f"blocks.{i}.hook_mlp_in"]))
    readers.append(("logits", 2 * model.cfg.n_layers, slopes[reads[-1]]))
    table = torch.stack([x for _, _, x in writers]).flatten(1) @ torch.stack([x for _, _, x in readers]).flatten(1).T
    scores = {}
    for i, (source, written_at, _) in enumerate(writers):
        for j, (target, read_at, _) in enumerate(readers):
            if written_at <= read_at:
                scores[f"{source}->{target}"] = table[i, j].item()
    return scores


class Report:
    def __init__(self, repeats):
        self.repeats, self.seconds, self.values = repeats, {}, {}

    def case(self, name, work, repeats=None, values=None):
        """Times `work`, and keeps what `values` makes of its result."""
        times = []
        result = work() if repeats is None else None  # a first run that does not count, except of sweeps
        for _ in range(repeats or self.repeats):
            begin = time.perf_counter()
            result = work()
            times.append(time.perf_counter() - begin)
        self.seconds[name] = statistics.median(times)
        if values:
            kind, made = values
            self.values[kind] = made(result)
        print(f"{name} {self.seconds[name]:.4f} s", flush=True)
        return result


def sweeps(report, model, inputs):
    flat = lambda result: result.flatten().tolist()
    layers, heads = model.cfg.n_layers, model.cfg.n_layers * model.cfg.n_heads
    for name, ending in (("patch", f"{layers}x15_b8"), ("patch_from_10", f"{layers}x15_b8_from_10")):
        case = inputs[name]
        corrupted, metric = torch.tensor(case["corrupted"]), answer_gap(case["answers"])
        _, cache = model.run_with_cache(torch.tensor(case["clean"]))
        stream = lambda: patching.get_act_patch_resid_pre(model, corrupted, cache, metric)
        report.case(f"patch_resid_pre_{ending}", stream, 1, (f"{name}_resid_pre", flat))
        if name == "patch":
            out = lambda: patching.get_act_patch_attn_head_out_all_pos(model, corrupted, cache, metric)
            report.case(f"patch_head_out_all_pos_{heads}_b8", out, 1, ("patch_head_out", flat))


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    folder, report = Path(sys.argv[1]), Report(int(sys.argv[2]) if len(sys.argv) == 3 else 5)
    inputs = json.loads((folder / "inputs.json").read_text())
    model = report.case("load", lambda: load(Path(inputs["model"])))
    patching.tqdm = lambda steps, **_: steps
    apart = inputs["logits_apart"]
    with torch.no_grad():
        for shape in ("8x15", "1x15", "1x1024"):
            tokens = torch.tensor(inputs[f"forward_{shape}"]["tokens"])
            few = lambda logits: logits[:, -1, ::apart].flatten().tolist()
            report.case(f"forward_{shape}", lambda: model(tokens), values=(f"forward_{shape}", few))
            if shape != "1x15":
                report.case(f"run_with_cache_{shape}", lambda: model.run_with_cache(tokens))
        sweeps(report, model, inputs)
    if "gradients" in inputs:
        name = f"forward_backward_{len(SITES) * model.cfg.n_layers}_points_8x15"
        report.case(name, lambda: gradients(model, inputs["gradients"]), values=("gradients", dict))
    if "edges" in inputs:
        report.case("eap_all_edges_8x15", lambda: edges(model, inputs["edges"]), values=("edges", dict))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    content = {"seconds": report.seconds, "values": report.values, "peak_rss_mb": peak}
    (folder / "theirs.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
