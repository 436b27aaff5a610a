"""OLMo 2: a norm at the end of each half, and norms of queries and keys over all heads."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_layer
from puna.families.table import NameTable, Row
from puna.spec import ModelSpec, QKNorm

MODEL_TYPES = ("olmo2",)

_NORM_ROWS = (
    Row("model.layers.{i}.post_attention_layernorm.weight", "layers.{i}.attn_post_norm.weight"),
    Row("model.layers.{i}.post_feedforward_layernorm.weight", "layers.{i}.ffn_post_norm.weight"),
)


def read(keys: Keys) -> ModelSpec:
    """Read an OLMo 2 config."""
    spec = llama.read_body(
        keys,
        "olmo2",
        llama.read_ffn(keys),
        attention_bias=keys.switch("attention_bias", default=False),
        eps=1e-5,
    )
    norm = QKNorm(spec.layers[0].norm, over="all")
    return each_layer(
        spec, lambda _, x: replace(x, mixer=replace(x.mixer, qk_norm=norm), placement="post")
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of an OLMo 2 checkpoint."""
    rows = (*llama.PROJECTION_ROWS, *llama.QK_NORM_ROWS, *_NORM_ROWS, *llama.END_ROWS)
    return llama.table(spec, *rows, *llama.FFN_ROWS)
