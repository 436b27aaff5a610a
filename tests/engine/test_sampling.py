"""The sampler, each step against plain Python, and what it draws against its own distribution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.engine.sampling import Sampling, bend, distribution, draw, pick
from puna.errors import UsageError

V = 40
Probabilities = list[float]


# The reference: lists and math, one function per step.


def plain_bend(
    logits: Sequence[float],
    sampling: Sampling,
    seen: Sequence[int],
    prompt: int,
    allowed: Sequence[bool] | None,
) -> list[float]:
    scores = list(logits)
    for token in range(len(scores)):
        if token in seen:
            over = scores[token] > 0
            by = sampling.repetition_penalty
            scores[token] = scores[token] / by if over else scores[token] * by
        times = list(seen[prompt:]).count(token)
        scores[token] -= sampling.frequency_penalty * times
        scores[token] -= sampling.presence_penalty if times else 0
        scores[token] += sum(bias for id, bias in sampling.logit_bias if id == token)
    if allowed is not None:
        scores = [s if may else -math.inf for s, may in zip(scores, allowed, strict=True)]
    return scores


def normal(weights: Sequence[float]) -> Probabilities:
    return [w / sum(weights) for w in weights]


def plain_softmax(scores: Sequence[float], temperature: float) -> Probabilities:
    return normal([math.exp((s - max(scores)) / temperature) for s in scores])


def plain_top_k(chances: Probabilities, k: int) -> Probabilities:
    kept = sorted(range(len(chances)), key=lambda i: -chances[i])[:k]
    return normal([p if i in kept else 0.0 for i, p in enumerate(chances)])


def plain_fewest(chances: Probabilities, order: Sequence[int], share: float) -> Probabilities:
    kept: list[int] = []
    for token in order:
        if sum(chances[i] for i in kept) >= share:
            break
        kept.append(token)
    return normal([p if i in kept else 0.0 for i, p in enumerate(chances)])


def plain_top_p(chances: Probabilities, share: float) -> Probabilities:
    return plain_fewest(chances, sorted(range(len(chances)), key=lambda i: -chances[i]), share)


def plain_min_p(chances: Probabilities, share: float) -> Probabilities:
    return normal([p if p >= share * max(chances) else 0.0 for p in chances])


def plain_typical(chances: Probabilities, share: float) -> Probabilities:
    entropy = -sum(p * math.log(p) for p in chances if p > 0)
    alive = [i for i, p in enumerate(chances) if p > 0]
    order = sorted(alive, key=lambda i: abs(-math.log(chances[i]) - entropy))
    return plain_fewest(chances, order, share)


def plain(scores: Sequence[float], sampling: Sampling) -> Probabilities:
    chances = plain_softmax(scores, sampling.temperature)
    if sampling.top_k:
        chances = plain_top_k(chances, sampling.top_k)
    if sampling.top_p < 1:
        chances = plain_top_p(chances, sampling.top_p)
    if sampling.min_p > 0:
        chances = plain_min_p(chances, sampling.min_p)
    if sampling.typical_p < 1:
        chances = plain_typical(chances, sampling.typical_p)
    return chances


@st.composite
def distinct_logits(draw_from: st.DrawFn) -> list[float]:
    """Logits that differ by enough that no rounding changes their order."""
    seed, spread = draw_from(st.integers(0, 2**32)), draw_from(st.sampled_from([0.3, 3.0, 20.0]))
    generator = torch.Generator().manual_seed(seed)
    values = torch.linspace(-spread, spread, V) + torch.rand(V, generator=generator) * 0.01
    return values[torch.randperm(V, generator=generator)].tolist()


ids = st.integers(0, V - 1)
penalties = st.sampled_from([0.0, 0.5, -0.7, 2.0])


@settings(max_examples=80, deadline=None)
@given(
    logits=distinct_logits(),
    said=st.lists(ids, max_size=12),
    prompt=st.integers(0, 12),
    repetition=st.sampled_from([1.0, 1.3, 0.8, 5.0]),
    frequency=penalties,
    presence=penalties,
    bias=st.dictionaries(ids, st.floats(-100, 100), max_size=4),
    allowed=st.none() | st.sets(ids, min_size=1),
)
def test_penalties_bias_and_grammar_are_the_plain_ones(
    logits: list[float],
    said: list[int],
    prompt: int,
    repetition: float,
    frequency: float,
    presence: float,
    bias: dict[int, float],
    allowed: set[int] | None,
) -> None:
    sampling = Sampling(
        repetition_penalty=repetition,
        frequency_penalty=frequency,
        presence_penalty=presence,
        logit_bias=tuple(bias.items()),
    )
    mask = None if allowed is None else [i in allowed for i in range(V)]
    got = bend(
        torch.tensor(logits),
        sampling,
        said,
        None if mask is None else torch.tensor(mask),
        prompt,
    )
    want = plain_bend(logits, sampling, said, prompt, mask)
    assert got.tolist() == pytest.approx(want, rel=1e-5, abs=1e-4)


STEPS = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": V},
    {"top_k": 10**9},
    {"top_p": 0.9},
    {"top_p": 0.2},
    {"top_p": 1e-9},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"typical_p": 0.9},
    {"typical_p": 0.2},
    {"typical_p": 1e-9},
    {"top_k": 20, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9},
    {"top_p": 0.8, "typical_p": 0.5},
    {"top_k": 9, "min_p": 0.3},
]


@pytest.mark.parametrize("steps", STEPS, ids=str)
@settings(max_examples=12, deadline=None)
@given(logits=distinct_logits(), temperature=st.sampled_from([0.1, 0.7, 1.0, 3.0]))
def test_the_distribution_is_the_plain_one(
    steps: dict[str, float], logits: list[float], temperature: float
) -> None:
    sampling = replace(Sampling(temperature), **steps)  # type: ignore[arg-type]
    got = distribution(torch.tensor(logits), sampling).tolist()
    # Where a running sum lies on the edge to the last bit, one token more or less may be kept.
    for nudge in (0, 1e-6, -1e-6):
        shares = {
            name: min(1.0, max(1e-12, getattr(sampling, name) + nudge))
            for name in ("top_p", "typical_p")
            if getattr(sampling, name) < 1
        }
        if got == pytest.approx(plain(logits, replace(sampling, **shares)), abs=2e-5):
            return
    assert got == pytest.approx(plain(logits, sampling), abs=2e-5)


def test_a_wide_vocabulary_is_cut_alike_however_many_are_ranked_at_first() -> None:
    """More than a thousand tokens belong to the share, so the first ranking is not enough."""
    logits = torch.linspace(0, 1, 5000)[torch.randperm(5000)]
    got = distribution(logits, Sampling(1.0, top_p=0.9))
    want = logits.softmax(-1).double()
    order = want.argsort(descending=True)
    before = want[order].cumsum(0) - want[order]
    kept = order[before < 0.9]
    assert len(kept) > 4000
    assert int((got > 0).sum()) == pytest.approx(len(kept), abs=1)
    assert got[kept[:-1]].tolist() == pytest.approx(
        (want[kept] / want[kept].sum())[:-1].tolist(), rel=1e-3
    )


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    sampling = Sampling(temperature=0.8, top_k=3)
    want = distribution(logits, sampling)
    generator = torch.Generator().manual_seed(0)
    n = 4000
    counts = Counter(pick(logits, sampling, [], generator) for _ in range(n))
    assert counts[3] == 0
    # Pearson's chi-squared with two degrees of freedom; 13.8 is the 99.9 % quantile.
    chi = sum((counts[i] - n * float(want[i])) ** 2 / (n * float(want[i])) for i in range(3))
    assert chi < 13.8


def test_what_has_no_probability_is_never_drawn() -> None:
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        assert draw(torch.tensor([0.0, 0.0, 1e-30, 0.0]), generator) == 2


def test_a_seed_repeats_a_draw() -> None:
    logits = torch.randn(V, generator=torch.Generator().manual_seed(3))

    def said(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return [pick(logits, Sampling(1.5), [], generator) for _ in range(20)]

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_greedy_takes_the_likeliest_after_the_penalty() -> None:
    logits = torch.tensor([1.0, 3.0, 2.9])
    assert pick(logits, Sampling(), [], None) == 1
    assert pick(logits, Sampling(repetition_penalty=1.2), [1], None) == 2
    assert logits.tolist() == pytest.approx([1.0, 3.0, 2.9])


def test_penalties_on_the_answer_leave_the_prompt_alone() -> None:
    logits = torch.tensor([1.0, 3.0, 2.9])
    for penalty in (Sampling(frequency_penalty=0.5), Sampling(presence_penalty=0.5)):
        assert pick(logits, penalty, [1, 1], None, prompt=2) == 1
        assert pick(logits, penalty, [1, 1], None, prompt=1) == 2


def test_a_grammar_goes_before_everything() -> None:
    logits = torch.tensor([9.0, 3.0, 2.9, -50.0])
    only = torch.tensor([False, False, False, True])
    generator = torch.Generator().manual_seed(0)
    for sampling in (
        Sampling(),
        Sampling(logit_bias=((0, 100.0),)),
        Sampling(1.0, top_k=1),
        Sampling(1e-30, top_p=0.1, min_p=1.0, typical_p=0.1),
        Sampling(repetition_penalty=1e308, logit_bias=((3, -1e308),)),
    ):
        assert pick(logits, sampling, [3], generator, only) == 3
    with pytest.raises(UsageError, match="allows no token"):
        pick(logits, Sampling(), [], None, torch.zeros(4, dtype=torch.bool))


@pytest.mark.parametrize("token", [-1, 3])
def test_a_bias_for_an_unknown_id_is_refused(token: int) -> None:
    with pytest.raises(UsageError, match="logit_bias"):
        pick(torch.zeros(3), Sampling(logit_bias=((token, 1.0),)), [], None)


def test_a_tiny_temperature_does_not_overflow() -> None:
    probabilities = distribution(torch.tensor([1.0, 80.0, -50.0]), Sampling(temperature=1e-6))
    assert probabilities.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1e-30, 1e-45, 5e-324, 1e308])
@pytest.mark.parametrize(
    "absurd",
    [
        {},
        {"repetition_penalty": 1e-300},
        {"repetition_penalty": 1e308},
        {"frequency_penalty": 1e308},
        {"frequency_penalty": -1e308, "presence_penalty": 1e308},
        {"logit_bias": ((0, 1e308), (1, -1e308))},
        {"logit_bias": tuple((i, -1e308) for i in range(4))},
        {"top_p": 5e-324, "min_p": 1.0, "typical_p": 5e-324},
    ],
    ids=str,
)
def test_absurd_values_still_pick_a_token(temperature: float, absurd: dict[str, float]) -> None:
    logits = torch.tensor([1.0, 80.0, -50.0, 0.0])
    sampling = replace(Sampling(temperature), **absurd)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for seen in ([2], [1, 2, 3], [0, 1, 2, 3], [1] * 50):
        assert 0 <= pick(logits, sampling, seen, generator) < 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -1},
        {"min_p": 2},
        {"typical_p": 0},
        {"typical_p": math.nan},
        {"repetition_penalty": 0},
        {"repetition_penalty": math.inf},
        {"frequency_penalty": math.inf},
        {"presence_penalty": "much"},
        {"logit_bias": {1: 2}},
        {"logit_bias": ((1, math.nan),)},
        {"logit_bias": (("a", 1.0),)},
    ],
    ids=str,
)
def test_values_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]
