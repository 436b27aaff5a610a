"""Experts published in MXFP4: two tensors that end in `_blocks` and `_scales` stand for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from puna.errors import WeightsError
from puna.families import NameTable, Slice
from puna.quant import dequantize_mxfp4
from puna.weights.entry import Entry

SUFFIXES = ("_blocks", "_scales")


@dataclass(frozen=True, slots=True)
class Stack:
    """The tensor [E, in, out] of all experts, unpacked a slice at a time.

    Args:
        blocks: uint8 [E, out, in / 32, 16].
        scales: uint8 [E, out, in / 32].
    """

    blocks: Tensor
    scales: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Bfloat16, which holds every value."""
        return torch.bfloat16

    @property
    def shape(self) -> torch.Size:
        """The shape once unpacked."""
        experts, outputs, groups = self.scales.shape
        return torch.Size((experts, 32 * groups, outputs))

    def part(self, layout: Slice | None, dtype: torch.dtype) -> Tensor:
        """Return rows [out, in] of one expert, in a new tensor."""
        assert layout is not None  # no parameter has three axes
        rows = slice(layout.start, None, layout.step)
        expert = layout.index
        return dequantize_mxfp4(self.blocks[expert, rows], self.scales[expert, rows], dtype)


def join_stacks(entries: Iterable[Entry], table: NameTable) -> Iterator[Entry]:
    """Pass entries on, those of a pair as one under the name that the table knows.

    Raises:
        WeightsError: half of a pair, or two halves that do not fit.
    """
    halves: dict[str, Entry] = {}
    for entry in entries:
        stem = _stem(entry, table)
        if stem is None:
            yield entry
        elif stem not in halves:
            halves[stem] = entry  # the other half may stand in another file
        else:
            yield _joined(stem, halves.pop(stem), entry)
    for stem, entry in halves.items():
        (missing,) = {stem + suffix for suffix in SUFFIXES} - {entry.name}
        raise WeightsError(
            f"tensor {missing!r:.120} is missing",
            where=str(entry.file),
            remedy="download the weights again",
        )


def _stem(entry: Entry, table: NameTable) -> str | None:
    for suffix in SUFFIXES:
        stem = entry.name.removesuffix(suffix)
        if stem != entry.name and table.by_theirs(stem):
            return stem
    return None


def _joined(stem: str, one: Entry, other: Entry) -> Entry:
    blocks, scales = sorted((one, other), key=lambda entry: entry.name)

    def release() -> None:
        one.release()
        other.release()

    stored, exponents = blocks.tensor, scales.tensor
    fits = (
        isinstance(stored, Tensor)
        and isinstance(exponents, Tensor)
        and blocks.name != scales.name
        and stored.dtype == exponents.dtype == torch.uint8
        and stored.ndim == 4
        and stored.shape == (*exponents.shape, 16)
    )
    if not fits:
        raise WeightsError(
            f"tensors {blocks.name!r:.120} and {scales.name!r:.120} do not make up MXFP4 weights",
            where=str(blocks.file),
            remedy="download the weights again",
        )
    stack = Stack(stored, exponents)  # type: ignore[arg-type]
    size = one.size + other.size
    return replace(blocks, name=stem, size=size, tensor=stack, release=release)
