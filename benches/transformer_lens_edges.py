"""Scores of edges with TransformerLens, in a loop of our own: edge attribution patching, and along a path of embeddings."""

import torch


def answer_gap(answers):
    """The mean over prompts of right minus wrong logit at the last position."""
    right, wrong = torch.tensor(answers).T

    def metric(logits):
        end = logits[:, -1]
        row = torch.arange(len(end))
        return (end[row, right] - end[row, wrong]).mean()

    return metric


def edges(model, case, steps=None):
    """What each writer writes corrupted minus clean, times the gradient at each reader: the clean run's, or with steps the mean of
    runs whose embeddings lie between the corrupted and the clean ones, at 0, 1/steps, .. of the way."""
    layers = range(model.cfg.n_layers)
    switches = (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_hook_mlp_in)
    for switch in switches:
        switch(True)
    writes = ["hook_embed"] + [f"blocks.{i}.{site}" for i in layers for site in ("attn.hook_result", "hook_mlp_out")]
    reads = [f"blocks.{i}.{site}" for i in layers for site in ("hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in")]
    reads.append(f"blocks.{model.cfg.n_layers - 1}.hook_resid_post")
    written, slopes, embedded = {}, {}, {}

    def write(name, sign):
        def add(x, hook):
            written[name] = written.get(name, 0) + sign * x.detach()
            if name == "hook_embed":
                embedded[sign] = x.detach()
        return name, add

    def slope(name):
        def add(gradient, hook):
            slopes[name] = slopes.get(name, 0) + gradient.detach() / (steps or 1)
        return name, add

    with torch.no_grad(), model.hooks(fwd_hooks=[write(name, 1) for name in writes]):
        model(torch.tensor(case["corrupted"]))
    clean, metric = torch.tensor(case["clean"]), answer_gap(case["answers"])
    backward = [slope(name) for name in reads]
    if steps is None:
        start = ("hook_embed", lambda x, hook: x.requires_grad_(True))
        with model.hooks(fwd_hooks=[start] + [write(name, -1) for name in writes], bwd_hooks=backward):
            metric(model(clean)).backward()
    else:
        with torch.no_grad(), model.hooks(fwd_hooks=[write(name, -1) for name in writes]):
            model(clean)
        for step in range(steps):
            between = embedded[1] + step / steps * (embedded[-1] - embedded[1])
            start = ("hook_embed", lambda x, hook: between.clone().requires_grad_(True))
            with model.hooks(fwd_hooks=[start], bwd_hooks=backward):
                metric(model(clean)).backward()
    for switch in switches:
        switch(False)
    return scores(model, written, slopes, reads)


def scores(model, written, slopes, reads):
    """The score of every edge by its name."""
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
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
    return {
        f"{source}->{target}": table[i, j].item()
        for i, (source, written_at, _) in enumerate(writers)
        for j, (target, read_at, _) in enumerate(readers)
        if written_at <= read_at
    }
