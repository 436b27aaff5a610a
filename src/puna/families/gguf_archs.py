"""One record per GGUF architecture. To add one: its rows here, its name in `ARCHS` at the end."""

from __future__ import annotations

import math
from typing import Any

from puna.families.gguf_fields import (
    BODY,
    CONTEXT,
    FFN,
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    LAYER_EPS,
    LAYERS,
    RMS_EPS,
    VALUE_DIM,
    VOCAB,
    WIDTH,
    WINDOW,
    Field,
    GgufArch,
    Shapes,
    Typed,
    equal_or_refuse,
)
from puna.families.gguf_rope import read_rope_keys, write_rope_keys
from puna.families.keys import Keys
from puna.families.table import Layout, RopePairs
from puna.spec import Alibi, ModelSpec, MoE, Rope

Config = dict[str, Any]


def _experts(spec: ModelSpec) -> MoE | None:
    ffn = spec.layers[0].ffn
    return ffn if isinstance(ffn, MoE) else None


def _written(spec: ModelSpec, *fields: Field) -> dict[str, Typed]:
    return {f.key: (f.kind, value) for f in fields if (value := f.of(spec)) is not None}


def _read_rope(config: Config, keys: Keys, head_dim: int, arch: str) -> None:
    """Read the rope of an architecture whose heads turn whole."""
    equal_or_refuse(keys, "rope.dimension_count", head_dim, arch)
    config["rope_parameters"] = read_rope_keys(keys, head_dim, config.pop("rope_factors"))


# --- llama: LLaMA, Mistral, Mixtral and all that share their blocks ------------------------------


