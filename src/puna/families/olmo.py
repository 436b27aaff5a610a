"""OLMo 1: norms without weights, and projections that may be clipped."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_mixer
from puna.spec import ModelSpec, Norm

MODEL_TYPES = ("olmo",)
names = llama.names


def read(keys: Keys) -> ModelSpec:
    """Read an OLMo config."""
    spec = llama.read_body(
        keys,
        "olmo",
        llama.read_ffn(keys),
        norm=Norm("layer", 1e-5, gain="none"),
        attention_bias=keys.switch("attention_bias", default=False),
    )
    clip = keys.nullable_number("clip_qkv", absent=None)
    return each_mixer(spec, lambda _, m: replace(m, clip=clip))
