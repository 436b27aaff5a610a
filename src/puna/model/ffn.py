"""Feed-forward networks: one dense network, or a mixture of them behind a router."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.context import Rows
from puna.model.linear import Linear
from puna.spec import Dense, MoE

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


class PlainFFN(nn.Module):
    """`down(act(up(x)))`."""

    def __init__(self, dense: Dense, width: int) -> None:
        super().__init__()
        self.up = Linear(width, dense.width, bias=dense.bias)
        self.down = Linear(dense.width, width, bias=dense.bias)
        self.act = _ACTIVATIONS[dense.act]

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, width] to [N, width]."""
        hidden: Tensor = self.down(self.act(self.up(x, rows)), rows)
        return hidden


class GatedFFN(nn.Module):
    """`down(act(gate(x)) * up(x))` (Shazeer 2020)."""

    def __init__(self, dense: Dense, width: int) -> None:
        super().__init__()
        self.gate = Linear(width, dense.width, bias=dense.bias)
        self.up = Linear(width, dense.width, bias=dense.bias)
        self.down = Linear(dense.width, width, bias=dense.bias)
        self.act = _ACTIVATIONS[dense.act]

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, width] to [N, width]."""
        hidden: Tensor = self.down(self.act(self.gate(x, rows)) * self.up(x, rows), rows)
        return hidden


class Mixture(nn.Module):
    """Experts behind a softmax router with renormalized top-k gates (Jiang et al. 2024)."""

    def __init__(self, moe: MoE, width: int) -> None:
        super().__init__()
        self.router = Linear(width, moe.experts, bias=False)
        self.experts = nn.ModuleList(build_ffn(moe.expert, width) for _ in range(moe.experts))
        self.top_k = moe.top_k

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, width] to [N, width]; only experts that were picked run."""
        scores = self.router(x, rows).float().softmax(-1)  # [N, E]
        gates, picks = scores.topk(self.top_k, -1)  # [N, K]
        gates = (gates / gates.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(x)
        for expert in picks.unique().tolist():
            token, slot = (picks == expert).nonzero(as_tuple=True)
            hidden = self.experts[expert](x[token], rows.take(token))
            out = out.index_add(0, token, hidden * gates[token, slot, None])
        return out


def build_ffn(ffn: Dense | MoE, width: int) -> nn.Module:
    """Return the module a `Dense` or `MoE` record describes."""
    if isinstance(ffn, MoE):
        return Mixture(ffn, width)
    return GatedFFN(ffn, width) if ffn.gated else PlainFFN(ffn, width)