def _read_llama(config: Config, keys: Keys, shapes: Shapes) -> None:
    heads = config["num_attention_heads"]
    config["num_key_value_heads"] = KV_HEADS.take(keys, heads)
    head_dim = HEAD_DIM.take(keys, config["hidden_size"] // heads)
    equal_or_refuse(keys, VALUE_DIM.key, head_dim, "llama")
    config["head_dim"] = head_dim
    _read_rope(config, keys, head_dim, "llama")
    keys.neutral("expert_weights_scale", 0.0, 1.0)
    keys.neutral("attention.scale", 0.0, head_dim**-0.5)
    experts = keys.take("expert_count", default=0)
    used = keys.take("expert_used_count", default=0)
    window = keys.take(WINDOW.key, default=0)
    if experts:
        config |= {"model_type": "mixtral", "num_local_experts": experts}
        config |= {"num_experts_per_tok": used, "sliding_window": window or None}
    elif window:
        config |= {"model_type": "mistral", "sliding_window": window}
    else:
        config["model_type"] = "llama"
        config["attention_bias"] = "blk.0.attn_q.bias" in shapes
        config["mlp_bias"] = "blk.0.ffn_up.bias" in shapes


def _write_llama(spec: ModelSpec) -> dict[str, Typed]:
    keys = _written(spec, KV_HEADS, HEAD_DIM, VALUE_DIM, VOCAB, WINDOW) | write_rope_keys(spec)
    if (moe := _experts(spec)) is not None:
        keys |= {"expert_count": ("u32", moe.experts), "expert_used_count": ("u32", moe.top_k)}
    return keys


def _paired(spec: ModelSpec) -> dict[str, Layout]:
    """Say that q and k are stored for a rope that turns neighbors."""
    mixer = spec.layers[0].mixer
    project = "layers.{i}.attn.project."
    return {f"{project}q": RopePairs(mixer.heads), f"{project}k": RopePairs(mixer.kv_heads)}


LLAMA = GgufArch(
    name="llama",
    families=("llama", "mistral", "mixtral"),
    fields=(*BODY, RMS_EPS),
    read=_read_llama,
    write=_write_llama,
    layouts=_paired,
    extra={"rope_freqs.weight": "read with the metadata"},
)


# --- falcon --------------------------------------------------------------------------------------


def _read_falcon(config: Config, keys: Keys, shapes: Shapes) -> None:
    """Tell the forms apart by the norms and the key/value heads."""
    kv_heads = KV_HEADS.take(keys, 1)
    split = "blk.0.attn_norm_2.weight" in shapes
    config |= {"model_type": "falcon", "alibi": False, "bias": False, "parallel_attn": True}
    if split or kv_heads > 1:
        config |= {"new_decoder_architecture": True, "num_kv_heads": kv_heads}
        config |= {"num_ln_in_parallel_attn": 2 if split else 1}
    else:
        config |= {"new_decoder_architecture": False, "multi_query": True}
    _read_rope(config, keys, config["hidden_size"] // config["num_attention_heads"], "falcon")


def _write_falcon(spec: ModelSpec) -> dict[str, Typed]:
    layout: dict[str, Typed] = {"tensor_data_layout": ("str", "jploski")}
    return _written(spec, KV_HEADS, VOCAB) | write_rope_keys(spec) | layout


def _falcon_names(spec: ModelSpec) -> dict[str, str]:
    if spec.layers[0].residual != "parallel_split":
        return {}
    return {
        "layers.{i}.attn_norm.{part}": "blk.{i}.attn_norm_2.{part}",
        "layers.{i}.ffn_norm.{part}": "blk.{i}.attn_norm.{part}",
    }


def _falcon_lacks(spec: ModelSpec) -> str | None:
    layer = spec.layers[0]
    if isinstance(layer.mixer.position, Alibi):
        return "ALiBi"
    if layer.residual == "sequential":
        return "a sequential residual"
    return "biases" if layer.mixer.qkv_bias else None


FALCON = GgufArch(
    name="falcon",
    families=("falcon",),
    fields=(CONTEXT, WIDTH, LAYERS, FFN.spelled("ffn_hidden_size"), HEADS, LAYER_EPS),
    read=_read_falcon,
    write=_write_falcon,
    names=_falcon_names,
    lacks=_falcon_lacks,
)


# --- bloom ---------------------------------------------------------------------------------------


def _read_bloom(config: Config, keys: Keys, shapes: Shapes) -> None:
    config["model_type"] = "bloom"
    config.pop("rope_factors")
    equal_or_refuse(keys, FFN.key, 4 * config["hidden_size"], "bloom")
    equal_or_refuse(keys, KV_HEADS.key, config["n_head"], "bloom")
    keys.neutral("attention.max_alibi_bias", 0.0, 8.0)


BLOOM = GgufArch(
    name="bloom",
    families=("bloom",),
    fields=(
        CONTEXT.spelled("seq_length"),
        WIDTH,
        LAYERS.spelled("n_layer"),
        HEADS.spelled("n_head"),
        LAYER_EPS,
    ),
    read=_read_bloom,
    write=lambda spec: _written(spec, FFN, KV_HEADS, VOCAB),
)


# --- gptneox: GPT-NeoX and Pythia ----------------------------------------------------------------

_PARALLEL = Field(
    "use_parallel_residual",
    "use_parallel_residual",
    "bool",
    lambda s: s.layers[0].residual == "parallel_split",
)


def _read_gptneox(config: Config, keys: Keys, shapes: Shapes) -> None:
    heads = config["num_attention_heads"]
    head_dim = config["hidden_size"] // heads
    equal_or_refuse(keys, KV_HEADS.key, heads, "gptneox")
    dims = keys.count("rope.dimension_count", default=head_dim)
    settings = read_rope_keys(keys, dims, config.pop("rope_factors"))
    share = dims / head_dim
    if int(head_dim * share) != dims:  # the division may fall just short of a whole number
        share = math.nextafter(share, 2.0)
    settings["partial_rotary_factor"] = share
    config |= {"model_type": "gpt_neox", "rope_parameters": settings}
    config["attention_bias"] = "blk.0.attn_qkv.bias" in shapes


def _gptneox_lacks(spec: ModelSpec) -> str | None:
    if not spec.layers[0].mixer.qkv_bias:
        return "attention without biases"
    return "a head tied to the embedding" if spec.head.tied else None


GPTNEOX = GgufArch(
    name="gptneox",
    families=("gpt_neox",),
    fields=(*BODY, LAYER_EPS.spelled("layer_norm_eps"), _PARALLEL),
    read=_read_gptneox,
    write=lambda spec: _written(spec, KV_HEADS, VOCAB) | write_rope_keys(spec),
    lacks=_gptneox_lacks,
)

ARCHS = (LLAMA, FALCON, BLOOM, GPTNEOX)


def turns(spec: ModelSpec) -> Rope | None:
    """Return the rope of the first layer, if it has one."""
    position = spec.layers[0].mixer.position
    return position if isinstance(position, Rope) else None
