"""What records of architectures share: attention, windows, experts, and what can be lacking."""

from __future__ import annotations

import math
from collections.abc import Callable

from puna.errors import ConfigError
from puna.families.gguf.arch import (
    EXPERT_FFN,
    EXPERTS,
    HEAD_DIM,
    KV_HEADS,
    LAYERS,
    PICKED,
    VALUE_DIM,
    VOCAB,
    WINDOW,
    Config,
    Field,
    Stored,
    Typed,
    equal_or_refuse,
    ropes,
    window_of,
)
from puna.families.gguf.rope import read_rope_keys, rope_keys
from puna.families.keys import Keys
from puna.families.table import Layout, RopePairs
from puna.spec import Dense, ModelSpec, MoE, Rope

Lacks = Callable[[ModelSpec], str | None]
PATTERN = "attention.sliding_window_pattern"
_SLIDING, _FULL = "sliding_attention", "full_attention"


def written(spec: ModelSpec, *fields: Field) -> dict[str, Typed]:
    """Return the keys of rows that the spec has a value for."""
    return {f.key: (f.kind, value) for f in fields if (value := f.of(spec)) is not None}


def positive(keys: Keys, key: str, absent: float | None) -> float | None:
    """Return a number above zero; `absent` where the key is zero or not there, as in llama.cpp."""
    value = keys.take(key, default=0)
    return absent if type(value) in (int, float) and value == 0 else keys.number(key)


# --- attention -----------------------------------------------------------------------------------


def read_attention(config: Config, keys: Keys, stored: Stored) -> None:
    """Read key/value heads, dims of a head, and a rope that turns all of them."""
    head_dim = read_heads(config, keys, stored)
    equal_or_refuse(keys, "rope.dimension_count", head_dim, stored.arch)
    config["rope_parameters"] = read_rope_keys(keys, head_dim, stored)


