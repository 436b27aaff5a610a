"""From numbers to packed weights: the schemes, and a matrix by one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from puna.errors import UsageError, WeightsError
from puna.quant.packed import (
    LEVELS,
    NF4,
    Grouped,
    Packed,
    RowWise,
    from_tensors,
    pair_nibbles,
    tensors_of,
)

# Values in flight: what fits the second cache several times over.
_SLICE = 1 << 16
# Where the value furthest from zero may come to lie, as a multiple of the scale: the scales that
# are tried. Codes reach from -8 to 7, so the sign of a scale matters.
_REACH = (-8.5, -7.8, -7.1, -6.3, 6.3, 7.0)


class Scheme(Protocol):
    """How the values of a group are rounded. Groups are columns: x is float32 [group, M]."""

    @property
    def group(self) -> int | None:
        """Columns of a matrix that share a scale; None for whole rows."""

    def fit(self, x: Tensor, importance: Tensor | None) -> Tensor:
        """Return the scales [M] of groups x, as they are stored but in float32.

        `importance` [group, 1] weighs the squared errors.
        """

    def code(self, x: Tensor, scale: Tensor) -> Tensor:
        """Return codes of x under scales [M], as float32."""

    def value(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Return what codes stand for."""

    def record(self, codes: Tensor, scale: Tensor) -> Packed:
        """Return the record of codes [N, K] and scales [N, K/group]."""


@dataclass(frozen=True, slots=True)
class Rows8:
    """Whole rows around zero in 8 bits: the largest value is ±127."""

    group: None = None

    def fit(self, x: Tensor, importance: Tensor | None) -> Tensor:
        """Return the largest value's share."""
        return x.abs().amax(0) / 127

    def code(self, x: Tensor, scale: Tensor) -> Tensor:
        """Round to nearest."""
        return (x * _inverse(scale)).round_().clamp_(-127, 127)

    def value(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Multiply."""
        return codes * scale

    def record(self, codes: Tensor, scale: Tensor) -> RowWise:
        """Return codes and scales by row."""
        return RowWise(codes.to(torch.int8), scale[:, 0].clone())


@dataclass(frozen=True, slots=True)
class Symmetric4:
    """Groups of 32 around zero in 4 bits, with the scale that errs least.

    For codes q of values x the best scale is ⟨x, q⟩ / ⟨q, q⟩, which takes ⟨x, q⟩² / ⟨q, q⟩ off the
    squared error. Codes are made of a few scales of either sign, and the best of what they lead to
    is kept.
    """

    group: int = 32

    def fit(self, x: Tensor, importance: Tensor | None) -> Tensor:
        """Return the best scales found, rounded to float16."""
        weighed = x if importance is None else x * importance
        inverse = _inverse(x.gather(0, x.abs().argmax(0, keepdim=True)))
        most, best = x.new_full(x.shape[1:], -1.0), x.new_zeros(x.shape[1:])
        for reach in _REACH:
            codes = (x * (reach * inverse)).round_().clamp_(-8, 7)
            along = (weighed * codes).sum(0)
            norm = codes.square_() if importance is None else codes.square_().mul_(importance)
            scale = along / norm.sum(0).clamp_min_(1e-12)
            gain = along * scale
            best = torch.where(gain > most, scale, best)
            most = torch.maximum(most, gain)
        return best.half().float()

    def code(self, x: Tensor, scale: Tensor) -> Tensor:
        """Round to nearest, -8 … 7."""
        return (x * _inverse(scale)).round_().clamp_(-8, 7)

    def value(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Multiply."""
        return codes * scale

    def record(self, codes: Tensor, scale: Tensor) -> Grouped:
        """Return nibbles around 8."""
        return Grouped(pair_nibbles((codes + 8).to(torch.uint8)), scale.half())


@dataclass(frozen=True, slots=True)
class Normal4:
    """Groups of 64 in the code book of NF4; the largest value of a group is ±1."""

    group: int = 64

    def fit(self, x: Tensor, importance: Tensor | None) -> Tensor:
        """Return the largest value, rounded to float16."""
        return x.abs().amax(0).half().float()

    def code(self, x: Tensor, scale: Tensor) -> Tensor:
        """Return the index of the nearest level."""
        levels = torch.tensor(LEVELS, device=x.device)
        between = (levels[1:] + levels[:-1]) / 2
        return torch.bucketize(x * _inverse(scale), between).float()

    def value(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Look up and multiply."""
        return torch.tensor(LEVELS, device=codes.device)[codes.int()] * scale

    def record(self, codes: Tensor, scale: Tensor) -> NF4:
        """Return nibbles that pick levels."""
        return NF4(pair_nibbles(codes.to(torch.uint8)), scale.half())


SCHEMES: dict[str, Scheme] = {"int8": Rows8(), "int4": Symmetric4(), "nf4": Normal4()}


def scheme_of(kind: str, width: int) -> Scheme:
    """Return how rows of `width` values are packed in a format.

    Rows that do not fill whole groups are packed in 8 bits by row instead.

    Raises:
        UsageError: a format that is unknown.
    """
    if kind not in SCHEMES:
        choices = ", ".join(SCHEMES)
        raise UsageError(f"unknown format {kind!r:.40}", remedy=f"choose one of {choices}")
    scheme = SCHEMES[kind]
    return SCHEMES["int8"] if scheme.group and width % scheme.group else scheme


class Matrix(Protocol):
    """A matrix [N, K] that gives its rows, a few at a time: a tensor, or one not yet unpacked."""

    @property
    def shape(self) -> torch.Size:
        """N and K."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return rows [n, K]."""


def pack(weight: Matrix, kind: str) -> Packed:
    """Return a matrix [N, K] in the format `kind`: int8, int4 or nf4.

    A matrix with a group whose scale float16 cannot hold is packed in 8 bits by row.

    Raises:
        UsageError: an unknown format.
        WeightsError: values that are not finite.
    """
    rows, width = weight.shape
    scheme = scheme_of(kind, width)
    whole: dict[str, Tensor] = {}
    for part in _slices(rows, width):
        x = weight[part].float()
        if not bool(x.abs().amax().isfinite()):  # which says so of what is no number, too
            raise WeightsError("it holds values that are not finite")
        packed = _pack_rows(x, scheme)
        if packed is None:
            return pack(weight, "int8")
        # Put in place slice by slice: what is as large as the matrix leaves holes in the heap.
        for name, tensor in tensors_of(packed).items():
            if name not in whole:
                whole[name] = tensor.new_empty(rows, *tensor.shape[1:])
            whole[name][part] = tensor
    return from_tensors(whole)


def _pack_rows(x: Tensor, scheme: Scheme) -> Packed | None:
    """Return rows float32 [n, K] packed; None where float16 cannot hold a scale."""
    group = scheme.group or x.shape[1]
    groups = x.reshape(-1, group).t().contiguous()
    scale = scheme.fit(groups, None)
    if not bool(scale.isfinite().all()):
        return None
    codes = scheme.code(groups, scale).t().reshape(x.shape)
    return scheme.record(codes, scale.view(len(x), -1))


def _slices(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _SLICE // width)
    yield from (slice(start, min(rows, start + step)) for start in range(0, rows, step))


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)
