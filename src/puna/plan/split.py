"""Layers over devices: whole, in their order, so that the fullest device holds least."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def split(layers: Sequence[int], first: int, last: int, machines: int) -> list[range]:
    """Return which layers each device takes, so that the largest load is as small as it can be.

    Args:
        layers: bytes of each layer.
        first, last: bytes that stand before the first layer and behind the last one.
        machines: at least one; those that are left without a layer get an empty range.
    """
    costs = [*layers]
    costs[0] += first
    costs[-1] += last
    low, high = max(costs), sum(costs)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(costs, middle)) <= machines:
            high = middle
        else:
            low = middle + 1
    ends = _fill(costs, low)
    ends += [len(costs)] * (machines - len(ends))
    return [range(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _fill(costs: Sequence[int], room: int) -> list[int]:
    """Return where each device ends that takes as many layers as it has room for."""
    ends, start = [], 0
    sums = [0, *accumulate(costs)]
    for at in range(1, len(costs) + 1):
        if sums[at] - sums[start] > room:
            ends.append(at - 1)
            start = at - 1
    return [*ends, len(costs)]
