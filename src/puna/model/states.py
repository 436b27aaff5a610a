"""A forward over whole sequences at once, without a cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from puna.model.context import Rows
from puna.model.decoder import Decoder
from puna.model.segments import Segments


def hidden_states(
    model: Decoder, sequences: Sequence[Sequence[int]], adapter: int | None
) -> Tensor:
    """Return the last hidden states [N, width] of sequences laid end to end."""
    ctx = Segments([len(s) for s in sequences], rows=Rows(adapter), device=model.device)
    flat = torch.tensor([i for s in sequences for i in s], device=model.device)
    hidden: Tensor = model(flat, ctx.positions, ctx)
    return hidden
