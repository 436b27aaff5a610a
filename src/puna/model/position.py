"""Rotary angles for any scaling rule, from the spec's records."""

from __future__ import annotations

import math
from functools import singledispatch

import torch
from torch import Tensor

from puna.spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Rope,
    YarnScaling,
)


class RotaryTable:
    """Cosines and sines of one `Rope` for N tokens, shared by all layers that use it."""

    def __init__(self, rope: Rope) -> None:
        self.rope = rope
        self._gain = getattr(rope.scaling, "attention_factor", 1.0)
        # Plain attributes on the CPU: a model built on the meta device needs them real.
        self._frequencies = _scale(rope.scaling, _base_frequencies(rope), rope)

    def __call__(self, positions: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin, each [N, dims/2] float32, for positions [N] and spans [N]."""
        frequencies = self._frequencies.to(positions.device)
        if isinstance(self.rope.scaling, DynamicScaling):
            frequencies = _dynamic_frequencies(self.rope, self.rope.scaling, spans)
        elif isinstance(self.rope.scaling, LongRopeScaling):
            long = spans > self.rope.scaling.original_context
            frequencies = frequencies[long.long()]
        angles = positions[:, None].float() * frequencies
        return angles.cos() * self._gain, angles.sin() * self._gain


def rotate(x: Tensor, cos: Tensor, sin: Tensor, rope: Rope) -> Tensor:
    """Rotate the first `rope.dims` of each head: x [N, heads, D], cos and sin [N, dims/2]."""
    cos, sin = cos[:, None].to(x.dtype), sin[:, None].to(x.dtype)
    turned, rest = x[..., : rope.dims], x[..., rope.dims :]
    if rope.interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        out = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        out = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
    return out if rest.shape[-1] == 0 else torch.cat((out, rest), -1)


def _exponents(rope: Rope) -> Tensor:
    return torch.arange(0, rope.dims, 2, dtype=torch.float32, device="cpu") / rope.dims


def _base_frequencies(rope: Rope) -> Tensor:
    return 1.0 / rope.theta ** _exponents(rope)


def _dynamic_frequencies(rope: Rope, scaling: DynamicScaling, spans: Tensor) -> Tensor:
    """Return [N, dims/2]: the base of each token grows with its own sequence (NTK-aware)."""
    lengths = spans.clamp(min=scaling.original_context).double()
    growth = scaling.factor * lengths / scaling.original_context - (scaling.factor - 1)
    theta = (rope.theta * growth ** (rope.dims / (rope.dims - 2))).float()
    return 1.0 / theta[:, None] ** _exponents(rope).to(spans.device)


@singledispatch
def _scale(scaling: object, frequencies: Tensor, rope: Rope) -> Tensor:
    return frequencies


@_scale.register
def _(scaling: LinearScaling, frequencies: Tensor, rope: Rope) -> Tensor:
    return frequencies / scaling.factor


@_scale.register
def _(scaling: LongRopeScaling, frequencies: Tensor, rope: Rope) -> Tensor:
    """Return [2, dims/2]: for short sequences and for long ones."""
    divisors = torch.tensor((scaling.short, scaling.long), dtype=torch.float32, device="cpu")
    return frequencies / divisors


@_scale.register
def _(scaling: Llama3Scaling, frequencies: Tensor, rope: Rope) -> Tensor:
    wavelengths = 2 * math.pi / frequencies
    # 0 where a wavelength fits the original context too seldom, 1 where it fits often enough.
    turns = scaling.original_context / wavelengths
    span = scaling.high_freq_factor - scaling.low_freq_factor
    keep = ((turns - scaling.low_freq_factor) / span).clamp(0, 1)
    return frequencies * (keep + (1 - keep) / scaling.factor)


@_scale.register
def _(scaling: YarnScaling, frequencies: Tensor, rope: Rope) -> Tensor:
    def dimension(turns: float) -> float:
        ratio = scaling.original_context / (turns * 2 * math.pi)
        return rope.dims * math.log(ratio) / (2 * math.log(rope.theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dims - 1)
    width = high - low if high != low else 0.001
    steps = torch.arange(rope.dims // 2, dtype=torch.float32, device="cpu")
    keep = 1 - ((steps - low) / width).clamp(0, 1)
    return frequencies * (keep + (1 - keep) / scaling.factor)
