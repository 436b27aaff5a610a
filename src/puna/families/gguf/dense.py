"""Architectures of dense models that are no close relative of LLaMA: phi3, olmo2, starcoder2."""

from __future__ import annotations

import math

from puna.errors import ConfigError
from puna.families.gguf.arch import (
    BODY,
    CONTEXT,
    LAYER_EPS,
    RMS_EPS,
    WINDOW,
    Config,
    GgufArch,
    Stored,
    Typed,
    ropes,
    shortest,
)
from puna.families.gguf.parts import (
    attention_keys,
    biases,
    lacks_any,
    odd_heads,
    read_attention,
    read_heads,
    share_of,
    tied,
    window_left_out,
    written,
)
from puna.families.gguf.rope import LONG, SHORT, read_rope_keys
from puna.families.keys import Keys
from puna.families.rope import longrope_gain
from puna.spec import LinearScaling, LongRopeScaling, ModelSpec, YarnScaling

# --- phi3: Phi-3, Phi-3.5, Phi-4 -----------------------------------------------------------------


def _read_phi3(config: Config, keys: Keys, stored: Stored) -> None:
    """Read Phi-3; tables of factors mean LongRoPE, and a window of zero none."""
    head_dim = read_heads(config, keys, stored)
    dims = keys.count("rope.dimension_count", default=head_dim)
    original = keys.count("rope.scaling.original_context_length", default=None)
    settings = read_rope_keys(keys, dims, stored)
    settings["partial_rotary_factor"] = share_of(dims, head_dim)
    gain = keys.number("rope.scaling.attn_factor", default=1.0)
    original = original or config[CONTEXT.config]
    if stored.has(LONG) or stored.has(SHORT):
        if settings["rope_type"] != "default":
            raise ConfigError("the file scales its rope twice", remedy="convert the model again")
        settings |= {
            "rope_type": "longrope",
            "long_factor": [shortest(x) for x in stored.tables.get(LONG, ())],
            "short_factor": [shortest(x) for x in stored.tables.get(SHORT, ())],
        }
        usual = longrope_gain(config[CONTEXT.config] / original, original)
        if not math.isclose(gain, usual, rel_tol=1e-6):
            settings["attention_factor"] = gain
    config |= {
        "model_type": "phi3",
        "rope_parameters": settings,
        "original_max_position_embeddings": original,
        "sliding_window": keys.index(WINDOW.key, default=0) or None,
    }


def _write_phi3(spec: ModelSpec) -> dict[str, Typed]:
    keys: dict[str, Typed] = {WINDOW.key: ("u32", 0)}  # which is how the published ones say none
    return attention_keys(spec) | keys | written(spec, WINDOW)


def _phi3_notes(spec: ModelSpec) -> tuple[str, ...]:
    scaling = next((rope.scaling for rope in ropes(spec)), None)
    if not isinstance(scaling, LongRopeScaling):
        return window_left_out(spec)
    return (
        f"llama.cpp takes the long factors for texts of any length once its context is set above "
        f"{scaling.original_context} tokens",
        *window_left_out(spec),
    )


PHI3 = GgufArch(
    name="phi3",
    families=("phi3",),
    fields=(*BODY, RMS_EPS),
    read=_read_phi3,
    write=_write_phi3,
    names=lambda spec: {"layers.{i}.ffn.gate_up.{part}": "blk.{i}.ffn_up.{part}"},
    lacks=odd_heads,
    notes=_phi3_notes,
    extra=lambda spec: dict.fromkeys((LONG, SHORT), "read with the metadata"),
    scalings=(LinearScaling, YarnScaling, LongRopeScaling),
)


# --- olmo2 ---------------------------------------------------------------------------------------


def _read_olmo2(config: Config, keys: Keys, stored: Stored) -> None:
    """Read OLMo 2; a window would make it OLMo 3."""
    read_attention(config, keys, stored)
    keys.neutral(WINDOW.key, 0)
    config["model_type"] = "olmo2"


OLMO2 = GgufArch(
    name="olmo2",
    families=("olmo2",),
    fields=(*BODY, RMS_EPS),
    read=_read_olmo2,
    write=attention_keys,
    lacks=lacks_any(biases, odd_heads, tied),
)


# --- starcoder2 ----------------------------------------------------------------------------------


def _read_starcoder2(config: Config, keys: Keys, stored: Stored) -> None:
    """Read StarCoder2; llama.cpp's converter leaves the window out."""
    read_attention(config, keys, stored)
    config |= {
        "model_type": "starcoder2",
        "use_bias": stored.has("blk.0.attn_q.bias"),
        "sliding_window": keys.index(WINDOW.key, default=0) or None,
    }


def _unbiased(spec: ModelSpec) -> str | None:
    return None if spec.layers[0].mixer.out_bias else "maps without biases"


STARCODER2 = GgufArch(
    name="starcoder2",
    families=("starcoder2",),
    fields=(*BODY, LAYER_EPS.spelled("norm_epsilon")),
    read=_read_starcoder2,
    write=lambda spec: attention_keys(spec) | written(spec, WINDOW),
    lacks=lacks_any(odd_heads, _unbiased),
    notes=window_left_out,
)
