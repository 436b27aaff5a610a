"""What the engine's tests share: one-shot references, and runners that look on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from puna.engine import Chunk, PagePool, Runner, TorchRunner
from puna.model import Decoder, Rows, Segments
from puna.spec import ModelSpec
from tests.unit.tiny import tiny

# Two layers, of which the second sees 20 tokens.
WINDOWED: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "use_sliding_window": True,
    "sliding_window": 20,
    "max_window_layers": 1,
}


def windowed(**changes: Any) -> tuple[ModelSpec, Decoder]:
    """Return a tiny model whose second layer sees a window only."""
    return tiny(**{**WINDOWED, **changes})


def greedy(
    model: Decoder, prompt: Sequence[int], count: int, *, slot: int | None = None
) -> list[int]:
    """Say `count` tokens by computing everything again for each."""
    ids = list(prompt)
    span = len(prompt) + count
    for _ in range(count):
        ctx = Segments([len(ids)], spans=[span], rows=Rows(slot))
        hidden = model(torch.tensor(ids), ctx.positions, ctx)
        ids.append(int(model.head(hidden[-1:], Rows(slot)).argmax()))
    return ids[len(prompt) :]


class Looking:
    """A runner that counts what it computes, and says so; may claim to be invariant."""

    def __init__(self, inner: Runner, *, invariant: bool = False) -> None:
        self.inner = inner
        self.invariant = invariant
        self.steps: list[list[Chunk]] = []
        self.before: Callable[[], None] = lambda: None

    def run(self, ids: Sequence[int], chunks: Sequence[Chunk], due: Sequence[int]) -> Tensor:
        self.before()
        self.steps.append([_copy(chunk) for chunk in chunks])
        return self.inner.run(ids, chunks, due)

    @property
    def computed(self) -> int:
        """Tokens so far."""
        return sum(chunk.count for chunks in self.steps for chunk in chunks)


def looking(made: list[Looking], *, invariant: bool = False) -> Callable[..., Runner]:
    """Return what makes such a runner and puts it into `made`."""

    def make(model: Decoder, spec: ModelSpec, pool: PagePool) -> Runner:
        made.append(Looking(TorchRunner(model, pool), invariant=invariant))
        return made[-1]

    return make


def _copy(chunk: Chunk) -> Chunk:
    tables = tuple(list(table) for table in chunk.tables)
    return Chunk(tables, chunk.start, chunk.count, chunk.span, chunk.adapter)
