"""95 % intervals: for shares of successes, and for means of anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from puna.errors import UsageError
from puna.report.record import Metric

_Z = 1.959963984540054  # the normal quantile at 97.5 %
_RESAMPLES = 2000
_CELLS = 4_000_000  # drawn at a time, so that memory stays small


def wilson(successes: int, n: int) -> Metric:
    """Return the share of successes with its 95 % score interval (Wilson 1927).

    It stays within [0, 1] and has a width also where all or none succeed.

    Raises:
        UsageError: no trials, or more successes than trials.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"no share can be made of {successes} successes in {n} trials")
    share = successes / n
    center = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    # Rounding must not put the share outside its own interval.
    low, high = max(0.0, min(center - half, share)), min(1.0, max(center + half, share))
    return Metric(share, n, low, high, "share")


def bootstrap(
    values: Sequence[float], seed: int, *, weights: Sequence[float] | None = None
) -> Metric:
    """Return the mean of `values` with its 95 % percentile bootstrap interval (Efron 1979).

    With `weights` it is the weighted mean; value and weight are resampled together. Of one value,
    or of equal values, the interval has no width.

    Raises:
        UsageError: no values, or one that is not finite; weights that are not one per value, or
            not above zero.
    """
    sample = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(sample) if weights is None else np.asarray(weights, dtype=np.float64)
    if sample.ndim != 1 or not sample.size or not np.isfinite(sample).all():
        raise UsageError("a mean needs finite values, at least one")
    if weight.shape != sample.shape or not (np.isfinite(weight) & (weight > 0)).all():
        raise UsageError("a weighted mean needs one weight above zero for each value")
    product = sample * weight
    draw = np.random.default_rng(seed)
    size = sample.size
    at_once = max(1, _CELLS // size)
    means = []
    for done in range(0, _RESAMPLES, at_once):
        drawn = draw.integers(0, size, (min(at_once, _RESAMPLES - done), size))
        means.append(product[drawn].sum(1) / weight[drawn].sum(1))
    mean = float(product.sum() / weight.sum())
    low, high = (float(edge) for edge in np.quantile(np.concatenate(means), (0.025, 0.975)))
    return Metric(mean, size, min(low, mean), max(high, mean))
