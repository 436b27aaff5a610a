"""Architectures whose rope turns neighbors in GGUF: llama, smollm3, granite, olmo."""

from __future__ import annotations

from puna.families.gguf.arch import (
    BODY,
    LAYER_EPS,
    RMS_EPS,
    WINDOW,
    Config,
    GgufArch,
    Stored,
    Typed,
    moe_of,
)
from puna.families.gguf.parts import (
    attention_keys,
    biases,
    lacks_any,
    odd_heads,
    paired,
    positive,
    read_attention,
    window_left_out,
    windows,
    written,
)
from puna.families.gguf.rope import TABLE
from puna.families.keys import Keys
from puna.spec import LinearScaling, Llama3Scaling, ModelSpec, YarnScaling

_EVERY = (LinearScaling, YarnScaling, Llama3Scaling)


def _table_read(spec: ModelSpec) -> dict[str, str]:
    return {TABLE: "read with the metadata"}


# --- llama: LLaMA, Mistral, Mixtral and all that share their blocks ------------------------------


def _read_llama(config: Config, keys: Keys, stored: Stored) -> None:
    read_attention(config, keys, stored)
    keys.neutral("expert_weights_scale", 0.0, 1.0)
    keys.neutral("attention.scale", 0.0, config["head_dim"] ** -0.5)
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
        config["attention_bias"] = stored.has("blk.0.attn_q.bias")
        config["mlp_bias"] = stored.has("blk.0.ffn_up.bias")


def _write_llama(spec: ModelSpec) -> dict[str, Typed]:
    keys = attention_keys(spec) | written(spec, WINDOW)
    if (moe := moe_of(spec)) is not None:
        keys |= {"expert_count": ("u32", moe.experts), "expert_used_count": ("u32", moe.top_k)}
    return keys


LLAMA = GgufArch(
    name="llama",
    families=("llama", "mistral", "mixtral"),
    fields=(*BODY, RMS_EPS),
    read=_read_llama,
    write=_write_llama,
    layouts=paired,
    notes=window_left_out,
    extra=_table_read,
    scalings=_EVERY,
)


# --- smollm3 -------------------------------------------------------------------------------------


def _read_smollm3(config: Config, keys: Keys, stored: Stored) -> None:
    """Read SmolLM3; that every fourth layer goes without positions is implied."""
    read_attention(config, keys, stored)
    config["model_type"] = "smollm3"


SMOLLM3 = GgufArch(
    name="smollm3",
    families=("smollm3",),
    fields=(*BODY, RMS_EPS),
    read=_read_smollm3,
    write=attention_keys,
    layouts=paired,
    lacks=lacks_any(biases, windows),
)


# --- granite -------------------------------------------------------------------------------------


def _read_granite(config: Config, keys: Keys, stored: Stored) -> None:
    """Read Granite; a factor of zero or one that is absent is none."""
    keys.neutral("rope.scaling.finetuned", True)  # False switches the positions off
    read_attention(config, keys, stored)
    usual = config["head_dim"] ** -0.5
    config |= {
        "model_type": "granite",
        "attention_multiplier": positive(keys, "attention.scale", usual),
        "residual_multiplier": positive(keys, "residual_scale", 1.0),
        "embedding_multiplier": positive(keys, "embedding_scale", 1.0),
        "logits_scaling": keys.number("logit_scale"),
        "attention_bias": stored.has("blk.0.attn_q.bias"),
        "mlp_bias": stored.has("blk.0.ffn_up.bias"),
    }


def _write_granite(spec: ModelSpec) -> dict[str, Typed]:
    layer = spec.layers[0]
    return attention_keys(spec) | {
        "attention.scale": ("f32", layer.mixer.scale),
        "residual_scale": ("f32", layer.scale),
        "embedding_scale": ("f32", spec.embed.scale),
        "logit_scale": ("f32", 1 / spec.head.scale),
    }


GRANITE = GgufArch(
    name="granite",
    families=("granite",),
    fields=(*BODY, RMS_EPS),
    read=_read_granite,
    write=_write_granite,
    layouts=paired,
    extra=_table_read,
    scalings=_EVERY,
)


# --- olmo: OLMo 1 --------------------------------------------------------------------------------


def _read_olmo(config: Config, keys: Keys, stored: Stored) -> None:
    """Read OLMo 1, whose norms have one epsilon and nothing to load."""
    read_attention(config, keys, stored)
    keys.neutral(LAYER_EPS.key, 1e-5)
    config |= {"model_type": "olmo", "clip_qkv": positive(keys, "attention.clamp_kqv", None)}


def _write_olmo(spec: ModelSpec) -> dict[str, Typed]:
    clip = spec.layers[0].mixer.clip
    keys = attention_keys(spec) | written(spec, LAYER_EPS)
    return keys if clip is None else keys | {"attention.clamp_kqv": ("f32", clip)}


OLMO = GgufArch(
    name="olmo",
    families=("olmo",),
    fields=BODY,
    read=_read_olmo,
    write=_write_olmo,
    layouts=paired,
    lacks=lacks_any(biases, odd_heads),
)
