#!/usr/bin/env python3
"""TransformerLens' side of benches/compare.py, of version 3 (HookedTransformer) or 4 (its bridge over transformers).

    benches/peer_transformer_lens.py SIDE ROW FOLDER MODEL [whole]

benches/peer.py says what these are. Everything is f32 on the CPU, with the weights as they are. Needs transformer_lens, torch and
transformers.
"""

import json

from peer import Row

import pandas
import torch
import transformer_lens
from transformer_lens import patching
from transformers import AutoModelForCausalLM

from transformer_lens_edges import answer_gap, edges

SITES = (
    "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "attn.hook_pattern", "hook_resid_pre", "hook_resid_mid",
    "hook_resid_post", "hook_attn_out", "hook_mlp_out", "mlp.hook_post",
)
# Of a real model: version 3 keeps a mask of `n_ctx` by `n_ctx` for each layer, and no row is longer.
LONGEST = 1024
# How far apart the sites of a sweep are that are run: in no step with the 15 positions, nor with 9 or 12 heads.
APART = {"resid_pre": 7, "head_out_all": 5, "head_out_by": 61, "pattern": 29, "path": 5}


def load(folder):
    if hasattr(transformer_lens, "TransformerBridge"):
        model = load_bridge(folder)
    elif json.loads((folder / "config.json").read_text())["model_type"] == "gpt2":
        model = load_gpt2(folder)
    else:
        model = load_other(folder)
    for weight in model.parameters():
        weight.requires_grad_(False)
    return model


def load_bridge(folder):
    made = transformer_lens.TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    # The names of version 3, by which the bridge's own tools patch too.
    made.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    return made


def load_other(folder):
    from transformer_lens import HookedTransformer, loading_from_pretrained as loading

    original = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cfg = loading.get_pretrained_model_config(str(folder), device="cpu", n_ctx=LONGEST)
    model = HookedTransformer(cfg)
    weights = loading.get_pretrained_state_dict(str(folder), cfg, original)
    model.load_and_process_state_dict(
        weights, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False,
    )
    return model


def load_gpt2(folder):
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    original = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
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


def gradients(model, case, sites):
    """The norms of the gradients at sites, of each prompt's own metric: of their sum, not of the mean."""
    norms, metric = {}, answer_gap(case["answers"])

    start = ("hook_embed", lambda x, hook: x.requires_grad_(True))

    def watch(name):
        # Of version 3 by the hook's own name, which is the bridge's for a point in version 4.
        def keep(gradient, hook):
            norms[name] = gradient.norm().item()
        return name, keep

    with model.hooks(fwd_hooks=[start], bwd_hooks=[watch(name) for name in sites]):
        (len(case["tokens"]) * metric(model(torch.tensor(case["tokens"])))).backward()
    return norms


def sites_of(row, model):
    """The sites of a sweep with the function that patches one, TransformerLens' name of the activation and how far apart."""
    layers, heads, length = model.cfg.n_layers, model.cfg.n_heads, len(row.inputs["clean"][0])
    by_head = [(i, j) for i in range(layers) for j in range(heads)]
    by_pos = [(i, p) for i in range(layers) for p in range(length)]
    kinds = {
        "patch_resid_pre": (by_pos, patching.layer_pos_patch_setter, "resid_pre", APART["resid_pre"]),
        "patch_head_out_all": (by_head, patching.layer_head_vector_patch_setter, "z", APART["head_out_all"]),
        "patch_head_out_by": (
            [(i, p, j) for i, p in by_pos for j in range(heads)], patching.layer_pos_head_vector_patch_setter, "z",
            APART["head_out_by"],
        ),
        "patch_pattern": (
            row.inputs.get("entries"), patching.layer_head_dest_src_pos_pattern_patch_setter, "pattern", APART["pattern"],
        ),
    }
    return next(kind for name, kind in kinds.items() if row.name.startswith(name))


def sweep(row, model):
    """The package's own sweep, over some of its sites."""
    patching.tqdm = lambda steps, **_: steps
    every, setter, point, apart = sites_of(row, model)
    sites = row.some(every, apart)
    clean, corrupted = torch.tensor(row.inputs["clean"]), torch.tensor(row.inputs["corrupted"])
    _, cache = model.run_with_cache(clean, names_filter=lambda name: name.endswith(f"hook_{point}"))
    table = pandas.DataFrame(sites, columns=[f"axis {number}" for number in range(len(sites[0]))])
    work = lambda: patching.generic_activation_patch(
        model, corrupted, cache, answer_gap(row.inputs["answers"]), setter, point, index_df=table,
    )
    row.run(work, lambda found: found.flatten().tolist(), len(sites) / len(every))


def paths(row, model):
    """Heads to the final residual stream, in a loop of our own: the package has no function for it.

    One run for each head: with the heads frozen and one patched, the logits are those of what the final stream then holds.
    """
    every = [(i, j) for i in range(model.cfg.n_layers) for j in range(model.cfg.n_heads)]
    sites = row.some(every, APART["path"])
    kept = lambda tokens: model.run_with_cache(torch.tensor(tokens), names_filter=lambda name: name.endswith("hook_z"))[1]
    clean, corrupted = kept(row.inputs["clean"]), kept(row.inputs["corrupted"])
    tokens, metric = torch.tensor(row.inputs["corrupted"]), answer_gap(row.inputs["answers"])

    def one(layer, head):
        def freeze(z, hook, name):
            z = corrupted[name].clone() if name == f"blocks.{layer}.attn.hook_z" else corrupted[name]
            if name == f"blocks.{layer}.attn.hook_z":
                z[:, :, head] = clean[name][:, :, head]
            return z

        names = [f"blocks.{number}.attn.hook_z" for number in range(model.cfg.n_layers)]
        hooks = [(name, lambda z, hook, name=name: freeze(z, hook, name)) for name in names]
        return metric(model.run_with_hooks(tokens, fwd_hooks=hooks)).item()

    row.run(lambda: [one(*site) for site in sites], list, len(sites) / len(every))


def main():
    row = Row()
    if row.name == "load":
        return row.run(lambda: load(row.model), lambda _: [])
    model = load(row.model)
    if row.name.startswith(("forward_backward", "eap")):
        if row.name.startswith("eap"):
            steps = int(row.name.split("_")[2]) if row.name.startswith("eap_ig") else None
            return row.run(lambda: edges(model, row.inputs, steps), dict)
        sites = [f"blocks.{layer}.{site}" for layer in range(model.cfg.n_layers) for site in SITES]
        if "points" not in row.name:
            sites = ["blocks.0.hook_resid_pre"]
        # The bridge's point there is what the MLP reads: its gradient lacks what passes the MLP by.
        without = "hook_resid_mid" if hasattr(transformer_lens, "TransformerBridge") else None
        keep = lambda norms: {name: norm for name, norm in norms.items() if not (without and name.endswith(without))}
        return row.run(lambda: gradients(model, row.inputs, sites), keep, without=without)
    with torch.no_grad():
        if row.name.startswith(("forward", "run_with_cache")):
            tokens, apart = torch.tensor(row.inputs["tokens"]), row.inputs["apart"]
            ends = lambda logits: logits[:, -1, ::apart].flatten().tolist()
            if row.name.startswith("forward"):
                return row.run(lambda: model(tokens), ends)
            return row.run(lambda: model.run_with_cache(tokens), lambda found: ends(found[0]))
        return paths(row, model) if row.name.startswith("path") else sweep(row, model)


if __name__ == "__main__":
    main()
