"""What a step of the engine holds beside weights and cache: its largest steps, traced."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from puna.engine import PAGE, Group, Layout, PagePool, Pages
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

    Every sequence at the end of its context takes one more token; all but one do, while the last
    tokens of a long prompt are computed beside them; short prompts are computed together.
    """
    decode = [(use.batch, 1)]
    new = max(1, min(use.chunk - (use.batch - 1), use.context))
    together = min(use.batch, use.chunk // use.context)
    steps = [decode, [(use.batch - 1, 1), (1, new)], [(together, use.context)]]
    found = [[chunks for chunks in step if chunks[0]] for step in steps]
    return [step for n, step in enumerate(found) if step and step not in found[:n]]


def _pool(spec: ModelSpec, use: Serve, model: Decoder) -> PagePool:
    """Return a pool that is as large as the use makes it."""
    pool = PagePool(spec, limit=1, dtype=model.dtype, device=model.device)
    slots = (use.batch * _pages(use) + 1) * PAGE
    for store in (pool.keys, pool.values):
        store[:] = [old.new_zeros(slots, *old.shape[1:]) for old in store]
    return pool


def _trace(model: Decoder, pool: PagePool, use: Serve, chunks: list[_Chunks]) -> int:
    layout = _layout(use, chunks, model.device)
    known = [*model.parameters(), *pool.keys, *pool.values]
    held = [layout.spans, layout.positions, layout.places, layout.back]
    held += [t for group in layout.groups for t in (group.tokens, group.slots, group.positions)]

    def step() -> Tensor:
        ctx = Pages(pool, layout)
        hidden = model(torch.zeros_like(layout.positions), ctx.positions, ctx)
        due = torch.zeros(sum(count for count, _ in chunks), dtype=torch.int64).to(model.device)
        return model.head(hidden[due], ctx.rows.take(due)).cpu()

    return peak(step, known + held) + sum(t.nbytes for t in held)


def _layout(use: Serve, chunks: list[_Chunks], device: torch.device) -> Layout:
    """Return what `puna.engine.pages.lay_out` would for chunks at the end of their contexts."""

    def index(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    total = sum(sequences * new for sequences, new in chunks)
    groups = tuple(
        Group(index(count * new), index(count * _pages(use) * PAGE), index(count, new))
        for count, new in chunks
    )
    return Layout(Rows(), index(total), index(total), index(total), groups, index(total))


def _pages(use: Serve) -> int:
    return -(-use.context // PAGE)
