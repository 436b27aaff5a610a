"""Rotary settings in both published spellings."""

from __future__ import annotations

import math
from typing import Any

from puna.errors import ConfigError
from puna.families.keys import Keys
from puna.spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Rope,
    RopeScaling,
    YarnScaling,
)


def read_rope(
    keys: Keys,
    *,
    head_dim: int,
    context: int,
    theta: float = 10_000.0,
    share: float | None = None,
    original: int | None = None,
) -> Rope:
    """Read `rope_parameters`, or `rope_theta` with `rope_scaling`, into one record.

    Args:
        keys: the whole config.
        head_dim: dims of a head.
        context: the config's context.
        theta: the family's default base.
        share: of the dims, how many turn where the config does not say; None for a family whose
            published code turns them all, whatever the config says.
        original: the family's default of `original_max_position_embeddings`; the context without.

    Raises:
        ConfigError: settings that are no such record, or that this family cannot follow.
    """
    if share is None:
        keys.neutral("partial_rotary_factor", 1.0, 1)
    else:
        share = keys.number("partial_rotary_factor", "rotary_pct", default=share)
    return rope_of(
        keys.take("rope_parameters", "rope_scaling", default={}),
        head_dim=head_dim,
        context=context,
        theta=keys.number("rope_theta", "rotary_emb_base", default=theta),
        share=share,
        original=keys.count("original_max_position_embeddings", default=original),
    )


def rope_of(
    settings: Any,
    *,
    head_dim: int,
    context: int,
    theta: float,
    share: float | None = None,
    original: int | None = None,
    inside: str = "rope_parameters",
) -> Rope:
    """Return the record of one object of rope settings; what it says goes before the arguments.

    `original` goes before what the settings say, as in the reference; `inside` names the object.
    """
    if not isinstance(settings, dict):
        raise ConfigError(f"rope settings must be an object, not {settings!r:.60}")
    inner = Keys(settings, inside)
    if original is not None:
        inner.take("original_max_position_embeddings", default=None)
    base = inner.number("rope_theta", default=theta)
    if share is None:
        inner.neutral("partial_rotary_factor", 1.0, 1)
        dims = head_dim
    else:
        dims = int(head_dim * inner.number("partial_rotary_factor", default=share))
    kind = inner.take("rope_type", "type", default="default")
    scaling = _scaling(str(kind), inner, context=context, original=original)
    inner.finish()
    return Rope(base, dims, scaling=scaling)


def scaled_context(context: int, rope: Rope) -> int:
    """Return the longest sequence in tokens that a config's `context` and its scaling allow.

    Linear and dynamic scaling are published beside the context from before they were applied;
    a context beside the other rules counts them in, or states what they start from.
    """
    if isinstance(rope.scaling, LinearScaling | DynamicScaling):
        return max(context, int(context * rope.scaling.factor))
    if isinstance(rope.scaling, YarnScaling):
        return max(context, int(rope.scaling.original_context * rope.scaling.factor))
    return context


def _scaling(kind: str, keys: Keys, *, context: int, original: int | None) -> RopeScaling | None:
    if kind == "default":
        return None
    if kind == "yarn":
        return _yarn(keys, context=context, original=original)
    if kind == "linear":
        return LinearScaling(keys.number("factor"))
    if kind == "dynamic":
        # The published rule measures growth from the config's own context.
        keys.take("original_max_position_embeddings", default=None)
        return DynamicScaling(keys.number("factor"), context)
    if kind == "llama3":
        return Llama3Scaling(
            keys.number("factor"),
            keys.number("low_freq_factor"),
            keys.number("high_freq_factor"),
            original or keys.count("original_max_position_embeddings", default=context),
        )
    if kind in {"longrope", "su"}:
        return _longrope(keys, context=context, original=original)
    raise ConfigError(
        f"rope scaling {kind!r:.60} is unknown",
        remedy="known: default, linear, dynamic, yarn, llama3, longrope",
    )


def _longrope(keys: Keys, *, context: int, original: int | None) -> LongRopeScaling:
    start = original or keys.count("original_max_position_embeddings", default=context)
    factor = keys.number("factor", default=context / start)
    attention = keys.nullable_number("attention_factor", absent=None)
    if attention is None:
        attention = longrope_gain(factor, start)
    return LongRopeScaling(
        keys.numbers("short_factor"), keys.numbers("long_factor"), start, attention
    )


def longrope_gain(factor: float, original: int) -> float:
    """Return what LongRoPE multiplies queries and keys by, for contexts `factor` times as long."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def _yarn(keys: Keys, *, context: int, original: int | None) -> YarnScaling:
    start = original or keys.count("original_max_position_embeddings", default=context)
    keys.take("finetuned", default=None)  # a note of the first published models
    factor = keys.number("factor", default=context / start)
    scale, all_dims = (_gain(keys, name) for name in ("mscale", "mscale_all_dim"))
    attention = keys.number("attention_factor", default=None)
    if not attention:
        attention = (
            yarn_gain(factor, scale) / yarn_gain(factor, all_dims)
            if scale and all_dims
            else yarn_gain(factor, 1.0)
        )
    return YarnScaling(
        factor,
        start,
        keys.number("beta_fast", default=32.0),
        keys.number("beta_slow", default=1.0),
        attention,
        keys.switch("truncate", default=True),
    )


def _gain(keys: Keys, name: str) -> float | None:
    """Return a number above zero; None where it is absent or zero, which says nothing either."""
    return keys.number(name) if keys.take(name, default=None) else None


def yarn_gain(factor: float, scale: float) -> float:
    """Return what YaRN multiplies queries and keys by, for contexts `factor` times as long."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0
