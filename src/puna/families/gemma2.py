"""Gemma 2: norms around each half, capped scores and logits, a window in every other layer."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.gemma import read_gemma
from puna.families.keys import Keys
from puna.families.layers import each_layer, read_windows
from puna.families.table import NameTable, Row
from puna.spec import ModelSpec

MODEL_TYPES = ("gemma2",)

NORM_ROWS = tuple(
    Row(f"model.layers.{{i}}.{theirs}_layernorm.weight", f"layers.{{i}}.{ours}_norm.weight")
    for theirs, ours in (
        ("input", "attn"),
        ("post_attention", "attn_post"),
        ("pre_feedforward", "ffn"),
        ("post_feedforward", "ffn_post"),
    )
)


def read(keys: Keys) -> ModelSpec:
    """Read a Gemma 2 config; the first layer has the window, the second has none, and so on."""
    spec = read_gemma(keys, "gemma2", kv_heads=4)
    window = keys.nullable_count("sliding_window", absent=4096)
    keys.neutral("sliding_window_size", window)  # a second spelling in the first files
    windows = read_windows(keys, len(spec.layers), window, lambda i: i % 2 == 0)
    scale = keys.number("query_pre_attn_scalar", default=256) ** -0.5
    cap = keys.nullable_number("attn_logit_softcapping", absent=50.0)
    spec = each_layer(
        spec,
        lambda i, x: replace(
            x,
            mixer=replace(x.mixer, scale=scale, softcap=cap, window=windows[i]),
            placement="sandwich",
        ),
    )
    final = keys.nullable_number("final_logit_softcapping", absent=30.0)
    return replace(spec, head=replace(spec.head, softcap=final))


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Gemma 2 checkpoint."""
    return llama.table(spec, *llama.PROJECTION_ROWS, *NORM_ROWS, *llama.END_ROWS, *llama.FFN_ROWS)
