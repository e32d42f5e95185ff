#!/usr/bin/env python3
"""Writes a model of llama.cpp's format in Hugging Face's files, in f32, so that peers and we read the same weights.

    benches/hugging_face_folder.py GGUF FOLDER

Needs transformers, torch and gguf.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    file, folder = Path(sys.argv[1]), sys.argv[2]
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # It was dequantised, but still calls itself quantised, and such a model is not saved.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


if __name__ == "__main__":
    main()
