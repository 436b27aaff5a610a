"""Gemma 1: tied and scaled embeddings, and norms that multiply by one plus their weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from puna.families import llama
from puna.families.keys import Keys
from puna.spec import Dense, Embed, ModelSpec, Norm

MODEL_TYPES = ("gemma",)
names = llama.names


def read(keys: Keys) -> ModelSpec:
    """Read a Gemma config."""
    return read_gemma(keys, "gemma", kv_heads=16)


def read_gemma(keys: Keys, family: str, **defaults: Any) -> ModelSpec:
    """Read what all Gemmas share; `defaults` are those of `llama.read_body`."""
    keys.neutral("use_bidirectional_attention", False)
    ffn = Dense(keys.count("intermediate_size"), _activation(keys), "split")
    spec = llama.read_body(
        keys,
        family,
        ffn,
        norm=Norm("rms", keys.number("rms_norm_eps", default=1e-6), gain="one_plus"),
        attention_bias=keys.switch("attention_bias", default=False),
        tied=True,
        **{"context": 8192, "head_dim": 256, **defaults},
    )
    return replace(spec, embed=Embed(scale=spec.width**0.5))


def _activation(keys: Keys) -> Any:
    """Return the tanh form for the `gelu` that the first files say: the models were trained so."""
    said = keys.take("hidden_act", default=None)
    default = "gelu_pytorch_tanh" if said in (None, "gelu") else said
    return keys.activation("hidden_activation", default=default)
