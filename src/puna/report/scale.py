"""Axes: round ticks, their labels, and the way from values to places."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from [low, high] to [start, end] in units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(values: Iterable[float], count: int = 5) -> tuple[float, ...]:
    """Return about `count` round numbers, evenly spaced, that enclose all values."""
    found = list(values)
    low, high = min(found), max(found)
    size = max(abs(low), abs(high))
    if high - low <= max(size * 1e-9, 1e-300):
        pad = size / 2 or 0.5
        low, high = low - pad, high + pad
    step = _round_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(i * step, 12) if step > 1e-9 else i * step for i in range(first, last + 1))


def tick_label(value: float, step: float) -> str:
    """Return a tick's label with as many digits as tell it from those a step away."""
    size = max(abs(value), step)
    if size >= 1e6 or step < 1e-5:
        return f"{value:.{max(3, math.ceil(math.log10(size / step)) + 2)}g}"
    decimals = next(d for d in range(8) if math.isclose(round(step, d), step, rel_tol=1e-6))
    return f"{value:,.{decimals}f}"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
