"""Who computes a step: chunks of tokens in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from puna.engine.pages import Chunk, PagePool, Pages, lay_out
from puna.model import Decoder


class Runner(Protocol):
    """Computes the tokens of a step and keeps their keys and values in the pool."""

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        """Return float32 logits [R, vocab] on the CPU.

        Args:
            ids: [N], the chunks' tokens end to end.
            chunks: where these tokens stand.
            due: [R], which of the N tokens need logits.
        """


class TorchRunner:
    """The decoder over pages, on any device and for every family."""

    def __init__(self, model: Decoder, pool: PagePool) -> None:
        self._model = model
        self._pool = pool

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        """See `Runner.run`."""
        device = self._model.device
        ctx = Pages(self._pool, lay_out(chunks, device))
        hidden = self._model(torch.tensor(ids, device=device), ctx.positions, ctx)
        chosen = torch.tensor(due, dtype=torch.int64, device=device)
        return self._model.head(hidden[chosen], ctx.rows.take(chosen)).cpu()
