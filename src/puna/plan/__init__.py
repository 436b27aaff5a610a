"""Will it fit: what a model needs for a use, from its headers and config alone."""

from __future__ import annotations

from puna.plan.record import (
    Cache,
    Device,
    Line,
    Option,
    Plan,
    Serve,
    Sketch,
    Tune,
    Use,
    check_cache,
)

__all__ = [
    "Cache",
    "Device",
    "Line",
    "Option",
    "Plan",
    "Serve",
    "Sketch",
    "Tune",
    "Use",
    "check_cache",
    "make_plan",
]


def make_plan(
    sketch: Sketch,
    use: Use,
    *,
    dtype: str = "auto",
    quant: str = "auto",
    device: Device,
    machines: int = 1,
) -> Plan:
    """Return a plan; see `puna.plan.make.make_plan`. Torch is imported only here."""
    from puna.plan.make import make_plan

    return make_plan(sketch, use, dtype=dtype, quant=quant, device=device, machines=machines)
