"""Mistral 7B: LLaMA's blocks with a sliding window."""

from __future__ import annotations

from puna.families import llama
from puna.families.keys import Keys
from puna.spec import Dense, ModelSpec

MODEL_TYPES = ("mistral",)
names = llama.names


def read(keys: Keys) -> ModelSpec:
    """Read a Mistral config; a window of null means none, an absent one is the published 4096."""
    ffn = Dense(
        keys.count("intermediate_size"), keys.activation("hidden_act", default="silu"), "split"
    )
    return llama.read_body(
        keys,
        "mistral",
        ffn,
        context=131_072,
        kv_heads=8,
        window=keys.nullable_count("sliding_window", absent=4096),
    )
