"""What a step of the engine holds beside weights and cache: its largest steps, traced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from puna.engine import (
    PAGE,
    PROMPTS_SHARE,
    USUAL,
    Chunk,
    Group,
    Layout,
    Pages,
    View,
    arrange,
    cache_dtype,
    columns,
    groups_of,
    windows_of,
)
from puna.model import Decoder, Rows
from puna.plan.record import Serve
from puna.plan.stand_in import kinds_of, reduced, stand_in
from puna.plan.trace import materialize, peak, without_data
from puna.spec import ModelSpec

# The busiest expert of a step is taken to have this many times its even share of the tokens.
_BUSY = 2.0

# Chunks that are alike: how many sequences, and new tokens of each.
_Chunks = tuple[int, int]


@cache
def step_bytes(spec: ModelSpec, use: Serve, dtype: torch.dtype, device: str) -> int:
    """Return the most bytes of a step's own tensors; depth does not matter, since none is kept.

    The steps of `_steps` are traced, and the largest counts.
    """
    kinds = kinds_of(spec, copies=1)
    model = stand_in(spec, kinds, dtype=dtype, busy=_BUSY)
    # Not in inference mode: there an operation that is made of others is seen as one, and what
    # it holds inside is not.
    with without_data(), torch.no_grad():
        materialize(model, device)
        pool = _pool(reduced(spec, kinds), use, model)
        return max(_trace(model, pool, use, step) for step in _steps(use))


def _steps(use: Serve) -> list[list[_Chunks]]:
    """Return the steps that may be the largest.

    Every sequence at the end of its context takes one more token and what is drafted ahead; all
    but one do, while tokens of a long prompt are computed beside them; one does so alone; short
    prompts are computed together.
    """
    one = _decoded(use)
    beside = min(max(1, use.chunk // PROMPTS_SHARE), use.context)
    together = min(use.batch, use.chunk // use.context)
    steps = [
        [(use.batch, one)],
        [(use.batch - 1, one), (1, beside)],
        [(1, min(use.chunk, use.context))],
        [(together, use.context)],
    ]
    found = [[chunks for chunks in step if chunks[0]] for step in steps]
    return [step for n, step in enumerate(found) if step and step not in found[:n]]


def _decoded(use: Serve) -> int:
    """Return the tokens that a sequence takes in a step once its prompt is computed."""
    return min(1 + USUAL.ahead(use.batch), use.context)


def _due(use: Serve, chunks: list[_Chunks]) -> int:
    """Return how many tokens of a step need logits."""
    return sum(count * (new if new <= _decoded(use) else 1) for count, new in chunks)


@dataclass(frozen=True, slots=True)
class _Stores:
    """What stands for a pool: see `puna.engine.PagePool`."""

    keys: list[Tensor]
    values: list[Tensor]
    group_of: tuple[int, ...]
    windows: tuple[int | None, ...]


def _pool(spec: ModelSpec, use: Serve, model: Decoder) -> _Stores:
    """Return a pool that is as large as the use makes it."""
    slots = (use.batch * _pages(use) + 1) * PAGE
    mixers = [layer.mixer for layer in spec.layers]

    kept = cache_dtype(use.cache, model.dtype)

    def store(heads: int, width: int) -> Tensor:
        return torch.empty(slots, heads, columns(width, kept), dtype=kept, device=model.device)

    return _Stores(
        [store(m.kv_heads, m.head_dim) for m in mixers],
        [store(m.kv_heads, m.v_dim) for m in mixers],
        groups_of(spec),
        windows_of(spec),
    )


def _trace(model: Decoder, pool: _Stores, use: Serve, chunks: list[_Chunks]) -> int:
    layout = _layout(use, chunks, pool.windows, model.device)
    known = [*model.parameters(), *pool.keys, *pool.values]
    held = _tensors(layout)

    def step() -> Tensor:
        ctx = Pages(pool, layout)
        hidden = model(torch.zeros_like(layout.positions), ctx.positions, ctx)
        due = torch.zeros(_due(use, chunks), dtype=torch.int64).to(model.device)
        return model.head(hidden[due], ctx.rows.take(due)).cpu()

    return peak(step, known + held) + sum(t.nbytes for t in held)


def _tensors(layout: Layout) -> list[Tensor]:
    """Return the index tensors of a layout."""
    views, groups = layout.views, [group for view in layout.views for group in view.groups]
    return [
        layout.spans,
        layout.positions,
        *(t for view in views for t in (view.places, view.back)),
        *(t for group in groups for t in (group.tokens, group.slots, group.positions)),
    ]


def _layout(
    use: Serve, chunks: list[_Chunks], windows: Sequence[int | None], device: torch.device
) -> Layout:
    """Return what `puna.engine.lay_out` would for chunks at the end of their contexts."""

    def index(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    def view(window: int | None) -> View:
        groups = []
        for pieces in arrange(alike, window):
            batch, width = len(pieces), max(piece.pages for piece in pieces)
            new = pieces[0].count
            groups.append(Group(index(batch * new), index(batch * width * PAGE), index(batch, new)))
        return View(index(total), tuple(groups), index(total))

    total = sum(sequences * new for sequences, new in chunks)
    alike = [
        Chunk((), use.context - new, new, use.context, None)
        for sequences, new in chunks
        for _ in range(sequences)
    ]
    return Layout(Rows(), index(total), index(total), tuple(view(window) for window in windows))


def _pages(use: Serve) -> int:
    return -(-use.context // PAGE)
