#!/usr/bin/env python3
"""Writes random weights of Llama 3.2 1B's shapes in bf16, for the times and the memory of a model that is large beside 8 GiB.

    benches/random_llama.py FOLDER

`benches/compare.py --model FOLDER [--dtype f16]` measures it. Needs transformers and torch.
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    shapes = LlamaConfig(
        vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=500_000.0,
        tie_word_embeddings=True, bos_token_id=128_000, eos_token_id=128_001, dtype="bfloat16",
    )
    LlamaForCausalLM(shapes).save_pretrained(sys.argv[1])


if __name__ == "__main__":
    main()
