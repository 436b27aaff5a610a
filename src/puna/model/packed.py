"""Packed weights that compute: what may stand where a `weight` stands, and the kernels beneath.

A kernel takes the canonical tensors of `puna.quant` into whatever form it multiplies by, and can
give them back, so that no weight is held twice. `PLAIN` is the reference all others are held
against: it unpacks a slice at a time and multiplies in the dtype of the activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.fast import is_slow
from puna.model.native import Native
from puna.quant import Packed, RowWise, change, shape_of, slices_of, unpack, unpack_rows


class Kernel(Protocol):
    """A way to multiply by packed weights.

    `looks_up` says that rows can be taken out of the prepared form as fast as one would wish.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def looks_up(self) -> bool:
        """Whether it serves a table of tokens."""

    def takes(self, packed: Packed, dtype: torch.dtype) -> bool:
        """Tell whether it multiplies such weights by activations of `dtype` here, and fast."""

    def prepare(self, packed: Packed) -> Any:
        """Return the form that it multiplies by."""

    def restore(self, ready: Any) -> Packed:
        """Return the canonical form of what was prepared, exactly."""

    def product(self, x: Tensor, ready: Any, bias: Tensor | None) -> Tensor:
        """Return `x @ W.T + bias`, [M, N] in the dtype of x, for x [M, K]."""

    def rows(self, ready: Any, ids: Tensor) -> Tensor:
        """Return rows [R, K] of ids [R], in float32."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Unpack in slices, then multiply in the dtype of the activations; right on every device."""

    name: str = "plain"
    looks_up: bool = True

    def takes(self, packed: Packed, dtype: torch.dtype) -> bool:
        """Tell so of every form."""
        return True

    def prepare(self, packed: Packed) -> Packed:
        """Return the very tensors."""
        return packed

    def restore(self, ready: Packed) -> Packed:
        """Return the very tensors."""
        return ready

    def product(self, x: Tensor, ready: Packed, bias: Tensor | None) -> Tensor:
        """Return `x @ W.T + bias`."""
        # Where half precision is slow, float32 that was just unpacked is multiplied as it is.
        wide = x.float() if is_slow(x) else x
        out = wide.new_empty(x.shape[0], shape_of(ready)[0])
        for rows in slices_of(ready):
            part = None if bias is None else bias[rows].to(wide.dtype)
            out[:, rows] = F.linear(wide, unpack_rows(ready, rows).to(wide.dtype), part)
        return out.to(x.dtype)

    def rows(self, ready: Packed, ids: Tensor) -> Tensor:
        """Return rows of ids."""
        return unpack_rows(ready, ids)


@dataclass(frozen=True, slots=True)
class Integer:
    """Rows of 8 bits by activations that are rounded to 8 bits, row by row, in integers.

    By `torch._int_mm`, on the canonical codes as they are. The instructions for it (VNNI) add up
    in 32 bits; older ones would overflow 16.
    """

    name: str = "integer"
    looks_up: bool = True

    def takes(self, packed: Packed, dtype: torch.dtype) -> bool:
        """Tell whether it is rows of 8 bits, on a processor that has the instructions."""
        return _on_cpu(packed) and _has_vnni()

    def prepare(self, packed: Packed) -> Packed:
        """Return the very tensors."""
        return packed

    def restore(self, ready: Packed) -> Packed:
        """Return the very tensors."""
        return ready

    def product(self, x: Tensor, ready: RowWise, bias: Tensor | None) -> Tensor:
        """Return `x @ W.T + bias` for x rounded to 8 bits."""
        codes, scale = round_rows(x)
        sums = torch._int_mm(codes.to(torch.int8), ready.codes.t())
        return _scaled(sums.float() * ready.scale, scale, bias, x.dtype)

    def rows(self, ready: Packed, ids: Tensor) -> Tensor:
        """Return rows of ids."""
        return unpack_rows(ready, ids)


@dataclass(frozen=True, slots=True)
class _Prepacked:
    """What oneDNN made of rows of 8 bits: an opaque tensor [K, N], scale and zero points [N]."""

    weight: Tensor
    scale: Tensor
    zeros: Tensor


