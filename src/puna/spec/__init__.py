"""The axes of a decoder as frozen records: what a family is, without a line of torch."""

from puna.spec.axes import (
    Alibi,
    Attention,
    Dense,
    DynamicScaling,
    Embed,
    Head,
    LayerSpec,
    LearnedPositions,
    LinearScaling,
    Llama3Scaling,
    ModelSpec,
    MoE,
    Norm,
    Rope,
    RopeScaling,
    YarnScaling,
)
from puna.spec.count import count_parameters, kv_bytes_per_token

__all__ = [
    "Alibi",
    "Attention",
    "Dense",
    "DynamicScaling",
    "Embed",
    "Head",
    "LayerSpec",
    "LearnedPositions",
    "LinearScaling",
    "Llama3Scaling",
    "MoE",
    "ModelSpec",
    "Norm",
    "Rope",
    "RopeScaling",
    "YarnScaling",
    "count_parameters",
    "kv_bytes_per_token",
]
