"""The linear map every other part is made of; adapters and number formats replace it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.context import Rows

# Up to this many rows torch multiplies half precision at the speed of memory on any processor.
_FEW_ROWS = 8


class Linear(nn.Module):
    """`x @ weight.T + bias`, with weight [out, in]; `rows` is for adapters that wrap it."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, in] to [N, out]."""
        return product(x, self.weight, self.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return `x @ weight.T + bias` in the dtype of x.

    A processor without half-precision units multiplies matrices of bfloat16 or float16 a hundred
    times slower than float32; there the weight of this one product is widened while it runs.
    """
    if x.shape[0] > _FEW_ROWS and x.device.type == "cpu" and not is_fast(x.dtype):
        wide = None if bias is None else bias.float()
        return F.linear(x.float(), weight.float(), wide).to(x.dtype)
    return F.linear(x, weight, bias)


def add_updates(out: Tensor, x: Tensor, updates: nn.ModuleDict, rows: Rows) -> Tensor:
    """Return out [N, out] of a linear map with what each row's adapter adds for x [N, in].

    `updates` is keyed by adapter slot; rows whose slot has none here stay as they are.
    """
    adapters = rows.adapters
    if adapters is None:
        return out
    if isinstance(adapters, int):
        key = str(adapters)
        return out + updates[key](x) if key in updates else out
    for key, update in updates.items():
        chosen = (adapters == int(key)).nonzero()[:, 0]
        if len(chosen):
            out = out.index_add(0, chosen, update(x.index_select(0, chosen)))
    return out


@cache
def is_fast(dtype: torch.dtype) -> bool:
    """Tell whether this processor multiplies matrices of `dtype` at full speed."""
    probes = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    if dtype not in probes:
        return True
    return bool(getattr(torch.ops.mkldnn, probes[dtype])())
