"""Architectures of before LLaMA: falcon, bloom, gptneox, gpt2, mpt."""

from __future__ import annotations

from collections.abc import Callable

from puna.errors import ConfigError
from puna.families.gguf.arch import (
    BODY,
    CONTEXT,
    FFN,
    HEADS,
    KV_HEADS,
    LAYER_EPS,
    LAYERS,
    VOCAB,
    WIDTH,
    Config,
    Field,
    GgufArch,
    Stored,
    Typed,
    equal_or_refuse,
    ropes,
)
from puna.families.gguf.parts import (
    lacks_any,
    own_scale,
    positive,
    share_of,
    tied,
    written,
)
from puna.families.gguf.rope import read_rope_keys, rope_keys
from puna.families.keys import Keys
from puna.spec import Alibi, Dense, ModelSpec

# --- falcon --------------------------------------------------------------------------------------


def _read_falcon(config: Config, keys: Keys, stored: Stored) -> None:
    """Tell the forms apart by the norms and the key/value heads."""
    kv_heads = KV_HEADS.take(keys, 1)
    split = stored.has("blk.0.attn_norm_2.weight")
    config |= {"model_type": "falcon", "alibi": False, "bias": False, "parallel_attn": True}
    if split or kv_heads > 1:
        config |= {"new_decoder_architecture": True, "num_kv_heads": kv_heads}
        config |= {"num_ln_in_parallel_attn": 2 if split else 1}
    else:
        config |= {"new_decoder_architecture": False, "multi_query": True}
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    equal_or_refuse(keys, "rope.dimension_count", head_dim, stored.arch)
    config["rope_parameters"] = read_rope_keys(keys, head_dim, stored)


def _write_falcon(spec: ModelSpec) -> dict[str, Typed]:
    layout: dict[str, Typed] = {"tensor_data_layout": ("str", "jploski")}
    return written(spec, KV_HEADS, VOCAB) | rope_keys(next(iter(ropes(spec)), None)) | layout


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


def _read_bloom(config: Config, keys: Keys, stored: Stored) -> None:
    config["model_type"] = "bloom"
    equal_or_refuse(keys, FFN.key, 4 * config["hidden_size"], stored.arch)
    equal_or_refuse(keys, KV_HEADS.key, config["n_head"], stored.arch)
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
    write=lambda spec: written(spec, FFN, KV_HEADS, VOCAB),
)


# --- gptneox: GPT-NeoX and Pythia ----------------------------------------------------------------

_PARALLEL = Field(
    "use_parallel_residual",
    "use_parallel_residual",
    "bool",
    lambda s: s.layers[0].residual == "parallel_split",
)


# A key of our own: llama.cpp approximates every gelu by a tanh, and so has no word for it.
_ACT = "hidden_act"


def _read_gptneox(config: Config, keys: Keys, stored: Stored) -> None:
    heads = config["num_attention_heads"]
    head_dim = config["hidden_size"] // heads
    equal_or_refuse(keys, KV_HEADS.key, heads, stored.arch)
    dims = keys.count("rope.dimension_count", default=head_dim)
    settings = read_rope_keys(keys, dims, stored)
    settings["partial_rotary_factor"] = share_of(dims, head_dim)
    config |= {"model_type": "gpt_neox", "rope_parameters": settings}
    config["attention_bias"] = stored.has("blk.0.attn_qkv.bias")
    config["hidden_act"] = keys.take(_ACT, default="gelu")


def _write_gptneox(spec: ModelSpec) -> dict[str, Typed]:
    keys = written(spec, KV_HEADS, VOCAB) | rope_keys(next(iter(ropes(spec)), None))
    ffn = spec.layers[0].ffn
    if isinstance(ffn, Dense) and ffn.act == "gelu_tanh":
        keys[_ACT] = ("str", "gelu_fast")
    return keys


def _gptneox_lacks(spec: ModelSpec) -> str | None:
    if not spec.layers[0].mixer.qkv_bias:
        return "attention without biases"
    return tied(spec)


GPTNEOX = GgufArch(
    name="gptneox",
    families=("gpt_neox",),
    fields=(*BODY, LAYER_EPS.spelled("layer_norm_eps"), _PARALLEL),
    read=_read_gptneox,
    write=_write_gptneox,
    lacks=_gptneox_lacks,
)

# --- gpt2 ----------------------------------------------------------------------------------------


def _read_gpt2(config: Config, keys: Keys, stored: Stored) -> None:
    """Read GPT-2, whose matrices lie in GGUF as all others do, not [in, out]."""
    config["model_type"] = "gpt2"
    equal_or_refuse(keys, KV_HEADS.key, config["n_head"], stored.arch)


def _usual_scale(spec: ModelSpec) -> float:
    return float(spec.layers[0].mixer.head_dim ** -0.5)


def _other_act(act: str) -> Callable[[ModelSpec], str | None]:
    def check(spec: ModelSpec) -> str | None:
        said = {layer.ffn.act for layer in spec.layers if isinstance(layer.ffn, Dense)} - {act}
        return f"{said.pop()} in feed-forward networks" if said else None

    return check


GPT2 = GgufArch(
    name="gpt2",
    families=("gpt2",),
    fields=(
        CONTEXT.spelled("n_positions"),
        WIDTH.spelled("n_embd"),
        LAYERS.spelled("n_layer"),
        FFN.spelled("n_inner"),
        HEADS.spelled("n_head"),
        LAYER_EPS,
    ),
    read=_read_gpt2,
    write=lambda spec: written(spec, KV_HEADS, VOCAB),
    lacks=lacks_any(own_scale(_usual_scale), _other_act("gelu_tanh")),
)


# --- mpt -----------------------------------------------------------------------------------------


def _read_mpt(config: Config, keys: Keys, stored: Stored) -> None:
    """Read MPT; a steepest slope of zero would mean positions by a table, which is refused."""
    width, ffn = config["d_model"], keys.count(FFN.key)
    equal_or_refuse(keys, KV_HEADS.key, config["n_heads"], stored.arch)
    bias = keys.number("attention.max_alibi_bias")
    if ffn % width:
        raise ConfigError(
            f"metadata key mpt.{FFN.key} is {ffn}, no multiple of the width {width}",
            remedy="convert the model again",
        )
    config |= {
        "model_type": "mpt",
        "expansion_ratio": ffn // width,
        "attn_config": {
            "alibi": True,
            "alibi_bias_max": int(bias) if bias.is_integer() else bias,
            "clip_qkv": positive(keys, "attention.clamp_kqv", None),
        },
    }


def _write_mpt(spec: ModelSpec) -> dict[str, Typed]:
    mixer = spec.layers[0].mixer
    keys = written(spec, FFN, KV_HEADS, VOCAB)
    if isinstance(mixer.position, Alibi):
        keys["attention.max_alibi_bias"] = ("f32", mixer.position.steepest)
    if mixer.clip is not None:
        keys["attention.clamp_kqv"] = ("f32", mixer.clip)
    return keys


def _logit_scale(spec: ModelSpec) -> str | None:
    return None if spec.head.scale == 1.0 else "a scale of the logits"


MPT = GgufArch(
    name="mpt",
    families=("mpt",),
    fields=(
        CONTEXT.spelled("max_seq_len"),
        WIDTH.spelled("d_model"),
        LAYERS.spelled("n_layers"),
        HEADS.spelled("n_heads"),
        LAYER_EPS,
    ),
    read=_read_mpt,
    write=_write_mpt,
    lacks=lacks_any(own_scale(_usual_scale), _logit_scale),
)
