"""Mixtral: Mistral's attention, and eight experts of which a router picks two."""

from __future__ import annotations

from puna.families import llama
from puna.families.keys import MANY, Keys
from puna.families.table import NameTable, Row
from puna.spec import Dense, ModelSpec, MoE

MODEL_TYPES = ("mixtral",)

_EXPERT_ROWS = tuple(
    Row(
        f"model.layers.{{i}}.block_sparse_moe.experts.{{e}}.{theirs}.weight",
        f"layers.{{i}}.ffn.experts.{{e}}.{ours}.weight",
    )
    for theirs, ours in (("w1", "gate"), ("w2", "down"), ("w3", "up"))
)
_ROUTER = Row("model.layers.{i}.block_sparse_moe.gate.weight", "layers.{i}.ffn.router.weight")


def read(keys: Keys) -> ModelSpec:
    """Read a Mixtral config."""
    expert = Dense(
        keys.count("intermediate_size"), keys.activation("hidden_act", default="silu"), "split"
    )
    moe = MoE(
        keys.count("num_local_experts", "num_experts", default=8, most=MANY),
        keys.count("num_experts_per_tok", default=2),
        expert,
    )
    return llama.read_body(
        keys,
        "mixtral",
        moe,
        theta=1e6,
        eps=1e-5,
        context=131_072,
        kv_heads=8,
        window=keys.nullable_count("sliding_window", absent=None),
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Mixtral checkpoint."""
    ffn = spec.layers[0].ffn
    return NameTable(
        (*llama.ATTENTION_ROWS, _ROUTER, *_EXPERT_ROWS),
        layers=len(spec.layers),
        experts=ffn.experts if isinstance(ffn, MoE) else 0,
        prefix="model.",
        extra=llama.EXTRA,
    )
