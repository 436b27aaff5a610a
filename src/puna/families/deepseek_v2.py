"""DeepSeek-V2: latent attention, shared experts, experts picked one by one or in groups.

The reference library passes over three keys that the published code reads, since the published
models leave them at rest: `norm_topk_prob` (which takes the place of `routed_scaling_factor`),
`moe_layer_freq`, and null for no shared experts. Here they count.
"""

from __future__ import annotations

from puna.families import latent
from puna.families.keys import Keys
from puna.spec import ModelSpec, Router

MODEL_TYPES = ("deepseek_v2",)
names = latent.names

_DEFAULTS = latent.Defaults(
    vocab=102_400,
    width=4096,
    ffn=11_008,
    expert=1407,
    layers=32,
    heads=32,
    context=2048,
    experts=64,
    shared=2,
    picked=None,
    dense=0,
)


def read(keys: Keys) -> ModelSpec:
    """Read a DeepSeek-V2 config."""
    bias = keys.switch("mlp_bias", default=False)
    return latent.read_body(keys, "deepseek_v2", _DEFAULTS, _router, bias=bias)


def _router(keys: Keys) -> Router:
    keys.neutral("scoring_func", "softmax")
    keys.neutral("topk_method", "greedy", "group_limited_greedy")
    grouped = keys.take("topk_method", default="greedy") == "group_limited_greedy"
    groups = latent.read_groups(keys, "best", None, None)
    scale = keys.number("routed_scaling_factor", default=1.0)
    renormalized = keys.switch("norm_topk_prob", default=False)
    return Router(
        renormalized=renormalized,
        scale=1.0 if renormalized else scale,
        groups=groups if grouped else None,
    )
