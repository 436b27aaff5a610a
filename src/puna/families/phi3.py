"""Phi-3, Phi-3.5 and Phi-4: q, k, v in one matrix, gate and up in another, and longrope."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_mixer
from puna.families.table import NameTable, Row
from puna.spec import ModelSpec

MODEL_TYPES = ("phi3",)

# Rows of both fused matrices stand in our order already.
_ROWS = tuple(
    Row(f"model.layers.{{i}}.{theirs}.weight", f"layers.{{i}}.{ours}.weight")
    for theirs, ours in (
        ("self_attn.qkv_proj", "attn.project.qkv"),
        ("self_attn.o_proj", "attn.out"),
        ("mlp.gate_up_proj", "ffn.gate_up"),
        ("mlp.down_proj", "ffn.down"),
    )
)


def read(keys: Keys) -> ModelSpec:
    """Read a Phi-3 config."""
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        keys.neutral(name, False)
    for name in ("full_attn_mod", "interpolate_factor"):
        keys.neutral(name, 1)
    spec = llama.read_body(
        keys,
        "phi3",
        llama.read_ffn(keys, gate="fused"),
        eps=1e-5,
        context=4096,
        original=4096,
        share=1.0,
    )
    window = keys.nullable_count("sliding_window", absent=None)
    return each_mixer(spec, lambda _, m: replace(m, qkv="fused", window=window))


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Phi-3 checkpoint."""
    return llama.table(spec, *_ROWS, *llama.NORM_ROWS, *llama.END_ROWS)
