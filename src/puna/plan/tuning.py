"""What a micro-batch of training holds: traced forward and backward, extended over the depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from puna.adapter import attach
from puna.data import Batch
from puna.families import name_table
from puna.model import Decoder, Rows, Segments
from puna.plan.record import Tune
from puna.plan.stand_in import Kind, kinds_of, reduced, stand_in
from puna.plan.trace import materialize, peak, without_data
from puna.spec import ModelSpec
from puna.tune.loss import accumulate

# Layers of each kind that are built. The very first needs no gradient of what it reads, so it
# keeps less than those behind it.
_COPIES = 2


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of activations, and values of parameters that learn."""

    activations: int = 0
    learning: int = 0

    def plus(self, other: Need, times: int = 1) -> Need:
        """Return this and `times` the other."""
        return Need(
            self.activations + times * other.activations, self.learning + times * other.learning
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """What each layer adds, by its kind, and what there is beside them."""

    ends: Need
    layers: tuple[tuple[Kind, Need], ...]


@cache
def tuning_needs(spec: ModelSpec, use: Tune, dtype: torch.dtype, device: str) -> Tuning:
    """Trace a micro-batch of the longest examples on two layers of each kind, then on one more.

    Raises:
        AdapterError: a target that no module of the model has.
    """
    kinds = kinds_of(spec, copies=_COPIES)
    base = _trace(spec, kinds, use, dtype, device)
    found, ends = [], base
    for at, kind in enumerate(kinds):
        expert = Need()
        if kind.experts < kind.all_experts:
            wider = replace(kind, experts=kind.experts + 1)
            more = _trace(spec, _with(kinds, at, wider), use, dtype, device)
            expert = _share(more, base, kind.copies)
        deeper = replace(kind, copies=kind.copies + 1)
        more = _trace(spec, _with(kinds, at, deeper), use, dtype, device)
        layer = _share(more, base, 1)
        ends = ends.plus(layer, -kind.copies)
        found.append((kind, layer.plus(expert, kind.all_experts - kind.experts)))
    return Tuning(ends, tuple(found))


def _share(more: Need, base: Need, parts: int) -> Need:
    return Need(
        max(0, more.activations - base.activations) // parts,
        (more.learning - base.learning) // parts,
    )


def _with(kinds: Sequence[Kind], at: int, other: Kind) -> list[Kind]:
    return [*kinds[:at], other, *kinds[at + 1 :]]


def _trace(
    spec: ModelSpec, kinds: Sequence[Kind], use: Tune, dtype: torch.dtype, device: str
) -> Need:
    model = stand_in(spec, kinds, dtype=dtype, busy=1.0)
    batch = _batch(use)
    rows = _prepare(model, reduced(spec, kinds), use)
    ctx = Segments(batch.lengths, rows=rows)  # made of values, so outside
    with without_data():
        materialize(model, device)
        learning = [p for p in model.parameters() if p.requires_grad]
        for parameter in learning:
            # Those of the micro-batch before are still held.
            parameter.grad = torch.zeros_like(parameter)
        known = [*model.parameters(), *(p.grad for p in learning if p.grad is not None)]
        held = peak(lambda: accumulate(model, batch, ctx, learned=1), known)
    return Need(held, sum(p.numel() for p in learning))


def _prepare(model: Decoder, spec: ModelSpec, use: Tune) -> Rows:
    model.train()
    if use.method == "full":
        model.requires_grad_(True)
        return Rows()
    table = name_table(spec)
    return Rows(attach(model, table, rank=use.rank, alpha=1.0, targets=use.targets))


def _batch(use: Tune) -> Batch:
    """Return a micro-batch of as many of the longest examples as it may have, all of it learned."""
    longest, tokens = use.context, max(use.batch_tokens, use.context)
    lengths = [longest] * (tokens // longest)
    if rest := tokens % longest:
        lengths.append(rest)
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    learned = torch.ones(tokens, dtype=torch.bool)
    learned[starts] = False
    rows: Tensor = learned.nonzero()[:, 0]
    return Batch(torch.zeros(tokens, dtype=torch.int64), tuple(lengths), rows - 1, rows * 0)
