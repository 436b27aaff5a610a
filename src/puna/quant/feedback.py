"""Rounding that knows what a map is fed: each column's error is made up for by those behind it.

GPTQ (Frantar et al. 2022): of outputs `x @ W.T` over calibration rows x, the squared error of
rounding is a quadratic form in H = Σ x xᵀ. Columns are rounded in their order, and what is left of
the error moves into columns still to come, by the Cholesky factor of H's inverse. Scales are fitted
to a group when its turn comes, weighed by the mean square of its inputs (the diagonal of H).
"""

from __future__ import annotations

import torch
from torch import Tensor

from puna.errors import WeightsError
from puna.quant.pack import Scheme, pack, scheme_of
from puna.quant.packed import Packed

# What is added to the diagonal of H, as a share of its mean; ten times as much where that is not
# enough.
_DAMPING = (0.05, 0.5, 5.0)
# Columns whose errors are gathered before the columns behind them are changed.
_BLOCK = 64


def pack_fed(weight: Tensor, moments: Tensor, kind: str) -> Packed:
    """Return a matrix in the format `kind`, rounded so that its outputs err least.

    Args:
        weight: [N, K].
        moments: float32 [K, K], the sum of x xᵀ over inputs x; without any input, all zero, the
            matrix is packed as by `pack`.
        kind: int8, int4 or nf4.

    Raises:
        UsageError: an unknown format.
        WeightsError: values that are not finite, in the matrix or in what it is fed.
    """
    scheme = scheme_of(kind, weight.shape[1])
    if not bool(moments.isfinite().all()):
        raise WeightsError("it is fed values that are not finite")
    mean = float(moments.diagonal().mean())
    if mean == 0.0 or not bool(weight.abs().amax().isfinite()):
        return pack(weight, kind)
    codes, scales = _round(weight.float().clone(), _factor(moments, mean), moments, scheme)
    return scheme.record(codes, scales) if bool(scales.isfinite().all()) else pack(weight, kind)


def _factor(moments: Tensor, mean: float) -> Tensor:
    """Return the upper Cholesky factor of the inverse of the damped moments, float32."""
    for share in _DAMPING:
        damped = moments.double()
        damped.diagonal().add_(share * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            inverse = torch.cholesky_inverse(lower)
            upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not failed:
                return Tensor.float(upper)
    raise WeightsError("it is fed values that are too large to be calibrated on")


def _round(left: Tensor, factor: Tensor, moments: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Return codes [N, K] in 8 bits and scales [N, K/group]; `left` [N, K] is used up."""
    rows, width = left.shape
    group = scheme.group or width
    codes = torch.empty(rows, width, dtype=torch.int8)
    scales = torch.empty(rows, width // group)
    importance = (moments.diagonal() / moments.diagonal().mean()).clamp_min(1e-6)[:, None]
    for start in range(0, width, min(group, _BLOCK)):
        if start % group == 0:
            own = slice(start, start + group)
            scales[:, start // group] = scheme.fit(left[:, own].t().contiguous(), importance[own])
        end = min(start + _BLOCK, start + group, width)
        errors = torch.empty(end - start, rows)
        scale = scales[:, start // group]
        for at in range(start, end):
            column = left[:, at]
            code = scheme.code(column, scale)
            codes[:, at] = code.to(torch.int8)
            errors[at - start] = (column - scheme.value(code, scale)) / factor[at, at]
            left[:, at + 1 : end] -= errors[at - start][:, None] * factor[at, at + 1 : end]
        left[:, end:] -= errors.t() @ factor[start:end, end:]
    return codes, scales
