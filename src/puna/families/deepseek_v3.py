"""DeepSeek-V3 and R1: V2's blocks, sigmoid scores, and a correction for picking that balances."""

from __future__ import annotations

from dataclasses import replace

from puna.families import latent
from puna.families.keys import Keys
from puna.spec import ModelSpec, Router

MODEL_TYPES = ("deepseek_v3",)
names = latent.names

_DEFAULTS = latent.Defaults(
    vocab=129_280,
    width=7168,
    ffn=18_432,
    expert=2048,
    layers=61,
    heads=128,
    context=4096,
    experts=256,
    shared=1,
    picked=8,
    dense=3,
)


def read(keys: Keys) -> ModelSpec:
    """Read a DeepSeek-V3 config."""
    ahead = keys.index("num_nextn_predict_layers", "num_mtp_layers", default=1)
    spec = latent.read_body(
        keys,
        "deepseek_v3",
        _DEFAULTS,
        _router,
        interleaved=keys.switch("rope_interleave", default=True),
    )
    return replace(spec, extra_layers=ahead)


def _router(keys: Keys) -> Router:
    keys.neutral("scoring_func", "sigmoid")
    keys.neutral("topk_method", "noaux_tc")
    return Router(
        "sigmoid",
        renormalized=keys.switch("norm_topk_prob", default=True),
        scale=keys.number("routed_scaling_factor", default=2.5),
        correction=True,
        groups=latent.read_groups(keys, "two", 8, 4),
    )