def read_heads(config: Config, keys: Keys, stored: Stored) -> int:
    """Read key/value heads and the dims of a head, and return the latter."""
    heads = config["num_attention_heads"]
    config["num_key_value_heads"] = KV_HEADS.take(keys, heads)
    head_dim: int = HEAD_DIM.take(keys, config["hidden_size"] // heads)
    equal_or_refuse(keys, VALUE_DIM.key, head_dim, stored.arch)
    config["head_dim"] = head_dim
    return head_dim


def share_of(dims: int, head_dim: int) -> float:
    """Return the part of a head that turns, such that a reader finds `dims` again."""
    share = dims / head_dim
    # The division may fall just short of a whole number.
    return share if int(head_dim * share) == dims else math.nextafter(share, 2.0)


def attention_keys(spec: ModelSpec) -> dict[str, Typed]:
    """Return heads, vocabulary and rope of a spec whose layers all turn alike."""
    rope = next(iter(ropes(spec)), None)
    return written(spec, KV_HEADS, HEAD_DIM, VALUE_DIM, VOCAB) | rope_keys(rope)


def paired(spec: ModelSpec) -> dict[str, Layout]:
    """Say that q and k are stored for a rope that turns neighbors."""
    mixer = spec.layers[0].mixer
    project = "layers.{i}.attn.project."
    return {f"{project}q": RopePairs(mixer.heads), f"{project}k": RopePairs(mixer.kv_heads)}


# --- windows -------------------------------------------------------------------------------------


def read_pattern(keys: Keys, period: int) -> list[str]:
    """Return `layer_types`: all layers slide but the last of each period, or as a list says."""
    layers = keys.layers(LAYERS.key)
    said = keys.take(PATTERN, default=period)
    if isinstance(said, list):
        if len(said) < layers or any(value not in (0, 1) for value in said[:layers]):
            raise ConfigError(
                f"metadata key {PATTERN} must say yes or no for each of {layers} layers",
                remedy="convert the model again",
            )
        slides = [bool(value) for value in said[:layers]]
    else:
        slides = _default(layers, keys.index(PATTERN, default=period))
    return [_SLIDING if slide else _FULL for slide in slides]


def full_layers(keys: Keys) -> list[str]:
    """Return `layer_types` of a model without windows."""
    keys.skip(PATTERN)
    return [_FULL] * keys.layers(LAYERS.key)


def pattern_keys(spec: ModelSpec, period: int) -> dict[str, Typed]:
    """Return the window, and which layers have it where they are not those that are implied."""
    slides = [layer.mixer.window is not None for layer in spec.layers]
    keys: dict[str, Typed] = {WINDOW.key: ("u32", window_of(spec) or spec.context)}
    if slides != _default(len(slides), period):
        keys[PATTERN] = ("[bool]", slides)
    return keys


def _default(layers: int, period: int) -> list[bool]:
    return [period == 0 or i % period < period - 1 for i in range(layers)]


def window_left_out(spec: ModelSpec) -> tuple[str, ...]:
    """Say that llama.cpp knows no window for this architecture, if the model has one."""
    window = window_of(spec)
    if window is None or window >= spec.context:
        return ()
    return (
        f"llama.cpp computes this architecture without its window of {window} tokens: "
        "longer texts come out differently there",
    )


# --- experts -------------------------------------------------------------------------------------


def expert_keys(spec: ModelSpec) -> dict[str, Typed]:
    """Return how many experts there are, how many are picked, and their width."""
    return written(spec, EXPERT_FFN, EXPERTS, PICKED)


# --- what llama.cpp lacks ------------------------------------------------------------------------


def lacks_any(*checks: Lacks) -> Lacks:
    """Return the first thing of several that is lacking."""
    return lambda spec: next(filter(None, (check(spec) for check in checks)), None)


def biases(spec: ModelSpec) -> str | None:
    """Miss biases behind attention and in feed-forward networks."""
    for layer in spec.layers:
        ffn = layer.ffn
        parts = (ffn,) if isinstance(ffn, Dense) else (ffn.expert, *filter(None, (ffn.shared,)))
        if layer.mixer.out_bias or any(part.bias for part in parts):
            return "biases in these places"
    return None


def windows(spec: ModelSpec) -> str | None:
    """Miss windows."""
    return None if window_of(spec) is None else "a sliding window"


def tied(spec: ModelSpec) -> str | None:
    """Miss heads that are the embedding."""
    return "a head tied to the embedding" if spec.head.tied else None


def untied(spec: ModelSpec) -> str | None:
    """Miss heads that are not the embedding."""
    return None if spec.head.tied else "a head of its own beside the embedding"


def odd_heads(spec: ModelSpec) -> str | None:
    """Miss heads whose dims do not make up the width."""
    mixer = spec.layers[0].mixer
    return None if mixer.q_width == spec.width else "heads that are not as wide as the model"


def dense_layers(spec: ModelSpec) -> str | None:
    """Miss layers without experts."""
    every = all(isinstance(layer.ffn, MoE) for layer in spec.layers)
    return None if every else "dense layers beside experts"


def own_scale(scale_of: Callable[[ModelSpec], float]) -> Lacks:
    """Miss scales of the scores other than the one that follows from the sizes."""

    def check(spec: ModelSpec) -> str | None:
        said = {layer.mixer.scale for layer in spec.layers}
        return None if said == {scale_of(spec)} else "a scale of the scores of its own"

    return check


def scaled_rope(spec: ModelSpec, scalings: tuple[type, ...]) -> str | None:
    """Miss rules of rotary scaling."""
    odd = [rope for rope in ropes(spec) if rope.scaling and not isinstance(rope.scaling, scalings)]
    return type(odd[0].scaling).__name__ if odd else None


def rope_where(spec: ModelSpec, *, window: bool) -> Rope | None:
    """Return the rope of the layers that have a window, or of those that have none."""
    found = (m.position for m in (x.mixer for x in spec.layers) if bool(m.window) is window)
    return next((rope for rope in found if isinstance(rope, Rope)), None)
