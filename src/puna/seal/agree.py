"""How far a model has moved from its seal, in figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.model import Decoder
from puna.seal.look import look
from puna.seal.prompts import rendered
from puna.seal.record import Golden, Row
from puna.text import TextParts

# Log probabilities that differ by no more are level; seals round them to seven digits.
_LEVEL = 1e-6


@dataclass(frozen=True, slots=True)
class Moved:
    """A golden prompt that has other ids now, and how."""

    name: str
    how: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Golden prompts held against a model.

    Args:
        prompts, positions: how many were looked at.
        top1: share of positions at which the likeliest token is the same.
        kl: mean divergence of the model's next-token distribution from the sealed one, in nats.
        worst: the largest at any position, which is in the prompt `worst_in`.
    """

    prompts: int
    positions: int
    top1: float
    kl: float
    worst: float
    worst_in: str


def agreement(model: Decoder, prompts: Sequence[Golden], adapter: int | None) -> Agreement:
    """Run golden prompts, by the ids they were sealed with, and compare."""
    kls: list[tuple[float, str]] = []
    same = 0
    for golden, table in look(model, prompts, adapter):
        for row, logprobs in zip(golden.rows, table, strict=True):
            kls.append((divergence(row, logprobs), golden.name))
            same += _likeliest(row.ids[0], logprobs)
    worst, worst_in = max(kls)
    mean = math.fsum(kl for kl, _ in kls) / len(kls)
    return Agreement(len(prompts), len(kls), same / len(kls), mean, worst, worst_in)


def _likeliest(id: int, logprobs: Tensor) -> bool:
    """Tell whether an id is the likeliest; two that are level both are, whichever comes first."""
    return id < len(logprobs) and bool(logprobs[id] >= logprobs.max() - _LEVEL)


def divergence(row: Row, logprobs: Tensor) -> float:
    """Return KL(sealed ‖ now) in nats; the ids that the seal does not name count as one.

    Args:
        row: as sealed.
        logprobs: [vocab] float32, now. What is not a number is infinitely far.
    """
    if max(row.ids) >= len(logprobs):
        return math.inf
    now = logprobs.double()[torch.tensor(row.ids)]
    then = torch.tensor(row.logprobs, dtype=torch.float64)
    kl = float((then.exp() * (then - now)).sum())
    rest_then, rest_now = (max(1.0 - float(part.exp().sum()), 1e-9) for part in (then, now))
    kl += rest_then * math.log(rest_then / rest_now)
    return max(kl, 0.0) if math.isfinite(kl) else math.inf


def moved(prompts: Sequence[Golden], text: TextParts, *, context: int) -> list[Moved]:
    """Return the golden prompts that tokenizer and template make other ids of now."""
    found = []
    for golden in prompts:
        now = rendered(golden, text, context)
        if isinstance(now, str):
            found.append(Moved(golden.name, now))
        elif now != golden.ids:
            found.append(Moved(golden.name, _difference(golden.ids, now, text)))
    return found


def _difference(then: Sequence[int], now: Sequence[int], text: TextParts) -> str:
    bos = text.specials.bos
    if bos is not None and list(now[:2]) == [bos, bos] != list(then[:2]):
        return f"the beginning-of-sequence token {bos} stands twice"
    at = next((i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), None)
    if at is None:
        return f"{len(now)} ids where there were {len(then)}"
    return f"id {now[at]} at position {at}, where it was {then[at]}"
