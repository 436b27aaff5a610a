"""The linear map every other part is made of; adapters and number formats replace it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.context import Rows
from puna.model.fast import is_slow
from puna.model.packed import PackedWeight

# What a map multiplies by, and what tokens are looked up in.
Weight = Tensor | PackedWeight


class Linear(nn.Module):
    """`x @ weight.T + bias`, with weight [out, in]; `rows` is for adapters that wrap it.

    The weight is a parameter, or a `PackedWeight` that was put in its place.
    """

    weight: nn.Parameter | PackedWeight

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, in] to [N, out]."""
        return product(x, self.weight, self.bias)


def product(x: Tensor, weight: Weight, bias: Tensor | None) -> Tensor:
    """Return `x @ weight.T + bias` in the dtype of x.

    Where half precision is slow, the weight of this one product is widened while it runs.
    """
    if isinstance(weight, PackedWeight):
        return weight.product(x, bias)
    if is_slow(x):
        wide = None if bias is None else bias.float()
        return F.linear(x.float(), weight.float(), wide).to(x.dtype)
    return F.linear(x, weight, bias)


def lookup(ids: Tensor, table: Weight) -> Tensor:
    """Return the rows [N, width] of a table that ids [N] name."""
    return table.rows(ids) if isinstance(table, PackedWeight) else F.embedding(ids, table)


def numbers(weight: Weight, dtype: torch.dtype | None = None) -> Tensor:
    """Return the values of a weight, unpacked where they are packed; by default in its dtype."""
    if isinstance(weight, PackedWeight):
        return weight.numbers(dtype)
    return weight.detach().to(dtype or weight.dtype)


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
