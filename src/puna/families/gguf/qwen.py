"""Architectures of Qwen: qwen2, qwen3, qwen3moe."""

from __future__ import annotations

from puna.families.gguf.arch import (
    BODY,
    EXPERT_FFN,
    EXPERTS,
    FFN,
    PICKED,
    RMS_EPS,
    Config,
    GgufArch,
    Stored,
    moe_of,
)
from puna.families.gguf.parts import (
    attention_keys,
    biases,
    dense_layers,
    expert_keys,
    lacks_any,
    odd_heads,
    read_attention,
    windows,
)
from puna.families.keys import Keys
from puna.spec import ModelSpec


def _read_qwen2(config: Config, keys: Keys, stored: Stored) -> None:
    read_attention(config, keys, stored)
    config["model_type"] = "qwen2"


QWEN2 = GgufArch(
    name="qwen2",
    families=("qwen2",),
    fields=(*BODY, RMS_EPS),
    read=_read_qwen2,
    write=attention_keys,
    lacks=lacks_any(windows, odd_heads),
)


def _read_qwen3(config: Config, keys: Keys, stored: Stored) -> None:
    read_attention(config, keys, stored)
    config["model_type"] = "qwen3"


QWEN3 = GgufArch(
    name="qwen3",
    families=("qwen3",),
    fields=(*BODY, RMS_EPS),
    read=_read_qwen3,
    write=attention_keys,
    lacks=lacks_any(windows, biases),
)


def _read_qwen3moe(config: Config, keys: Keys, stored: Stored) -> None:
    """Read Qwen3-MoE: every layer has experts, and the gates of the picked are made to sum to one.

    First files leave the width of an expert out; llama.cpp then shares the width of a dense
    network, which they have, among the picked.
    """
    read_attention(config, keys, stored)
    keys.neutral("expert_weights_scale", 0.0, 1.0)
    picked = PICKED.take(keys, ...)
    config |= {
        "model_type": "qwen3_moe",
        "num_experts": EXPERTS.take(keys, ...),
        "num_experts_per_tok": picked,
        "moe_intermediate_size": EXPERT_FFN.take(keys, config[FFN.config] // picked),
        "norm_topk_prob": True,
    }


def _unnormalized(spec: ModelSpec) -> str | None:
    moe = moe_of(spec)
    return None if moe is None or moe.router.renormalized else "gates that do not sum to one"


QWEN3MOE = GgufArch(
    name="qwen3moe",
    families=("qwen3_moe",),
    fields=(*BODY, RMS_EPS),
    read=_read_qwen3moe,
    write=lambda spec: attention_keys(spec) | expert_keys(spec),
    lacks=lacks_any(windows, biases, dense_layers, _unnormalized),
)
