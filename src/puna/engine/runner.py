"""Who computes a step: chunks of tokens in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from puna.engine.layout import Pages, lay_out
from puna.engine.pages import Chunk, PagePool
from puna.model import Decoder
from puna.spec import ModelSpec


class Runner(Protocol):
    """Computes the tokens of a step and keeps their keys and values in the pool."""

    @property
    def invariant(self) -> bool:
        """True where a token's logits, to the last bit, do not depend on what else is computed.

        That is: on the other chunks of the step, and on where its own sequence was cut.
        """

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        """Return float32 logits [R, vocab] on the CPU.

        Args:
            ids: [N], the chunks' tokens end to end.
            chunks: where these tokens stand.
            due: [R], which of the N tokens need logits.
        """


class Maker(Protocol):
    """Makes the runner of an engine."""

    def __call__(self, model: Decoder, spec: ModelSpec, pool: PagePool, /) -> Runner:
        """Return what computes the steps of a model, filled with weights, over a pool."""


class TorchRunner:
    """The decoder over pages, on any device and for every family."""

    # The library picks its kernels, and with them the order of sums, by the number of rows.
    invariant = False

    def __init__(self, model: Decoder, pool: PagePool) -> None:
        self._model = model
        self._pool = pool

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        """See `Runner.run`."""
        device = self._model.device
        ctx = Pages(self._pool, lay_out(chunks, self._pool.windows, device))
        hidden = self._model(torch.tensor(ids, device=device), ctx.positions, ctx)
        chosen = torch.tensor(due, dtype=torch.int64, device=device)
        return self._model.head(hidden[chosen], ctx.rows.take(chosen)).cpu()


def in_torch(model: Decoder, spec: ModelSpec, pool: PagePool) -> TorchRunner:
    """Return a `TorchRunner`. See `Maker`."""
    return TorchRunner(model, pool)
