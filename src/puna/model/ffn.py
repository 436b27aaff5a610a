"""Feed-forward networks: one dense network, or a mixture of them behind a router."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from puna.model.context import Rows
from puna.model.linear import Linear
from puna.spec import ClampedSwish, Dense, Groups, MoE, Router

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
        self.act = _ACTIVATIONS[str(dense.act)]

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
        self.join = _join(dense)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, width] to [N, width]."""
        hidden: Tensor = self.down(self.join(self.gate(x, rows), self.up(x, rows)), rows)
        return hidden


class FusedGatedFFN(nn.Module):
    """The same where one matrix holds the rows of the gate, then those of the up."""

    def __init__(self, dense: Dense, width: int) -> None:
        super().__init__()
        self.gate_up = Linear(width, 2 * dense.width, bias=dense.bias)
        self.down = Linear(dense.width, width, bias=dense.bias)
        self.join = _join(dense)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, width] to [N, width]."""
        gate, up = self.gate_up(x, rows).chunk(2, -1)
        hidden: Tensor = self.down(self.join(gate, up), rows)
        return hidden


# Whose rows an expert takes: picks [N, top_k] → expert, rows [M] and their place among the picks.
Share = Callable[[Tensor], Iterable[tuple[int, Tensor, Tensor]]]


def share(picks: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each expert that was picked, with its rows. See `Share`."""
    for expert in torch.unique(picks).tolist():
        token, slot = (picks == expert).nonzero(as_tuple=True)
        yield expert, token, slot


class Mixture(nn.Module):
    """Experts behind a router (Jiang et al. 2024, DeepSeek-V3 2024); scores are float32.

    `share` sends tokens to experts; whoever only measures may put an even split in its place.
    """

    def __init__(self, moe: MoE, width: int) -> None:
        super().__init__()
        how = moe.router
        self.router = Linear(width, moe.experts, bias=how.bias)
        self.correction = nn.Parameter(torch.empty(moe.experts)) if how.correction else None
        self.experts = nn.ModuleList(build_ffn(moe.expert, width) for _ in range(moe.experts))
        self.shared = build_ffn(moe.shared, width) if moe.shared else None
        self.top_k, self.how = moe.top_k, how
        self.share: Share = share

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map x [N, width] to [N, width]; only experts that were picked run."""
        scores = self.router(x.float(), rows)  # [N, E]
        gates, picks = pick_experts(scores, self.how, self.top_k, self.correction)
        gates = gates.to(x.dtype)
        out = torch.zeros_like(x) if self.shared is None else self.shared(x, rows)
        for expert, token, slot in self.share(picks):
            hidden = self.experts[expert](x[token], rows.take(token))
            out = out.index_add(0, token, hidden * gates[token, slot, None])
        return out

    def keep_precise(self) -> None:
        """Hold what decides between experts in float32, whatever the dtype of the others."""
        self.router.float()
        if self.correction is not None:
            self.correction.data = self.correction.data.float()


def pick_experts(
    logits: Tensor, how: Router, top_k: int, correction: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return gates and experts, both [N, top_k], for float32 logits [N, E]."""
    scores = logits.softmax(-1) if how.score == "softmax" else logits.sigmoid()
    ranked = scores if correction is None else scores + correction
    if how.groups is not None:
        ranked = _best_groups(ranked, how.groups)
    picks = ranked.topk(top_k, -1).indices
    gates = scores.gather(-1, picks)
    if how.renormalized:
        gates = gates / gates.sum(-1, keepdim=True)
    return gates * how.scale, picks


def _best_groups(scores: Tensor, groups: Groups) -> Tensor:
    """Return scores [N, E] in which experts outside the picked groups are -inf."""
    grouped = scores.view(len(scores), groups.count, -1)  # [N, G, E/G]
    worth = grouped.topk(1 if groups.by == "best" else 2, -1).values.sum(-1)
    picked = torch.zeros_like(worth, dtype=torch.bool)
    picked.scatter_(-1, worth.topk(groups.picked, -1).indices, True)
    return grouped.masked_fill(~picked[..., None], -math.inf).flatten(1)


def _join(dense: Dense) -> Callable[[Tensor, Tensor], Tensor]:
    if isinstance(dense.act, ClampedSwish):
        alpha, limit = dense.act.alpha, dense.act.limit

        def clamped(gate: Tensor, up: Tensor) -> Tensor:
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
            return (up + 1) * gate * torch.sigmoid(alpha * gate)

        return clamped
    act = _ACTIVATIONS[dense.act]
    return lambda gate, up: act(gate) * up


def build_ffn(ffn: Dense | MoE, width: int) -> nn.Module:
    """Return the module a `Dense` or `MoE` record describes."""
    if isinstance(ffn, MoE):
        return Mixture(ffn, width)
    return {None: PlainFFN, "split": GatedFFN, "fused": FusedGatedFFN}[ffn.gate](ffn, width)
