"""How many devices of which memory hold a model, its layers split whole over them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from puna.plan.devices import known_devices
from puna.plan.estimate import estimate, total_of
from puna.plan.record import Device, Line, Plan

# One device for each common size of memory.
_SIZES = ("rtx4090", "l40s", "h100", "h200", "mi300x")


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many of a device; `lines` are the parts on the fullest of them.

    A count of None: not even one layer on each is enough, for the largest part.
    """

    device: Device
    count: int | None
    lines: tuple[Line, ...]

    @property
    def total(self) -> int:
        """Bytes that the fullest device needs."""
        return sum(line.bytes for line in self.lines)


def fleets(plan: Plan) -> tuple[Fleet, ...]:
    """Return the fewest devices of each common size of memory that hold what was planned."""
    return tuple(_fleet(plan, known_devices()[name]) for name in _SIZES)


def _fleet(plan: Plan, device: Device) -> Fleet:
    def lines(count: int) -> tuple[Line, ...]:
        return tuple(estimate(plan.sketch, plan.use, plan.dtype, device.kind, count))

    most = len(plan.sketch.spec.layers)
    counts = range(1, most + 1)
    at = bisect_left(counts, True, key=lambda n: total_of([*lines(n)]) <= device.memory)
    if at == most:
        return Fleet(device, None, lines(most))
    return Fleet(device, counts[at], lines(counts[at]))
