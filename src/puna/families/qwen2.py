"""Qwen1.5, Qwen2 and Qwen2.5: LLaMA's blocks with biases where q, k and v are made."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_mixer, read_upper_windows
from puna.spec import ModelSpec

MODEL_TYPES = ("qwen2",)
names = llama.names


def read(keys: Keys) -> ModelSpec:
    """Read a Qwen2 config; a window serves the layers from `max_window_layers` upward."""
    keys.neutral("use_mrope", False)
    spec = llama.read_body(keys, "qwen2", llama.read_ffn(keys), context=32_768, kv_heads=32)
    windows = read_upper_windows(keys, len(spec.layers))
    return each_mixer(spec, lambda i, m: replace(m, qkv_bias=True, window=windows[i]))
