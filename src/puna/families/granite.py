"""Granite 3: LLaMA's blocks, with a factor at every place where one can stand."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_layer
from puna.spec import Embed, ModelSpec

MODEL_TYPES = ("granite",)
names = llama.names


def read(keys: Keys) -> ModelSpec:
    """Read a Granite config; the attention multiplier stands for 1/√head_dim."""
    spec = llama.read_body(
        keys,
        "granite",
        llama.read_ffn(keys, bias=keys.switch("mlp_bias", default=False)),
        attention_bias=keys.switch("attention_bias", default=False),
    )
    scores = keys.number("attention_multiplier", default=1.0)
    residual = keys.number("residual_multiplier", default=1.0)
    spec = each_layer(
        spec, lambda _, x: replace(x, mixer=replace(x.mixer, scale=scores), scale=residual)
    )
    embed = Embed(scale=keys.number("embedding_multiplier", default=1.0))
    head = replace(spec.head, scale=1 / keys.number("logits_scaling", default=1.0))
    return replace(spec, embed=embed, head=head)
