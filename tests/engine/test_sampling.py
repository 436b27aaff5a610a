"""The sampler against the reference library's processors, and against its own distribution."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.engine.sampling import Sampling, distribution, pick
from puna.errors import UsageError

V = 40


def reference(logits: torch.Tensor, sampling: Sampling, seen: list[int]) -> torch.Tensor:
    """Return the probabilities that transformers' own processors give."""
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    steps.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0:
        steps.append(MinPLogitsWarper(sampling.min_p))
    return steps(torch.tensor([seen]), logits[None].clone()).softmax(-1)[0]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0.1, 3),
    st.sampled_from([0, 1, 3, 39, 40, 100]),
    st.sampled_from([1.0, 0.95, 0.5, 0.05]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([1.0, 1.3, 0.8]),
)
def test_distribution_equals_the_reference(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(V, generator=generator) * 3
    sampling = Sampling(temperature, top_k, top_p, min_p, penalty)
    seen = [1, 5, 5, 7]
    want = reference(logits, sampling, seen)
    from puna.engine.sampling import _penalize

    got = distribution(_penalize(logits, penalty, seen), sampling)
    # Where a cumulative sum lies on the edge to the last bit, the two may keep one token more.
    differ = (want > 0) != (got > 0)
    if not differ.any():
        assert (want - got).abs().max() < 1e-5
    else:
        assert int(differ.sum()) == 1
        assert top_p < 1


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


def test_greedy_takes_the_likeliest_after_the_penalty() -> None:
    logits = torch.tensor([1.0, 3.0, 2.9])
    assert pick(logits, Sampling(), [], None) == 1
    assert pick(logits, Sampling(repetition_penalty=1.2), [1], None) == 2
    assert logits.tolist() == pytest.approx([1.0, 3.0, 2.9])


def test_a_tiny_temperature_does_not_overflow() -> None:
    probabilities = distribution(torch.tensor([1.0, 80.0, -50.0]), Sampling(temperature=1e-6))
    assert probabilities.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("temperature", [1.0, 1e-30, 1e-45, 5e-324])
@pytest.mark.parametrize("penalty", [1.0, 1e-300, 1e-40, 1e308])
def test_absurd_values_still_give_probabilities(temperature: float, penalty: float) -> None:
    logits = torch.tensor([1.0, 80.0, -50.0, 0.0])
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty)
    generator = torch.Generator().manual_seed(0)
    for seen in ([2], [1, 2, 3], [0, 1, 2, 3]):
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
        {"repetition_penalty": 0},
        {"repetition_penalty": math.inf},
    ],
    ids=str,
)
def test_values_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]
