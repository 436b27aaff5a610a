"""What was computed once is found again, by its own text only, and changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from puna.adapter import attach
from puna.engine import PAGE, Completion, Engine, Request, Sampling
from puna.engine.runner import in_torch
from puna.families import name_table
from puna.model import Decoder
from puna.spec import ModelSpec
from tests.engine.parts import Looking, greedy, looking, windowed
from tests.unit.tiny import tiny

SHARED = tuple((5 * n * n + 3) % 59 for n in range(70))


def ask(name: str, prompt: tuple[int, ...], say: int = 6, **more: Any) -> Request:
    return Request(name, prompt, say, logprobs=True, **more)


def same(one: Completion, two: Completion) -> bool:
    return one.token_ids == two.token_ids and one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


@pytest.mark.parametrize("make", [tiny, windowed], ids=["whole", "window"])
def test_a_beginning_is_computed_once_and_changes_nothing(make: Any) -> None:
    spec, model = make()
    fresh = [Engine(model, spec).run([ask("a", (*SHARED, n))])[0] for n in range(4)]
    engine = Engine(model, spec)
    again = [engine.run([ask("a", (*SHARED, n))])[0] for n in range(4)]
    assert all(map(same, fresh, again))
    assert [done.usage.cached_tokens for done in again] == [0, 64, 64, 64]
    assert fresh[0].usage.cached_tokens == 0


def test_one_token_at_least_is_computed() -> None:
    spec, model = tiny()
    engine = Engine(model, spec)
    for length, cached in ((32, 16), (33, 32), (1, 0), (16, 0), (17, 16)):
        engine.run([ask("a", SHARED[:length])])
        (done,) = engine.run([ask("a", SHARED[:length])])
        assert done.usage.cached_tokens == cached


def test_requests_that_come_together_compute_their_beginning_once() -> None:
    spec, model = tiny()
    made: list[Looking] = []
    engine = Engine(model, spec, runner=looking(made))
    asked = [ask(f"r{n}", (*SHARED, n), 1) for n in range(16)]
    done = engine.run(asked)
    assert made[0].computed == 71 + 15 * 7
    assert len(made[0].steps) == 2
    assert [one.usage.cached_tokens for one in done] == [0] + [64] * 15
    for request, one in zip(asked, done, strict=True):
        assert list(one.token_ids) == greedy(model, request.prompt_ids, 1)


def test_samples_of_one_prompt_share_it_while_it_is_computed_in_chunks() -> None:
    spec, model = windowed()
    made: list[Looking] = []
    engine = Engine(model, spec, max_batch_tokens=24, runner=looking(made))
    hot = Sampling(temperature=1.3)
    asked = [ask(f"r{n}", SHARED, 9, sampling=hot, seed=n) for n in range(5)]
    done = engine.run(asked)
    prompts = made[0].computed - sum(one.usage.drafted_tokens for one in done) - 5 * 8
    assert prompts == 70 + 4 * 6
    alone = [Engine(model, spec).run([request])[0] for request in asked]
    assert all(map(same, done, alone))
    assert len({one.token_ids for one in done}) > 1


def test_who_waits_for_another_goes_on_when_that_one_is_gone() -> None:
    spec, model = tiny()
    engine = Engine(model, spec, max_batch_tokens=40)
    for name in ("first", "second", "third"):
        engine.submit(ask(name, SHARED, 5))
    engine.step()
    assert [s.request.id for s in engine._scheduler.running] == ["first"]
    engine.cancel("first")
    ended = {}
    while not engine.idle:
        ended.update({e.id: e.completion for e in engine.step() if e.completion})
    assert [list(one.token_ids) for one in ended.values()] == [greedy(model, SHARED, 5)] * 2


def test_a_conversation_goes_on_where_it_was() -> None:
    for spec, model in (tiny(), windowed()):
        engine = Engine(model, spec)
        text = SHARED[:20]
        for turn in range(3):
            (done,) = engine.run([ask("a", text, 16)])
            want = Engine(model, spec).run([ask("a", text, 16)])[0]
            assert same(done, want)
            # The last token that was said was never computed.
            known = 0 if turn == 0 else (len(text) - 5) // PAGE * PAGE
            assert done.usage.cached_tokens == known
            text = (*text, *done.token_ids, 3, 1, 4, 1)


def test_adapters_do_not_share() -> None:
    spec, model = tiny()
    slots = [attach(model, name_table(spec), rank=4, alpha=8.0) for _ in range(2)]
    spoil(model)
    engine = Engine(model, spec)
    for _ in range(2):
        asked = [ask(f"r{slot}", SHARED, 8, adapter=slot) for slot in (None, *slots)]
        done = engine.run(asked)
        for request, one in zip(asked, done, strict=True):
            assert list(one.token_ids) == greedy(model, SHARED, 8, slot=request.adapter)
        assert len({one.token_ids for one in done}) == 3
    assert [one.usage.cached_tokens for one in done] == [64] * 3


def spoil(model: Decoder) -> None:
    """Give every adapter weights that matter."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "updates" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))


