"""The parts of a plan, on the device that needs most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch

from puna.errors import UsageError
from puna.plan.costs import Bytes, Costs, costs_of, table_bytes
from puna.plan.packed import packs_of
from puna.plan.record import Line, Serve, Sketch, Tune, Use
from puna.plan.split import split

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def dtype_of(sketch: Sketch, dtype: str) -> str:
    """Return the name of the dtype that weights are kept in.

    Raises:
        UsageError: there is no such dtype.
    """
    name = sketch.dtype if dtype == "auto" else dtype
    if name not in DTYPES:
        raise UsageError(
            f"unknown dtype {dtype!r:.40}", remedy=f"choose one of auto, {', '.join(DTYPES)}"
        )
    return name


def check_use(sketch: Sketch, use: Use) -> None:
    """See that a model can be used in that way.

    Raises:
        UsageError: more tokens than the model's context.
    """
    if isinstance(use, Tune) and use.method == "full" and sketch.packing is not None:
        raise UsageError(
            f"weights packed as {sketch.packing.format} do not learn",
            remedy="tune an adapter on them (lora), or every weight of the model they came from",
        )
    context = sketch.spec.context
    if use.context > context:
        what = "sequences" if isinstance(use, Serve) else "examples"
        raise UsageError(
            f"{what} of {use.context:,} tokens, but the context of {sketch.name} is {context:,}",
            remedy=f"ask for a context of at most {context}",
        )


def estimate(sketch: Sketch, use: Use, dtype: str, kind: str, machines: int = 1) -> list[Line]:
    """Return the parts of what the fullest of so many devices holds, the largest first."""
    costs = _costs(_Key(sketch), use, DTYPES[dtype], kind)
    if machines > 1 and sketch.spec.head.tied:
        # The table stands before the first layer and is needed behind the last one too.
        table = table_bytes(sketch.spec, DTYPES[dtype], packs_of(sketch, DTYPES[dtype]))
        costs = replace(costs, last=costs.last + Counter(weights=table))
    loads = [sum(layer.values()) for layer in costs.layers]
    shares = split(loads, sum(costs.first.values()), sum(costs.last.values()), machines)
    fullest = max((_load(costs, share) for share in shares), key=lambda load: load.total())
    return [Line(name, size) for name, size in fullest.most_common() if size > 0]


def total_of(lines: list[Line]) -> int:
    """Return the sum of the parts."""
    return sum(line.bytes for line in lines)


def _load(costs: Costs, share: range) -> Bytes:
    load: Bytes = Counter(costs.each)
    for at in share:
        load.update(costs.layers[at])
    if 0 in share:
        load.update(costs.first)
    if len(costs.layers) - 1 in share:
        load.update(costs.last)
    return load


class _Key:
    """A sketch that can be looked up: its mapping of formats cannot be hashed."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self._identity = (
            sketch.spec,
            sketch.form,
            sketch.packing,
            tuple(sorted(sketch.stored.items())),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


@cache
def _costs(key: _Key, use: Use, dtype: torch.dtype, kind: str) -> Costs:
    return costs_of(key.sketch, use, dtype, kind)
