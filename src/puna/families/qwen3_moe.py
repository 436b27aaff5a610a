"""Qwen3-MoE: Qwen3's attention, and many small experts in all layers or in some."""

from __future__ import annotations

from dataclasses import replace

from puna.errors import ConfigError
from puna.families import llama
from puna.families.keys import MANY, Keys
from puna.families.layers import each_layer
from puna.families.table import NameTable, Row
from puna.spec import Dense, LayerSpec, ModelSpec, MoE, QKNorm, Router

MODEL_TYPES = ("qwen3_moe",)

# Experts one by one beside a router called `gate`, as DeepSeek stores them too.
MOE_ROWS = (
    Row("model.layers.{i}.mlp.gate.weight", "layers.{i}.ffn.router.weight"),
    *(
        Row(
            f"model.layers.{{i}}.mlp.experts.{{e}}.{name}_proj.weight",
            f"layers.{{i}}.ffn.experts.{{e}}.{name}.weight",
        )
        for name in ("gate", "up", "down")
    ),
)


def read(keys: Keys) -> ModelSpec:
    """Read a Qwen3-MoE config."""
    keys.assume(
        vocab_size=151_936,
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=24,
        num_attention_heads=32,
    )
    dense = llama.read_ffn(keys)
    moe = MoE(
        keys.count("num_experts", "num_local_experts", default=128, most=MANY),
        keys.count("num_experts_per_tok", default=8),
        replace(dense, width=keys.count("moe_intermediate_size", default=768)),
        Router(renormalized=keys.switch("norm_topk_prob", default=False)),
    )
    spec = llama.read_body(
        keys,
        "qwen3_moe",
        moe,
        attention_bias=keys.switch("attention_bias", default=False),
        context=32_768,
        kv_heads=4,
        window=_window(keys),
    )
    step, only = keys.count("decoder_sparse_step", default=1), _dense_layers(keys)

    def finished(index: int, layer: LayerSpec) -> LayerSpec:
        ffn: Dense | MoE = dense if index in only or (index + 1) % step else moe
        return replace(
            layer, mixer=replace(layer.mixer, qk_norm=QKNorm(layer.norm, "head")), ffn=ffn
        )

    return each_layer(spec, finished)


def _window(keys: Keys) -> int | None:
    """Return the window of all layers; none is used where `use_sliding_window` is not set."""
    window = keys.nullable_count("sliding_window", absent=4096)
    if not keys.switch("use_sliding_window", default=False):
        keys.skip("max_window_layers")
        return None
    # Versions of the reference disagree about which layers this leaves without a window.
    keys.neutral("max_window_layers", 0)
    return window


def _dense_layers(keys: Keys) -> set[int]:
    layers = keys.take("mlp_only_layers", default=[])
    if not isinstance(layers, list) or any(type(index) is not int for index in layers):
        raise ConfigError(
            f"mlp_only_layers must be a list of layer numbers, not {layers!r:.60}",
            remedy="correct config.json",
        )
    return set(layers)


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Qwen3-MoE checkpoint."""
    rows = (*llama.ATTENTION_ROWS, *llama.QK_NORM_ROWS, *llama.FFN_ROWS, *MOE_ROWS)
    return NameTable(
        rows,
        layers=len(spec.layers),
        experts=most_experts(spec),
        prefix="model.",
        extra=llama.EXTRA,
    )


def most_experts(spec: ModelSpec) -> int:
    """Return how many experts a layer has at most."""
    return max(
        (layer.ffn.experts for layer in spec.layers if isinstance(layer.ffn, MoE)), default=0
    )
