"""Guessing ahead changes how fast a text comes, and nothing about the text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from puna.engine import (
    Completion,
    Drafter,
    DraftModel,
    Engine,
    PromptLookup,
    Request,
    Sampling,
    Speculation,
)
from puna.errors import UsageError
from puna.model import Decoder
from puna.spec import ModelSpec
from tests.engine.parts import Looking, greedy, looking, windowed
from tests.unit.tiny import tiny

SAMPLINGS = [
    Sampling(),
    Sampling(temperature=1.2),
    Sampling(temperature=0.8, top_k=9, top_p=0.9, min_p=0.02),
    Sampling(repetition_penalty=1.4, frequency_penalty=0.3),
    Sampling(temperature=1.0, presence_penalty=0.7),
]


class Told:
    """Drafts what it was told that each prompt is answered."""

    def __init__(self, answers: dict[tuple[int, ...], Sequence[int]], spoil: float = 0.0) -> None:
        self.answers, self.spoil = answers, spoil
        self.chance = random.Random(4)

    def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        for prompt, answer in self.answers.items():
            if tuple(tokens[: len(prompt)]) == prompt:
                said = len(tokens) - len(prompt)
                right = answer[said : said + count]
                return [n if self.chance.random() >= self.spoil else (n + 1) % 61 for n in right]
        return []


class Fixed:
    """Drafts the same whatever came before, or raises."""

    def __init__(self, draft: Any) -> None:
        self.draft = draft

    def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        if isinstance(self.draft, Exception):
            raise self.draft
        return self.draft  # type: ignore[no-any-return]


def asked(sampling: Sampling) -> list[Request]:
    texts = [(1, 2, 3, 4) * 5, (7,) * 9, tuple(range(40)), (5, 6, 5, 6, 8)]
    return [
        Request(f"r{n}", text, 30, sampling, seed=n, logprobs=True) for n, text in enumerate(texts)
    ]


def run(
    parts: tuple[ModelSpec, Decoder], requests: list[Request], drafter: Drafter | None, **more: Any
) -> list[Completion]:
    speculation = drafter and Speculation(drafter=drafter, **{"busy": 8, **more})
    return Engine(parts[1], parts[0], speculation=speculation).run(requests)


def same(one: Completion, two: Completion) -> bool:
    return (one.token_ids, one.finish) == (two.token_ids, two.finish) and (
        one.logprobs == pytest.approx(two.logprobs, abs=1e-4)
    )


@pytest.mark.parametrize("make", [tiny, windowed], ids=["whole", "window"])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=range(len(SAMPLINGS)))
def test_what_is_said_is_the_same_whoever_guesses(make: Any, sampling: Sampling) -> None:
    """The picks are seeded, so that even what is sampled is not only alike but the same."""
    parts, requests = make(), asked(sampling)
    plain = run(parts, requests, None)
    answers = {r.prompt_ids: done.token_ids for r, done in zip(requests, plain, strict=True)}
    for drafter in (
        PromptLookup(),
        PromptLookup(longest=3, shortest=1),
        Told(answers),
        Told(answers, spoil=0.3),
        Fixed([0] * 50),
    ):
        done = run(parts, requests, drafter)
        assert all(map(same, plain, done))
        if isinstance(drafter, Told) and not drafter.spoil:
            assert all(one.usage.accepted_tokens == one.usage.drafted_tokens > 0 for one in done)
        if isinstance(drafter, Told):
            assert all(one.usage.accepted_tokens > 5 for one in done)


def test_a_draft_that_is_right_saves_steps() -> None:
    spec, model = tiny()
    (plain,) = run((spec, model), [Request("a", (1, 2), 60)], None)
    made: list[Looking] = []
    speculation = Speculation(drafter=Told({(1, 2): plain.token_ids}))
    engine = Engine(model, spec, speculation=speculation, runner=looking(made))
    (done,) = engine.run([Request("a", (1, 2), 60)])
    assert done.token_ids == plain.token_ids
    assert len(made[0].steps) <= 12
    assert done.usage.accepted_tokens == 60 - len(made[0].steps)


def test_a_draft_that_is_wrong_is_soon_given_up() -> None:
    spec, model = tiny()
    said = greedy(model, (1, 2), 100)
    wrong = Fixed([min(set(range(61)) - set(said))] * 8)
    (done,) = run((spec, model), [Request("a", (1, 2), 100)], wrong)
    assert list(done.token_ids) == said
    assert done.usage.accepted_tokens == 0
    assert done.usage.drafted_tokens < 25


def test_a_text_that_repeats_itself_is_guessed_by_default() -> None:
    """A head that sees the last token only, so that the answer must run in a circle."""
    spec, model = tiny(num_hidden_layers=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("layers.0.attn.out"):
                parameter.zero_()
    made: list[Looking] = []
    (done,) = Engine(model, spec, runner=looking(made)).run([Request("a", (1, 2, 3), 120)])
    assert list(done.token_ids) == greedy(model, (1, 2, 3), 120)
    assert done.usage.accepted_tokens > 60
    assert len(made[0].steps) < 60


def test_with_many_at_once_nothing_is_guessed() -> None:
    parts = tiny()
    for busy, guessed in ((3, False), (4, True)):
        done = run(parts, asked(Sampling()), Fixed([1, 2]), busy=busy)
        first = [one.usage.drafted_tokens > 0 for one in done]
        assert all(first) is guessed


@pytest.mark.parametrize(
    "draft",
    [
        ValueError("no idea"),
        [61, 1],
        [-1],
        ["a"],
        [1.5],
        None,
        [True],
        [0] * 10_000,
    ],
    ids=lambda draft: type(draft).__name__,
)
def test_a_drafter_that_fails_harms_nobody(draft: Any) -> None:
    parts, requests = tiny(), asked(Sampling())
    plain = run(parts, requests, None)
    assert all(map(same, plain, run(parts, requests, Fixed(draft))))


def test_a_small_cache_is_not_spent_on_guesses() -> None:
    spec, model = tiny()
    speculation = Speculation(drafter=Fixed([3] * 8), busy=8)
    engine = Engine(model, spec, cache_tokens=80, speculation=speculation)
    requests = [replace(r, max_tokens=40) for r in asked(Sampling())]
    for request, done in zip(requests, engine.run(requests), strict=True):
        assert list(done.token_ids) == greedy(model, request.prompt_ids, 40)


def test_nobody_gives_way_to_a_guess() -> None:
    spec, model = tiny()
    speculation = Speculation(drafter=Fixed([3] * 8))
    engine = Engine(model, spec, cache_tokens=64, speculation=speculation)
    for n in range(2):
        engine.submit(Request(f"r{n}", (n, *range(28)), 30))
    engine.step()  # both hold two of the four pages, and have three places left in them
    engine.step()
    assert [sequence.request.id for sequence in engine._scheduler.running] == ["r0", "r1"]
    assert all(group.held == 4 for group in engine._pool.groups)


def test_a_stop_within_a_draft_ends_there() -> None:
    spec, model = tiny()
    said = greedy(model, (3, 1, 4), 20)
    stop = said[6]
    cut = said[: said.index(stop)]
    told = Told({(3, 1, 4): said})
    (done,) = run((spec, model), [Request("a", (3, 1, 4), 20, stop_ids=frozenset({stop}))], told)
    assert (list(done.token_ids), done.finish) == (cut, "stop")
    seen: list[int] = []

    def watch(new: Sequence[int]) -> bool:
        seen.extend(new)
        return len(seen) == 7

    (done,) = run((spec, model), [Request("a", (3, 1, 4), 20, watch=watch)], told)
    assert list(done.token_ids) == seen == said[:7]


def test_a_draft_model_drafts() -> None:
    """The model itself is right every time; another one is right sometimes; nothing changes."""
    spec, model = tiny()
    requests = asked(Sampling())
    plain = run((spec, model), requests, None)
    done = run((spec, model), requests, DraftModel(model, spec))
    assert all(map(same, plain, done))
    assert all(one.usage.accepted_tokens == one.usage.drafted_tokens > 15 for one in done)
    other_spec, other = tiny(5, num_hidden_layers=1)
    assert all(map(same, plain, run((spec, model), requests, DraftModel(other, other_spec))))
    narrow_spec, narrow = tiny(6, max_position_embeddings=16)
    assert all(map(same, plain, run((spec, model), requests, DraftModel(narrow, narrow_spec))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Speculation(most=0),
        lambda: Speculation(busy=0),
        lambda: PromptLookup(longest=1, shortest=2),
        lambda: PromptLookup(shortest=0),
    ],
)
def test_sizes_that_cannot_be_meant(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def plain_lookup(tokens: list[int], count: int, longest: int, shortest: int) -> list[int]:
    """The rule, token by token."""
    for size in range(longest, shortest - 1, -1):
        for end in range(len(tokens) - 1, size - 1, -1):
            if tokens[end - size : end] == tokens[len(tokens) - size :]:
                text = list(tokens)
                while len(text) < len(tokens) + count:
                    text.append(text[end + len(text) - len(tokens)])
                return text[len(tokens) :]
    return []


@given(
    st.lists(st.sampled_from([0, 1, 2, 256, 1 << 16, (1 << 16) + 1]), max_size=30),
    st.integers(0, 9),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_the_last_place_that_reads_the_same(
    tokens: list[int], count: int, shortest: int, more: int
) -> None:
    lookup = PromptLookup(longest=shortest + more, shortest=shortest)
    want = plain_lookup(tokens, count, shortest + more, shortest)
    assert list(lookup.propose(tokens, count)) == want
