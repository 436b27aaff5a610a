"""Rotary settings of GGUF metadata: scaling by name, and tables of factors as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from puna.errors import ConfigError
from puna.families.gguf.arch import Stored, Typed, ropes
from puna.families.keys import Keys
from puna.spec import (
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    ModelSpec,
    Rope,
    YarnScaling,
)

# Tensors of factors: one by the rule of Llama 3, and the two lists of LongRoPE.
TABLE, LONG, SHORT = (
    f"{name}.weight" for name in ("rope_freqs", "rope_factors_long", "rope_factors_short")
)
TABLES = (TABLE, LONG, SHORT)
LOG_MULTIPLIER = "rope.scaling.yarn_log_multiplier"

_REMEDY = "convert the model again, or load its safetensors"
# Keys of our own beside the table: they say which rule it came from. Others pass over them.
_RULE = "rope.scaling.llama3."
_PUBLISHED = (1.0, 4.0, 8192)  # low and high factor and first context of Llama 3.1 to 3.3


def read_rope_keys(
    keys: Keys, dims: int, stored: Stored, *, multiplied: bool = False
) -> dict[str, Any]:
    """Return `rope_parameters` in the published spelling; an absent base is 10 000 as in ggml.

    `multiplied`: the architecture itself reads the multiplier that goes with its scores.
    """
    factors = stored.tables.get(TABLE)
    if not multiplied:
        keys.neutral(LOG_MULTIPLIER, 0.0)
    settings: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": keys.number("rope.freq_base", default=10_000.0),
    }
    keys.take("rope.scaling.finetuned", default=None)
    factor = keys.number("rope.scaling.factor", "rope.scale_linear", default=1.0)
    kind = keys.take("rope.scaling.type", default="linear")
    original = keys.count("rope.scaling.original_context_length", default=None)
    if kind == "yarn":
        settings |= _yarn(keys, factor, original)
    elif kind == "linear" and factor != 1.0:
        settings |= {"rope_type": "linear", "factor": factor}
    elif kind not in ("linear", "none"):
        raise ConfigError(
            f"rope scaling {kind!r:.60} of a GGUF file cannot be computed here", remedy=_REMEDY
        )
    if factors is not None:
        if settings["rope_type"] != "default":
            raise ConfigError("the file scales its rope twice", remedy=_REMEDY)
        settings |= _llama3(keys, settings["rope_theta"], dims, factors, original)
    return settings


def _yarn(keys: Keys, factor: float, original: int | None) -> dict[str, Any]:
    keys.neutral("rope.scaling.yarn_ext_factor", 1.0)
    settings: dict[str, Any] = {"rope_type": "yarn", "factor": factor}
    if original is not None:
        settings["original_max_position_embeddings"] = original
    for name in ("beta_fast", "beta_slow"):
        if keys.has(key := f"rope.scaling.yarn_{name}"):
            settings[name] = keys.number(key)
    # One is the published factor as it is; the other multiplies the usual one.
    exact, share = "rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor"
    if keys.has(exact):
        settings["attention_factor"] = keys.number(exact)
        keys.take(share, default=None)
    elif keys.has(share):
        settings["attention_factor"] = keys.number(share) * _usual(factor)
    return settings


def _usual(factor: float) -> float:
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0


def _llama3(
    keys: Keys, theta: float, dims: int, factors: Sequence[float], original: int | None
) -> dict[str, Any]:
    """Find the rule that gives this table; it is refused where none does."""
    if len(factors) != dims // 2 or not all(0 < f < math.inf for f in factors):
        raise ConfigError(f"rope_freqs.weight is no table of {dims // 2} factors", remedy=_REMEDY)
    rules = [Llama3Scaling(max(factors), *_PUBLISHED)]
    if original is not None:
        rules.insert(0, Llama3Scaling(max(factors), *_PUBLISHED[:2], original))
    if keys.has(f"{_RULE}factor"):
        names = ("factor", "low_freq_factor", "high_freq_factor")
        values = [keys.number(_RULE + name) for name in names]
        first = keys.count(f"{_RULE}original_context_length")
        rules.insert(0, Llama3Scaling(values[0], values[1], values[2], first))
    elif (fitted := _fit(theta, dims, factors)) is not None:
        rules.append(fitted)
    for rule in rules:
        expected = rope_factors(Rope(theta, dims, scaling=rule), rule)
        if all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(expected, factors, strict=True)):
            return {
                "rope_type": "llama3",
                "factor": rule.factor,
                "low_freq_factor": rule.low_freq_factor,
                "high_freq_factor": rule.high_freq_factor,
                "original_max_position_embeddings": rule.original_context,
            }
    raise ConfigError("the factors of rope_freqs.weight follow no known rule", remedy=_REMEDY)


def _fit(theta: float, dims: int, factors: Sequence[float]) -> Llama3Scaling | None:
    """Solve for the rule from two dims on its ramp.

    There the share kept is linear in the turns per token; only the ratios of the first context
    to the two factors matter, so the low factor is set to one.
    """
    most = max(factors)
    ramp = [(i, f) for i, f in enumerate(factors) if 1.001 < f < most * 0.999]
    if len(ramp) < 2:
        return None
    (i, first), (j, last) = ramp[0], ramp[-1]
    turns = [theta ** (-2 * n / dims) / (2 * math.pi) for n in (i, j)]
    kept = [(1 / f - 1 / most) / (1 - 1 / most) for f in (first, last)]
    slope = (kept[0] - kept[1]) / (turns[0] - turns[1])
    below = slope * turns[0] - kept[0]  # low / (high - low)
    if slope <= 0 or below <= 0:
        return None
    span = 1 / below
    return Llama3Scaling(most, 1.0, round(1 + span, 3), round(slope * span))


def rope_factors(rope: Rope, rule: Llama3Scaling) -> list[float]:
    """Return what each frequency is divided by, as `rope_freqs.weight` holds it."""
    found = []
    for i in range(rope.dims // 2):
        turns = rule.original_context * rope.theta ** (-2 * i / rope.dims) / (2 * math.pi)
        keep = (turns - rule.low_freq_factor) / (rule.high_freq_factor - rule.low_freq_factor)
        keep = min(max(keep, 0.0), 1.0)
        found.append(1 / (keep + (1 - keep) / rule.factor))
    return found


def rope_tables(spec: ModelSpec) -> dict[str, list[float]]:
    """Return the tensors of factors that a spec needs, by name."""
    for rope in ropes(spec):
        if isinstance(rope.scaling, Llama3Scaling):
            return {TABLE: rope_factors(rope, rope.scaling)}
        if isinstance(rope.scaling, LongRopeScaling):
            return {LONG: list(rope.scaling.long), SHORT: list(rope.scaling.short)}
    return {}


def rope_keys(rope: Rope | None) -> dict[str, Typed]:
    """Return the keys of a rope."""
    if rope is None:
        return {}
    keys: dict[str, Typed] = {
        "rope.dimension_count": ("u32", rope.dims),
        "rope.freq_base": ("f32", rope.theta),
    }
    scaling = rope.scaling
    if isinstance(scaling, LinearScaling):
        keys |= _scaling("linear", scaling.factor)
    elif isinstance(scaling, YarnScaling):
        keys |= _scaling("yarn", scaling.factor) | _yarn_keys(scaling)
    elif isinstance(scaling, Llama3Scaling):
        keys[f"{_RULE}factor"] = ("f32", scaling.factor)
        keys[f"{_RULE}low_freq_factor"] = ("f32", scaling.low_freq_factor)
        keys[f"{_RULE}high_freq_factor"] = ("f32", scaling.high_freq_factor)
        keys[f"{_RULE}original_context_length"] = ("u32", scaling.original_context)
    elif isinstance(scaling, LongRopeScaling):
        keys["rope.scaling.original_context_length"] = ("u32", scaling.original_context)
        keys["rope.scaling.attn_factor"] = ("f32", scaling.attention_factor)
    return keys


def _yarn_keys(scaling: YarnScaling) -> dict[str, Typed]:
    keys: dict[str, Typed] = {
        "rope.scaling.original_context_length": ("u32", scaling.original_context),
        "rope.scaling.yarn_beta_fast": ("f32", scaling.beta_fast),
        "rope.scaling.yarn_beta_slow": ("f32", scaling.beta_slow),
    }
    usual = _usual(scaling.factor)
    if scaling.attention_factor != usual:
        keys["rope.scaling.yarn_attn_factor"] = ("f32", scaling.attention_factor)
        keys["rope.scaling.attn_factor"] = ("f32", scaling.attention_factor / usual)
    return keys


def yarn_notes(spec: ModelSpec) -> tuple[str, ...]:
    """Say what llama.cpp passes over of YaRN's settings."""
    for rope in ropes(spec):
        scaling = rope.scaling
        if not isinstance(scaling, YarnScaling):
            continue
        if (scaling.beta_fast, scaling.beta_slow) != (32.0, 1.0):
            return (
                "llama.cpp sets the ramp of YaRN by 32 and 1 whatever the file says: "
                "texts come out differently there",
            )
        if not scaling.truncate:
            return (
                "llama.cpp rounds the ramp of YaRN to whole dims: logits differ by a little there",
            )
    return ()


def _scaling(kind: str, factor: float) -> dict[str, Typed]:
    return {"rope.scaling.type": ("str", kind), "rope.scaling.factor": ("f32", factor)}
