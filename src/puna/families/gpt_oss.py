"""gpt-oss: attention sinks, windows in every other layer, all experts of a layer in one tensor.

Published in two number formats: bfloat16, and MXFP4 whose tensors end in `_blocks` and `_scales`
(`puna.weights` joins them to what stands here).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from puna.errors import ConfigError
from puna.families import llama
from puna.families.keys import MANY, Keys
from puna.families.layers import each_mixer, read_windows
from puna.families.qwen3_moe import most_experts
from puna.families.table import NameTable, Row, Slice, module_rows
from puna.spec import ClampedSwish, Dense, ModelSpec, MoE, Router

MODEL_TYPES = ("gpt_oss",)

_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def read(keys: Keys) -> ModelSpec:
    """Read a gpt-oss config."""
    keys.assume(
        vocab_size=201_088,
        hidden_size=2880,
        num_hidden_layers=36,
        num_attention_heads=64,
    )
    _check_format(keys)
    keys.neutral("hidden_act", "silu")
    keys.skip("initial_context_length")  # the same number stands in the rope settings
    if not (keys.has("rope_parameters") or keys.has("rope_scaling")):
        keys.assume(rope_parameters=_ROPE)
    act = ClampedSwish(
        keys.number("swiglu_alpha", default=1.702), keys.number("swiglu_limit", default=7.0)
    )
    moe = MoE(
        keys.count("num_local_experts", "num_experts", default=128, most=MANY),
        keys.count("num_experts_per_tok", "experts_per_token", default=4),
        Dense(keys.count("intermediate_size", default=2880), act, "split", bias=True),
        Router(bias=True),
    )
    spec = llama.read_body(
        keys,
        "gpt_oss",
        moe,
        attention_bias=keys.switch("attention_bias", default=True),
        theta=150_000.0,
        eps=1e-5,
        context=131_072,
        kv_heads=8,
        head_dim=64,
    )
    window = keys.nullable_count("sliding_window", absent=128)
    windows = read_windows(keys, len(spec.layers), window, lambda i: i % 2 == 0)
    return each_mixer(spec, lambda i, m: replace(m, sinks=True, window=windows[i]))


def _check_format(keys: Keys) -> None:
    settings: Any = keys.take("quantization_config", default={})
    method = settings.get("quant_method") if isinstance(settings, dict) else settings
    if method not in (None, "mxfp4"):
        raise ConfigError(
            f"config key quantization_config has quant_method {method!r:.40}, which is not read",
            remedy="use a checkpoint in bfloat16 or MXFP4",
        )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a gpt-oss checkpoint; rows of gate and up take turns in one tensor."""
    theirs, ours = "model.layers.{i}.mlp.experts.", "layers.{i}.ffn.experts.{e}."
    rows = [
        *llama.ATTENTION_ROWS,
        Row("model.layers.{i}.self_attn.sinks", "layers.{i}.attn.sinks"),
        *module_rows({"model.layers.{i}.mlp.router": "layers.{i}.ffn.router"}),
    ]
    for part, at in (("gate", Slice(step=2)), ("up", Slice(start=1, step=2)), ("down", Slice())):
        name = "down_proj" if part == "down" else "gate_up_proj"
        rows.append(Row(theirs + name, f"{ours}{part}.weight", replace(at, transposed=True)))
        rows.append(Row(f"{theirs}{name}_bias", f"{ours}{part}.bias", at))
    return NameTable(
        rows,
        layers=len(spec.layers),
        experts=most_experts(spec),
        prefix="model.",
        extra=llama.EXTRA,
    )
