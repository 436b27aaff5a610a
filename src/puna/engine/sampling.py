"""Picking the next token.

    pick(logits[V], sampling, seen, generator, allowed=None, prompt=0) → id

`seen` is prompt and answer so far, and `prompt` how many of them are the prompt's. Each pick with
a temperature takes one number from the generator, so its state tells how many were made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.errors import UsageError

# Beyond these a temperature is as good as greedy or as none, and no number of float32.
_COLDEST, _HOTTEST = 1e-30, 1e30
# How many of the best are ranked first where a share of the probability is asked for; seldom
# are more needed, and sorting a whole vocabulary takes longer than all else here.
_RANKED = 1024


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. The steps, in their order, and the value that switches each off:

    1. What a grammar does not allow is out before everything else.
    2. `repetition_penalty` (1; Keskar et al. 2019): the logits of ids of prompt and answer are
       divided by it where they are positive, multiplied where not.
    3. `frequency_penalty` (0), once for each time an id stands in the answer, and
       `presence_penalty` (0), once if it stands there, are subtracted, as OpenAI's API has it.
    4. `logit_bias` (none): pairs of id and what is added.
    5. `temperature` divides; 0 takes the likeliest and ends here.
    6. `top_k` (0): the k likeliest.
    7. `top_p` (1; Holtzman et al. 2019): the fewest that have this share of the probability.
    8. `min_p` (0; Nguyen et al. 2024): those at least this share as likely as the likeliest.
    9. `typical_p` (1; Meister et al. 2022): the fewest, closest to the expected information,
       that have this share of what is left.

    Raises:
        UsageError: a value that cannot be meant.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for name, good, rule in (
            ("temperature", _number(self.temperature) and self.temperature >= 0, "at least 0"),
            ("top_k", type(self.top_k) is int and self.top_k >= 0, "a whole number of at least 0"),
            ("top_p", _share(self.top_p), "above 0 and at most 1"),
            ("min_p", _number(self.min_p) and 0 <= self.min_p <= 1, "between 0 and 1"),
            ("typical_p", _share(self.typical_p), "above 0 and at most 1"),
            (
                "repetition_penalty",
                _number(self.repetition_penalty) and self.repetition_penalty > 0,
                "above 0",
            ),
            ("frequency_penalty", _number(self.frequency_penalty), "a number"),
            ("presence_penalty", _number(self.presence_penalty), "a number"),
            ("logit_bias", _pairs(self.logit_bias), "pairs of an id and a number"),
        ):
            if not good:
                raise UsageError(f"{name} must be {rule}, not {getattr(self, name)!r:.40}")

    @property
    def greedy(self) -> bool:
        """True where the likeliest token is taken."""
        return self.temperature == 0


def pick(
    logits: Tensor,
    sampling: Sampling,
    seen: Sequence[int],
    generator: torch.Generator | None,
    allowed: Tensor | None = None,
    prompt: int = 0,
) -> int:
    """Return the next token for one row of finite logits [V], float32 on the CPU.

    Args:
        logits: is not changed.
        sampling: how.
        seen: prompt and answer so far, for the penalties.
        generator: where chance comes from; greedy needs none.
        allowed: bool [V] on the CPU, which ids may be picked; None where all may.
        prompt: how many ids of `seen` are the prompt's.

    Raises:
        UsageError: nothing is allowed, or a bias for an id outside the vocabulary.
    """
    scores = bend(logits, sampling, seen, allowed, prompt)
    if sampling.greedy:
        return int(scores.argmax())
    return draw(distribution(scores, sampling), generator)


def bend(
    logits: Tensor,
    sampling: Sampling,
    seen: Sequence[int],
    allowed: Tensor | None = None,
    prompt: int = 0,
) -> Tensor:
    """Return the scores [V] after grammar, penalties and bias. See `pick`."""
    scores = _repelled(logits, sampling.repetition_penalty, seen)
    if shifts := _shifts(sampling, seen, prompt):
        if not 0 <= min(shifts) <= max(shifts) < len(logits):
            raise UsageError(f"logit_bias: ids must lie between 0 and {len(logits) - 1}")
        by = torch.tensor(list(shifts.values()), dtype=torch.float32)
        scores = scores.index_add(0, torch.tensor(list(shifts)), by).nan_to_num()
    if allowed is None:
        return scores
    if not bool(allowed.any()):
        raise UsageError("the grammar allows no token here")
    return scores.masked_fill(~allowed, -math.inf)


def distribution(scores: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities [V] from temperature to the last cut; temperature > 0."""
    # Shifted first: a tiny temperature would otherwise overflow.
    scores = (scores - scores.max()) / min(max(sampling.temperature, _COLDEST), _HOTTEST)
    if 0 < sampling.top_k < len(scores):
        kept = torch.full_like(scores, -math.inf)
        top = scores.topk(sampling.top_k)
        scores = kept.scatter(0, top.indices, top.values)
    probabilities = scores.softmax(-1)
    if sampling.top_p < 1:
        probabilities = _fewest(probabilities, probabilities, sampling.top_p)
    if sampling.min_p > 0:
        floor = sampling.min_p * probabilities.max()
        probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
    if sampling.typical_p < 1:
        probabilities = probabilities / probabilities.sum()
        probabilities = _fewest(probabilities, _typicality(probabilities), sampling.typical_p)
    return probabilities / probabilities.sum()


