#!/usr/bin/env python3
"""Writes random weights of Llama 3.2 1B's shapes in bf16, for the times and the memory of a model that is large beside 8 GiB.

    benches/random_llama.py FOLDER

`benches/compare.py --model FOLDER [--dtype bf16]` measures it. Needs numpy.
"""

import json
import sys
from pathlib import Path

import numpy

SHAPES = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128_256, "hidden_size": 2048,
    "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "hidden_act": "silu", "attention_bias": False,
    "mlp_bias": False, "tie_word_embeddings": True, "bos_token_id": 128_000, "eos_token_id": 128_001, "torch_dtype": "bfloat16",
}


def tensors():
    """Names and shapes of the weights."""
    width, neurons, keys = 2048, 8192, 8 * 64
    yield "model.embed_tokens.weight", (SHAPES["vocab_size"], width)
    for layer in range(SHAPES["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        for name, rows in [("q", width), ("k", keys), ("v", keys), ("o", width)]:
            yield f"{block}.self_attn.{name}_proj.weight", (rows, width)
        yield f"{block}.mlp.gate_proj.weight", (neurons, width)
        yield f"{block}.mlp.up_proj.weight", (neurons, width)
        yield f"{block}.mlp.down_proj.weight", (width, neurons)
        yield f"{block}.input_layernorm.weight", (width,)
        yield f"{block}.post_attention_layernorm.weight", (width,)
    yield "model.norm.weight", (width,)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPES, indent=2))
    header, end = {}, 0
    for name, shape in tensors():
        begin, end = end, end + 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    words = json.dumps(header).encode()
    random = numpy.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for _, shape in tensors():
            one = len(shape) == 1
            values = numpy.ones(shape, "f4") if one else 0.02 * random.standard_normal(shape, "f4")
            # The upper half of an f32 is a bf16.
            file.write((values.view("u4") >> 16).astype("u2").tobytes())


if __name__ == "__main__":
    main()
