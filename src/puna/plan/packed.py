"""What packed weights take less than weights in a dtype."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch

from puna.formats import PACKINGS, choose_packing, packed_bytes, repacked_bits
from puna.model import build
from puna.plan.record import Sketch
from puna.plan.stand_in import Kind, reduced
from puna.spec import LayerSpec, ModelSpec, MoE, count_parameters

# What is packed by one weight at a time: codes before they are joined, and the record itself.
_PACKING_BYTES = 2


@dataclass(frozen=True, slots=True)
class Packs:
    """How matrices are packed: in one of `PACKINGS`, or kept in `bits` per value on average."""

    format: str | None
    bits: float = 0.0

    def bytes(self, rows: int, width: int) -> int:
        """Return what a matrix takes."""
        if self.format is None:
            return int(rows * width * self.bits / 8)
        return packed_bytes(self.format, rows, width)


def opened_as(sketch: Sketch, quant: str, dtype: str) -> Sketch:
    """Return a sketch whose packing is what opening makes of it.

    Raises:
        UsageError: as `puna.formats.choose_packing`.
    """
    types = sketch.stored if sketch.form == "gguf" else {}
    packing = choose_packing(quant, dtype, own=sketch.packing, types=types)
    return replace(sketch, packing=packing)


def packs_of(sketch: Sketch, dtype: torch.dtype) -> Packs | None:
    """Return how the matrices of a sketch are packed once it is opened; None where they are not."""
    if sketch.packing is None:
        return None
    if sketch.packing.format in PACKINGS:
        return Packs(sketch.packing.format)
    if sketch.form != "gguf":  # blocks that were kept and saved
        return Packs(None, 8 * sketch.files / count_parameters(sketch.spec))
    plain = 8 * dtype.itemsize
    each = {kind: repacked_bits(kind) or plain for kind in sketch.stored}
    total = sum(sketch.stored.values())
    return Packs(None, sum(each[kind] * n for kind, n in sketch.stored.items()) / total)


@cache
def saved_by_layer(layer: LayerSpec, spec: ModelSpec, dtype: torch.dtype, packs: Packs) -> int:
    """Return the bytes that a layer takes less for being packed."""
    few = _saved(layer, spec, dtype, packs, 1)
    if not isinstance(layer.ffn, MoE):
        return few
    return few + (layer.ffn.experts - 1) * (_saved(layer, spec, dtype, packs, 2) - few)


def saved_by_ends(spec: ModelSpec, dtype: torch.dtype, packs: Packs) -> tuple[int, int]:
    """Return the bytes that the table, and a head of its own, take less for being packed."""
    ends = packs if packs.format is None else Packs("int8")
    table, head = spec.embed.width or spec.width, spec.head.width or spec.width
    saved = _less(spec.vocab, table, dtype, ends)
    return saved, 0 if spec.head.tied else _less(spec.vocab, head, dtype, ends)


def largest_working(spec: ModelSpec, rows: int) -> int:
    """Return what a product by packed weights holds: its input in two forms, output in float32."""
    return max(rows * max(9 * k + 4 * n for n, k in _shapes(x, spec, 1)) for x in set(spec.layers))


def packing_bytes(largest: int) -> int:
    """Return what packing holds for a moment, of the values of the largest tensor."""
    return _PACKING_BYTES * largest


def _saved(
    layer: LayerSpec, spec: ModelSpec, dtype: torch.dtype, packs: Packs, experts: int
) -> int:
    return sum(_less(n, k, dtype, packs) for n, k in _shapes(layer, spec, experts))


def _less(rows: int, width: int, dtype: torch.dtype, packs: Packs) -> int:
    return rows * width * dtype.itemsize - packs.bytes(rows, width)


def _shapes(layer: LayerSpec, spec: ModelSpec, experts: int) -> Iterator[tuple[int, int]]:
    """Yield the shapes of what is packed in a layer with so many experts."""
    few = reduced(spec, [Kind(layer, 1, 1, experts)])
    model = build(few)
    for name in model.packable():
        if name.startswith("layers."):
            rows, width = model.get_parameter(name).shape
            yield rows, width