def draw(probabilities: Tensor, generator: torch.Generator | None) -> int:
    """Return an id drawn from probabilities [V], with one number of the generator.

    The number is looked up in the running sum, so a slight change of the probabilities seldom
    changes what is drawn.
    """
    sums = probabilities.cumsum(-1, dtype=torch.float64)
    place = torch.rand(1, dtype=torch.float64, generator=generator) * sums[-1]
    found = torch.searchsorted(sums, place, right=True)
    last = torch.searchsorted(sums, sums[-1:])  # a product rounded up to the sum is past the end
    return int(torch.minimum(found, last))


def _fewest(probabilities: Tensor, merit: Tensor, share: float) -> Tensor:
    """Keep the fewest of most merit that have this share; the others become 0."""
    count, total = 0, len(probabilities)
    while True:
        count = min(total, max(_RANKED, 16 * count))
        best = merit.topk(count).indices
        chances = probabilities[best]
        sums = chances.cumsum(-1, dtype=torch.float64)
        if count == total or float(sums[-1]) >= share:
            chosen = sums - chances < share
            kept = torch.zeros_like(probabilities)
            kept[best[chosen]] = chances[chosen]
            return kept


def _typicality(probabilities: Tensor) -> Tensor:
    """Return how close the information of each is to the expected one, 0 the closest."""
    expected: Tensor = torch.special.entr(probabilities).sum()
    return -(probabilities.log() + expected).abs()


def _repelled(logits: Tensor, penalty: float, seen: Sequence[int]) -> Tensor:
    if penalty == 1 or not seen:
        return logits
    used = torch.tensor(sorted(set(seen)))
    said = logits[used]
    bent = torch.where(said > 0, said / penalty, said * penalty)
    return logits.index_copy(0, used, bent.nan_to_num())  # an absurd penalty overflows


def _shifts(sampling: Sampling, seen: Sequence[int], prompt: int) -> dict[int, float]:
    """Return what is added to the logits of which ids."""
    shifts = {id: float(bias) for id, bias in sampling.logit_bias}
    if sampling.frequency_penalty or sampling.presence_penalty:
        for id, times in Counter(seen[prompt:]).items():
            less = sampling.frequency_penalty * times + sampling.presence_penalty
            shifts[id] = shifts.get(id, 0.0) - less
    return shifts


def _share(value: object) -> bool:
    return _number(value) and 0 < value <= 1  # type: ignore[operator]


def _pairs(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and type(pair[0]) is int and _number(pair[1])
        for pair in value
    )


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
