"""Gemma 3: five layers with a window to one without, each kind with a rope of its own.

Folders of the models that also see pictures (`gemma3`) are read for their text part alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from puna.errors import ConfigError
from puna.families import llama
from puna.families.gemma import read_gemma
from puna.families.gemma2 import NORM_ROWS
from puna.families.keys import Keys
from puna.families.layers import each_layer, read_windows
from puna.families.rope import rope_of
from puna.families.table import NameTable
from puna.spec import Attention, ModelSpec, QKNorm, Rope

MODEL_TYPES = ("gemma3_text", "gemma3")

_TEXT = "model.language_model."
# How published folders spell the modules that the library calls by `_TEXT` today.
_SPELLINGS = {"language_model.model.": _TEXT, "language_model.lm_head.": "lm_head."}
_PICTURES = {
    f"{prefix}{part}.*": "of the picture side, which is not read"
    for prefix in ("", "model.")
    for part in ("vision_tower", "multi_modal_projector")
}
_CONTEXT = 131_072
# What the shapes are where a config leaves them out, as published ones do.
_SHAPES = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
}


def read(keys: Keys) -> ModelSpec:
    """Read a Gemma 3 config, its `text_config` where it has one."""
    if not keys.has("text_config"):
        return _read_text(keys, "gemma3_text")
    keys.skip("vision_config", "mm_tokens_per_image")
    for name in ("boi_token", "eoi_token", "image_token"):
        keys.skip(f"{name}_index", f"{name}_id")
    text = keys.config("text_config")
    text.skip("model_type")
    tied = keys.switch("tie_word_embeddings", default=True)
    text.neutral("tie_word_embeddings", tied)
    text.assume(tie_word_embeddings=tied)
    return _read_text(text, "gemma3")


def _read_text(keys: Keys, family: str) -> ModelSpec:
    keys.assume(**_SHAPES)
    keys.neutral("attn_logit_softcapping")
    local, whole = _read_ropes(keys)
    spec = read_gemma(keys, family, kv_heads=4, context=_CONTEXT, position=local)
    window = keys.nullable_count("sliding_window", absent=4096)
    every = keys.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    windows = read_windows(keys, len(spec.layers), window, lambda i: (i + 1) % every != 0)
    scale = keys.number("query_pre_attn_scalar", default=256) ** -0.5
    norm = QKNorm(spec.layers[0].norm, over="head")

    def mixer(i: int, old: Attention) -> Attention:
        rope = whole if windows[i] is None else local
        return replace(old, position=rope, window=windows[i], scale=scale, qk_norm=norm)

    spec = each_layer(spec, lambda i, x: replace(x, mixer=mixer(i, x.mixer), placement="sandwich"))
    final = keys.nullable_number("final_logit_softcapping", absent=None)
    return replace(spec, head=replace(spec.head, softcap=final))


def _read_ropes(keys: Keys) -> tuple[Rope, Rope]:
    """Return the ropes of layers with a window and without; only the latter may be scaled.

    The first spelling has a flat `rope_scaling` and a base for each kind of layer beside it, the
    present one an object for each kind in `rope_parameters`.
    """
    sizes = {
        "head_dim": keys.count("head_dim", default=256),
        "context": keys.count("max_position_embeddings", default=_CONTEXT),
    }
    both = keys.take("rope_parameters", default={})
    if not isinstance(both, dict):
        raise ConfigError(f"rope settings must be an object, not {both!r:.60}")
    inner = Keys(both, "rope_parameters")
    local = inner.take("sliding_attention", default={})
    whole = inner.take("full_attention", default={})
    inner.finish()
    scaling = keys.take("rope_scaling", default={})
    if isinstance(whole, dict) and isinstance(scaling, dict):
        whole = {**whole, **scaling}
    bases = (("rope_local_base_freq", 1e4), ("rope_theta", 1e6))
    small, large = (keys.number(name, default=base) for name, base in bases)
    inside = "rope_parameters."
    return (
        rope_of(local, **sizes, theta=small, inside=f"{inside}sliding_attention"),
        rope_of(whole, **sizes, theta=large, inside=f"{inside}full_attention"),
    )


def text_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a folder that holds the text part of a model alone."""
    ids = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id") if k in config}
    text = {"tie_word_embeddings": config.get("tie_word_embeddings", True), **config["text_config"]}
    kind = {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]}
    return {**text, **ids, **kind}


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Gemma 3 checkpoint."""
    rows = (*llama.PROJECTION_ROWS, *llama.QK_NORM_ROWS, *NORM_ROWS)
    rows = (*rows, *llama.END_ROWS, *llama.FFN_ROWS)
    if spec.family == "gemma3_text":
        return llama.table(spec, *rows)
    return NameTable(
        [replace(row, theirs=row.theirs.replace("model.", _TEXT, 1)) for row in rows],
        layers=len(spec.layers),
        spellings=_SPELLINGS,
        extra={"lm_head.weight": llama.EXTRA["lm_head.weight"], **_PICTURES},
    )
