"""A linear map with low-rank updates beside it (LoRA, Hu et al. 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from puna.model import Linear, Rows, add_updates, product


class Update(nn.Module):
    """`scale · B·A`, with A [rank, in] and B [out, rank] in float32."""

    def __init__(self, a: Tensor, b: Tensor, *, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.a = nn.Parameter(a)
        self.b = nn.Parameter(b)
        self.scale = scale
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map x [M, in] to what is added to the base's output, [M, out] in the dtype of x."""
        dropped = F.dropout(x.float(), self.dropout, self.training)
        low = F.linear(F.linear(dropped, self.a), self.b)
        return (low * self.scale).to(x.dtype)

    def matrix(self) -> Tensor:
        """Return `scale · B·A`, [out, in] in float32."""
        return self.scale * (self.b.detach() @ self.a.detach())


class LoraLinear(nn.Module):
    """A linear map of the base, its very parameters, and the updates of any number of adapters.

    Stands where the base's `Linear` stood, under the same parameter names. `updates` is keyed by
    adapter slot; rows whose slot has none here get the base alone.
    """

    def __init__(self, base: Linear) -> None:
        super().__init__()
        self.weight = base.weight
        self.bias = base.bias
        self.updates = nn.ModuleDict()

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, in] to [N, out], each row with its own adapter."""
        return add_updates(product(x, self.weight, self.bias), x, self.updates, rows)
