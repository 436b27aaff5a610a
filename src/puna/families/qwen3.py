"""Qwen3: norms of queries and keys over each head, and no biases."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_mixer, read_upper_windows
from puna.families.table import NameTable
from puna.spec import ModelSpec, QKNorm

MODEL_TYPES = ("qwen3",)


def read(keys: Keys) -> ModelSpec:
    """Read a Qwen3 config; a window serves the layers from `max_window_layers` upward."""
    spec = llama.read_body(
        keys,
        "qwen3",
        llama.read_ffn(keys),
        attention_bias=keys.switch("attention_bias", default=False),
        context=32_768,
        kv_heads=32,
        head_dim=128,
    )
    windows = read_upper_windows(keys, len(spec.layers))
    norm = QKNorm(spec.layers[0].norm, over="head")
    return each_mixer(spec, lambda i, m: replace(m, qk_norm=norm, window=windows[i]))


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Qwen3 checkpoint."""
    return llama.table(spec, *llama.ATTENTION_ROWS, *llama.QK_NORM_ROWS, *llama.FFN_ROWS)
