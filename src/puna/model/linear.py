"""The linear map every other part is made of; adapters and number formats replace it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.context import Rows


class Linear(nn.Module):
    """`x @ weight.T + bias`, with weight [out, in]; `rows` is for adapters that wrap it."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, in] to [N, out]."""
        return F.linear(x, self.weight, self.bias)
