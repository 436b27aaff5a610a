"""Picking the next token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.errors import UsageError

# Colder is as good as greedy, and a smaller number is zero in float32.
_COLDEST = 1e-30


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked; steps apply in the order of the fields after `temperature`.

    The repetition penalty comes first (Keskar et al. 2019, over prompt and answer), then
    temperature (0 is greedy), top-k, top-p (Holtzman et al. 2019), min-p (Nguyen et al. 2024).
    `top_k=0`, `top_p=1`, `min_p=0` and `repetition_penalty=1` switch these off.

    Raises:
        UsageError: a value that cannot be meant.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, good, rule in (
            ("temperature", _number(self.temperature) and self.temperature >= 0, "at least 0"),
            ("top_k", type(self.top_k) is int and self.top_k >= 0, "a whole number of at least 0"),
            ("top_p", _number(self.top_p) and 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", _number(self.min_p) and 0 <= self.min_p <= 1, "between 0 and 1"),
            (
                "repetition_penalty",
                _number(self.repetition_penalty) and self.repetition_penalty > 0,
                "above 0",
            ),
        ):
            if not good:
                raise UsageError(f"{name} must be {rule}, not {getattr(self, name)!r:.40}")

    @property
    def greedy(self) -> bool:
        """True where the likeliest token is taken."""
        return self.temperature == 0


def pick(
    logits: Tensor, sampling: Sampling, seen: Sequence[int], generator: torch.Generator | None
) -> int:
    """Return the next token for one row of finite logits [V], float32 on the CPU.

    Args:
        logits: is not changed.
        sampling: how.
        seen: prompt and answer so far, for the repetition penalty.
        generator: where chance comes from; greedy needs none.
    """
    scores = _penalize(logits, sampling.repetition_penalty, seen)
    if sampling.greedy:
        return int(scores.argmax())
    probabilities = distribution(scores, sampling)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def distribution(scores: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities [V] after temperature, top-k, top-p and min-p; temperature > 0."""
    # Shifted first: a tiny temperature would otherwise overflow.
    scores = (scores - scores.max()) / max(sampling.temperature, _COLDEST)
    if 0 < sampling.top_k < len(scores):
        kept = torch.full_like(scores, -math.inf)
        top = scores.topk(sampling.top_k)
        scores = kept.scatter(0, top.indices, top.values)
    probabilities = scores.softmax(-1)
    if sampling.top_p < 1:
        ranked, places = probabilities.sort(descending=True, stable=True)
        before = ranked.cumsum(-1) - ranked
        probabilities = probabilities.index_fill(0, places[before >= sampling.top_p], 0.0)
    if sampling.min_p > 0:
        floor = sampling.min_p * probabilities.max()
        probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
    return probabilities / probabilities.sum()


def _penalize(logits: Tensor, penalty: float, seen: Sequence[int]) -> Tensor:
    if penalty == 1:
        return logits
    used = torch.tensor(sorted(set(seen)))
    said = logits[used]
    bent = torch.where(said > 0, said / penalty, said * penalty)
    return logits.index_copy(0, used, bent.nan_to_num())  # an absurd penalty overflows


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