def test_rows_with_different_adapters_say_what_each_says_alone() -> None:
    spec, model = tiny()
    slots = [attach(model, name_table(spec), rank=3, alpha=6.0) for _ in range(3)]
    spoil(model)
    asked = [
        ask(f"r{n}", SHARED[n : n + 11 + n], 10, adapter=slot)
        for n, slot in enumerate([*slots, None, *slots])
    ]
    together = Engine(model, spec, max_batch_tokens=40).run(asked)
    alone = [Engine(model, spec).run([request])[0] for request in asked]
    assert all(map(same, together, alone))


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [1.0, 2.0, 4.0, 8.0],
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=["dynamic", "longrope"],
)
def test_beginnings_whose_angles_differ_are_not_shared(scaling: dict[str, Any]) -> None:
    spec, model = tiny(max_position_embeddings=64, rope_scaling=scaling)
    spec = replace(spec, context=256)
    engine = Engine(model, spec)
    text = SHARED[:50]
    for say, cached in ((4, 0), (100, 0), (4, 48), (100, 48)):
        (done,) = engine.run([ask("a", text, say)])
        assert done.usage.cached_tokens == cached
        assert list(done.token_ids[:4]) == greedy_spanned(model, text, 4, len(text) + say)


def greedy_spanned(model: Decoder, prompt: tuple[int, ...], count: int, span: int) -> list[int]:
    from puna.model import Rows, Segments

    ids = list(prompt)
    for _ in range(count):
        ctx = Segments([len(ids)], spans=[span])
        hidden = model(torch.tensor(ids), ctx.positions, ctx)
        ids.append(int(model.head(hidden[-1:], Rows()).argmax()))
    return ids[len(prompt) :]


def test_values_that_are_not_finite_are_not_kept() -> None:
    spec, model = tiny()
    with torch.no_grad():
        model.embed.tokens[60] = math.nan
    bad = (*SHARED[:20], 60, *SHARED[:20])
    for chunk, kept in ((64, 0), (16, 1)):  # what was computed before it is as good as any
        engine = Engine(model, spec, max_batch_tokens=chunk, runner=in_torch)
        (done,) = engine.run([ask("a", bad)])
        assert done.finish == "error"
        (group,) = engine._pool.groups
        assert len(group._name_of) == kept
        assert all(engine._pool.finite(0, range(group.touched + 1)))
        assert engine.run([ask("b", bad)])[0].usage.cached_tokens == kept * PAGE
    # Broken off before anybody has seen logits.
    engine = Engine(model, spec, max_batch_tokens=30)
    engine.submit(ask("c", bad))
    engine.step()
    engine.cancel("c")
    assert all(engine._pool.finite(0, range(engine._pool.groups[0].touched + 1)))


def test_what_is_forgotten_is_computed_again() -> None:
    spec, model = tiny()
    engine = Engine(model, spec)
    engine.run([ask("a", SHARED)])
    engine.forget()
    (done,) = engine.run([ask("a", SHARED)])
    assert done.usage.cached_tokens == 0
    assert engine.run([ask("a", SHARED)])[0].usage.cached_tokens == 64


def test_the_cache_gives_way_to_what_runs() -> None:
    spec, model = tiny()
    engine = Engine(model, spec, cache_tokens=6 * PAGE)
    texts = [tuple((n + k) % 59 for n in range(50)) for k in range(4)]
    for text in (*texts, *texts):
        (done,) = engine.run([ask("a", text, 10)])
        assert list(done.token_ids) == greedy(model, text, 10)
    assert engine._pool.groups[0].touched <= 6


def test_what_gave_way_is_mostly_found_again() -> None:
    spec, model = tiny()
    made: list[Looking] = []
    engine = Engine(model, spec, cache_tokens=12 * PAGE, speculation=None, runner=looking(made))
    asked = [ask(f"r{n}", tuple((n + k) % 59 for k in range(40)), 60) for n in range(2)]
    done = engine.run(asked)
    for request, one in zip(asked, done, strict=True):
        assert list(one.token_ids) == greedy(model, request.prompt_ids, 60)
    needed = 2 * (40 + 59)
    assert needed < made[0].computed <= needed + 3 * PAGE


def test_every_name_is_of_the_whole_beginning(parts: tuple[ModelSpec, Decoder]) -> None:
    """The same page of tokens behind another beginning is another page."""
    spec, model = parts
    engine = Engine(model, spec)
    page = SHARED[16:32]
    engine.run([ask("a", (*SHARED[:16], *page, 1))])
    (done,) = engine.run([ask("b", (*SHARED[1:17], *page, 1))])
    assert done.usage.cached_tokens == 0
    assert list(done.token_ids) == greedy(model, (*SHARED[1:17], *page, 1), 6)


@pytest.fixture(scope="module")
def parts() -> tuple[ModelSpec, Decoder]:
    return tiny()