@dataclass(frozen=True, slots=True)
class OneDNN:
    """The same product by oneDNN, whose own layout takes the place of the codes.

    Activations are unsigned around 128: signed ones run in reference code, a thousand times
    slower, on processors without AMX.
    """

    name: str = "onednn"
    looks_up: bool = False

    def takes(self, packed: Packed, dtype: torch.dtype) -> bool:
        """Tell whether it is rows of 8 bits, on a processor that has the instructions."""
        return _on_cpu(packed) and _has_vnni() and hasattr(torch.ops.onednn, "qlinear_pointwise")

    def prepare(self, packed: Packed) -> _Prepacked:
        """Return oneDNN's layout."""
        assert isinstance(packed, RowWise)
        weight = torch.ops.onednn.qlinear_prepack(packed.codes, None)
        zeros = torch.zeros(len(packed.scale), dtype=torch.int32)
        return _Prepacked(weight, packed.scale.clone(), zeros)

    def restore(self, ready: _Prepacked) -> RowWise:
        """Return the codes that the layout was made of."""
        return RowWise(ready.weight.to_dense().t().contiguous(), ready.scale)

    def product(self, x: Tensor, ready: _Prepacked, bias: Tensor | None) -> Tensor:
        """Return `x @ W.T + bias` for x rounded to 8 bits."""
        codes, scale = round_rows(x)
        unsigned = (codes + 128).to(torch.uint8)
        out = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, 128, ready.weight, ready.scale, ready.zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return _scaled(out, scale, bias, x.dtype)

    def rows(self, ready: _Prepacked, ids: Tensor) -> Tensor:
        """Return rows of ids, after undoing the layout of all."""
        return unpack_rows(self.restore(ready), ids)


PLAIN = Plain()
# In order of preference.
KERNELS: tuple[Kernel, ...] = (Native(), OneDNN(), Integer(), PLAIN)


def choose_kernel(
    packed: Packed, dtype: torch.dtype, *, table: bool = False, kernels: Sequence[Kernel] = KERNELS
) -> Kernel:
    """Return the first kernel that takes such weights, and looks up rows if it is for a `table`."""
    fit = (k for k in kernels if (k.looks_up or not table) and k.takes(packed, dtype))
    return next(fit, PLAIN)


class PackedWeight(nn.Module):
    """A packed matrix [N, K] in the place of a parameter; it never learns.

    Args:
        packed: the canonical tensors, on their device.
        dtype: of the activations, which looked-up rows and unpacked values take too.
        kernel: how it is multiplied by.

    `form` is the record without data.
    """

    def __init__(self, packed: Packed, dtype: torch.dtype, kernel: Kernel = PLAIN) -> None:
        super().__init__()
        self.shape = torch.Size(shape_of(packed))
        self.dtype, self.device = dtype, packed.codes.device
        self.form = change(packed, lambda tensor: tensor.to("meta"))
        self.kernel = kernel
        self._ready = kernel.prepare(packed)

    @property
    def packed(self) -> Packed:
        """The canonical tensors."""
        return self.kernel.restore(self._ready)

    @property
    def ready(self) -> Any:
        """What the kernel made of them."""
        return self._ready

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return `x @ W.T + bias`, [M, N] in the dtype of x; gradients flow to x alone."""
        if torch.is_grad_enabled() and x.requires_grad:
            out: Tensor = _Product.apply(x, self, bias)  # type: ignore[no-untyped-call]
            return out
        return self.kernel.product(x, self._ready, bias)

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows [R, K] of ids [R]."""
        return self.kernel.rows(self._ready, ids).to(self.dtype)

    def numbers(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return the matrix, unpacked whole."""
        return unpack(self.packed, dtype or self.dtype)


class _Product(torch.autograd.Function):
    """A product whose weights are fixed: nothing is kept for the way back but the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: PackedWeight, bias: Tensor | None) -> Tensor:
        """Multiply by the kernel."""
        ctx.weight = weight
        return weight.kernel.product(x, weight.ready, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of x by the unpacked weights, a slice at a time."""
        (grad,) = grads
        packed = ctx.weight.packed
        wide = grad.float() if is_slow(grad) else grad
        total = torch.zeros(grad.shape[0], ctx.weight.shape[1], device=grad.device)
        for rows in slices_of(packed):
            total += wide[:, rows] @ unpack_rows(packed, rows).to(wide.dtype)
        return total.to(grad.dtype), None, None


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of x [M, K] to 8 bits: float32 codes -127 … 127 and scales [M, 1]."""
    wide = x.float()
    scale = wide.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny) / 127
    return (wide / scale).round_().clamp_(-127, 127), scale


def _scaled(out: Tensor, scale: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    out *= scale
    if bias is not None:
        out += bias
    return out.to(dtype)


def _on_cpu(packed: Packed) -> bool:
    return isinstance(packed, RowWise) and packed.codes.device.type == "cpu"


@cache
def _has_vnni() -> bool:
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    return probe is not None and bool(probe())
