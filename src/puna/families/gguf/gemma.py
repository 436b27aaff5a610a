"""Architectures of Gemma: gemma, gemma2, gemma3. Norms lie there with one added."""

from __future__ import annotations

from puna.families.gguf.arch import (
    BODY,
    LAYERS,
    PLAIN_CONTEXT,
    RMS_EPS,
    WINDOW,
    Config,
    GgufArch,
    Stored,
    Typed,
)
from puna.families.gguf.parts import (
    attention_keys,
    biases,
    full_layers,
    lacks_any,
    own_scale,
    pattern_keys,
    positive,
    read_attention,
    read_pattern,
    rope_where,
    untied,
)
from puna.families.gguf.rope import rope_keys
from puna.families.keys import Keys
from puna.families.table import Layout, Raised
from puna.spec import LinearScaling, ModelSpec

_HALVES = ("attn_norm", "attn_post_norm", "ffn_norm", "ffn_post_norm")
_NORMS = ("norm", *(f"layers.{{i}}.{x}" for x in (*_HALVES, "attn.norms.q", "attn.norms.k")))


def _raised(spec: ModelSpec) -> dict[str, Layout]:
    return dict.fromkeys(_NORMS, Raised(1.0))


# --- gemma ---------------------------------------------------------------------------------------


def _read_gemma(config: Config, keys: Keys, stored: Stored) -> None:
    read_attention(config, keys, stored)
    config["model_type"] = "gemma"


GEMMA = GgufArch(
    name="gemma",
    families=("gemma",),
    fields=(*BODY, RMS_EPS),
    read=_read_gemma,
    write=attention_keys,
    layouts=_raised,
    lacks=lacks_any(biases, untied),
)


# --- gemma2 --------------------------------------------------------------------------------------

# llama.cpp tells the largest models, whose scores are scaled by a share of the width, by their
# layers.
_LARGEST = {"gemma2": 46, "gemma3": 62}


def _scalar(arch: str, layers: int, width: int, heads: int, head_dim: int) -> int:
    """Return `query_pre_attn_scalar` as it is implied."""
    return width // heads if layers == _LARGEST[arch] else head_dim


def _implied_scalar(config: Config, keys: Keys, arch: str) -> int:
    sizes = (config[name] for name in ("hidden_size", "num_attention_heads", "head_dim"))
    return _scalar(arch, keys.layers(LAYERS.key), *sizes)


def _implied_scale(arch: str, spec: ModelSpec) -> float:
    mixer = spec.layers[0].mixer
    scalar = _scalar(arch, len(spec.layers), spec.width, mixer.heads, mixer.head_dim)
    return float(scalar**-0.5)


_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}


def _read_gemma2(config: Config, keys: Keys, stored: Stored) -> None:
    """Read Gemma 2; first files leave out window and caps, which are then the published ones."""
    read_attention(config, keys, stored)
    config |= {name: keys.number(name, default=usual) for name, usual in _CAPS.items()}
    config |= {
        "model_type": "gemma2",
        "sliding_window": WINDOW.take(keys, 4096),
        "layer_types": read_pattern(keys, 2),
        "query_pre_attn_scalar": _implied_scalar(config, keys, "gemma2"),
    }


def _write_gemma2(spec: ModelSpec) -> dict[str, Typed]:
    caps = (spec.layers[0].mixer.softcap, spec.head.softcap)
    keys: dict[str, Typed] = {n: ("f32", cap) for n, cap in zip(_CAPS, caps, strict=True)}
    return attention_keys(spec) | pattern_keys(spec, 2) | keys


def _uncapped(spec: ModelSpec) -> str | None:
    capped = spec.head.softcap and all(layer.mixer.softcap for layer in spec.layers)
    return None if capped else "scores or logits without a cap"


GEMMA2 = GgufArch(
    name="gemma2",
    families=("gemma2",),
    fields=(*BODY, RMS_EPS),
    read=_read_gemma2,
    write=_write_gemma2,
    layouts=_raised,
    lacks=lacks_any(biases, untied, _uncapped, own_scale(lambda s: _implied_scale("gemma2", s))),
)


# --- gemma3 --------------------------------------------------------------------------------------


def _read_gemma3(config: Config, keys: Keys, stored: Stored) -> None:
    """Read Gemma 3: layers with a window have a rope of their own, which is never scaled."""
    read_attention(config, keys, stored)
    whole = config["rope_parameters"]
    window = keys.index(WINDOW.key, default=0)
    config |= {
        "model_type": "gemma3_text",
        "sliding_window": window or None,
        "layer_types": read_pattern(keys, 6) if window else full_layers(keys),
        "query_pre_attn_scalar": _implied_scalar(config, keys, "gemma3"),
        "final_logit_softcapping": positive(keys, "final_logit_softcapping", None),
        "rope_parameters": {
            "full_attention": whole,
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": keys.number("rope.freq_base_swa", default=10_000.0),
            },
        },
    }


def _write_gemma3(spec: ModelSpec) -> dict[str, Typed]:
    keys = attention_keys(spec) | rope_keys(rope_where(spec, window=False))
    keys |= pattern_keys(spec, 6)
    if (local := rope_where(spec, window=True)) is not None:
        keys["rope.freq_base_swa"] = ("f32", local.theta)
    if spec.head.softcap is not None:
        keys["final_logit_softcapping"] = ("f32", spec.head.softcap)
    return keys


def _local_scaled(spec: ModelSpec) -> str | None:
    local = rope_where(spec, window=True)
    return "a scaled rope in layers with a window" if local and local.scaling else None


GEMMA3 = GgufArch(
    name="gemma3",
    families=("gemma3_text", "gemma3"),
    fields=(PLAIN_CONTEXT, *BODY[1:], RMS_EPS),
    read=_read_gemma3,
    write=_write_gemma3,
    layouts=_raised,
    lacks=lacks_any(biases, _local_scaled, own_scale(lambda s: _implied_scale("gemma3", s))),
    scalings=(LinearScaling,),
)
