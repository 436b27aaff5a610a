"""Pages, places and turns: nothing leaks, nobody is left out, and what is said stays the same."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from puna.engine import PAGE, Engine, Event, PagePool, Request
from puna.engine.allocator import Allocator
from puna.engine.pages import page_limits
from puna.engine.sequence import OVERTAKING
from puna.errors import UsageError
from puna.model import Decoder
from puna.spec import ModelSpec
from tests.engine.parts import Looking, greedy, looking, windowed
from tests.unit.tiny import tiny

POISON = 60
BASES = tuple(tuple((7 * i * i + 3 * n * i + n) % 59 for i in range(70)) for n in range(2))


@cache
def poisoned() -> tuple[ModelSpec, Decoder]:
    """A model with a window in which one token computes what is not finite."""
    spec, model = windowed()
    with torch.no_grad():
        model.embed.tokens[POISON] = math.nan
    return spec, model


@cache
def said_alone(prompt: tuple[int, ...], count: int) -> list[int]:
    return greedy(poisoned()[1], prompt, count)


@st.composite
def prompts(draw: st.DrawFn) -> tuple[int, ...]:
    prompt = list(draw(st.sampled_from(BASES))[: draw(st.sampled_from([1, 17, 33, 48, 70, 70]))])
    if draw(st.booleans()):
        prompt.append(draw(st.integers(0, 4)))
    if draw(st.integers(0, 7)) == 0:
        prompt[draw(st.integers(0, len(prompt) - 1))] = POISON
    return tuple(prompt)


def check_accounts(engine: Engine) -> None:
    """Every page is held by exactly its holders, or free, or idle; page 0 is nobody's."""
    scheduler, pool = engine._scheduler, engine._pool
    assert not any(sequence.tables for sequence in scheduler.waiting)
    for number, group in enumerate(pool.groups):
        holders: Counter[int] = Counter()
        for sequence in scheduler.running:
            pages = [page for page in sequence.tables[number] if page]
            assert len(pages) == len(set(pages))
            holders.update(pages)
        assert holders == group._holders
        held, idle, free = set(holders), set(group._idle), set(group._free)
        assert len(free) == len(group._free)
        assert len(held) + len(idle) + len(free) == group.touched <= group.limit
        assert held | idle | free == set(range(1, group.touched + 1))
        assert idle <= set(group._name_of) <= held | idle
        assert group._page_of == {name: page for page, name in group._name_of.items()}


def check_values(engine: Engine) -> None:
    """What is free, idle or nobody's is finite, and page 0 is zero."""
    pool = engine._pool
    for number, group in enumerate(pool.groups):
        unheld = [page for page in range(group.touched + 1) if page not in group._holders]
        assert all(pool.finite(number, unheld))
    for store in (*pool.keys, *pool.values):
        assert not store[:PAGE].any()


class Accounts(RuleBasedStateMachine):
    """Requests come, go, fail and are broken off; pages are accounted for at every moment."""

    @initialize(
        budget=st.sampled_from([1, 7, 64, 200]),
        most=st.integers(1, 6),
        pages=st.integers(6, 12),
        deterministic=st.booleans(),
    )
    def start(self, budget: int, most: int, pages: int, deterministic: bool) -> None:
        spec, model = poisoned()
        made: list[Looking] = []
        self.engine = Engine(
            model,
            spec,
            max_batch_tokens=budget,
            max_sequences=most,
            cache_tokens=pages * PAGE,
            deterministic=deterministic,
            runner=looking(made),
        )
        (self.runner,) = made
        self.asked: dict[str, Request] = {}
        self.count = 0

    @rule(
        several=st.lists(st.tuples(prompts(), st.integers(-1, 1)), min_size=2, max_size=6),
        say=st.sampled_from([1, 5, 14, 20]),
    )
    def submit(self, several: list[tuple[tuple[int, ...], int]], say: int) -> None:
        for prompt, priority in several:
            request = Request(f"r{self.count}", prompt, say, priority=priority)
            self.count += 1
            self.asked[request.id] = request
            self.engine.submit(request)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.asked)))
        self.engine.cancel(name)
        del self.asked[name]

    @rule(times=st.sampled_from([1, 2, 20]))
    def step(self, times: int) -> None:
        for _ in range(times):
            self.hear(self.engine.step())

    @rule()
    def break_off(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        self.runner.before = interrupt
        if not self.engine.idle:
            with pytest.raises(KeyboardInterrupt):
                self.engine.step()
        self.runner.before = lambda: None

    @precondition(lambda self: len(self.asked) > 8)
    @rule()
    def fail(self) -> None:
        events = self.engine.fail("out of memory")
        assert {event.id for event in events} == set(self.asked)
        self.asked.clear()
        assert self.engine.idle

    def hear(self, events: list[Event]) -> None:
        for event in events:
            if (done := event.completion) is None:
                continue
            request = self.asked.pop(event.id)
            want = said_alone(request.prompt_ids, request.max_tokens)
            if POISON in (*request.prompt_ids, *want[:-1]):
                assert done.finish == "error"
                assert "not finite" in (done.error or "")
            else:
                assert done.finish == "length"
                assert list(done.token_ids) == want

    @invariant()
    def accounts(self) -> None:
        if hasattr(self, "engine"):
            check_accounts(self.engine)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for _ in range(3):
            self.hear(self.engine.step())
        check_values(self.engine)
        for name in self.asked:
            self.engine.cancel(name)
        assert self.engine.idle
        assert all(group.held == 0 for group in self.engine._pool.groups)
        check_accounts(self.engine)
        check_values(self.engine)


Accounts.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAccounts = Accounts.TestCase


@given(st.lists(st.integers(-8, 5), max_size=40), st.integers(1, 12))
def test_the_lowest_pages_are_taken_first(moves: list[int], limit: int) -> None:
    group, held = Allocator(limit), list[int]()
    for move in moves:
        if move >= 0:
            count = min(move, group.available)
            free = sorted(set(range(1, limit + 1)) - set(held))
            taken = group.take(count)
            assert taken == free[:count]
            held += taken
        else:
            back, held = held[:-move], held[-move:]
            assert sorted(group.let_go(back)) == sorted(back)
        assert group.available == limit - len(held)


def test_the_page_that_was_idle_longest_goes_first() -> None:
    group = Allocator(3)
    pages = group.take(3)
    for page in pages:
        group.name(page, bytes([page]))
    assert group.let_go([2, 1, 3]) == []
    group.hold(2)
    assert group.let_go([2]) == []
    assert group.take(1) == [1]
    assert group.find(bytes([1])) is None
    assert group.find(bytes([2])) == 2
    assert group.take(2) == [3, 2]


def test_storage_takes_memory_as_it_is_touched() -> None:
    spec, model = tiny()
    limit = (1 << 30) // (2 * 2 * 2 * 8 * 4 * PAGE)  # layers · (k, v) · heads · dims · bytes
    before = resident()
    pool = PagePool(spec, limit=limit, dtype=model.dtype, device=model.device)
    assert sum(s.nbytes for s in (*pool.keys, *pool.values)) > 1 << 30
    assert resident() - before < 64 << 20
    places = [s.data_ptr() for s in (*pool.keys, *pool.values)]
    for store in (*pool.keys, *pool.values):
        store[-PAGE:] = 1.0
    assert [s.data_ptr() for s in (*pool.keys, *pool.values)] == places
    assert not any(store[:-PAGE].count_nonzero() for store in pool.keys[:1])


def resident() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) << 10


def run_in_order(engine: Engine) -> list[str]:
    """Return the names of requests as they end."""
    ended = []
    while not engine.idle:
        ended += [event.id for event in engine.step() if event.completion]
    return ended


def test_higher_priorities_go_first_and_equal_ones_as_they_came() -> None:
    spec, model = tiny()
    engine = Engine(model, spec, max_sequences=1)
    for name, priority in (("a", 0), ("b", -1), ("c", 0), ("d", 2), ("e", 2)):
        engine.submit(Request(name, (1, 2, 3), 3, priority=priority))
    assert run_in_order(engine) == ["d", "e", "a", "c", "b"]


def test_what_runs_gives_way_to_a_higher_priority_and_loses_nothing() -> None:
    spec, model = tiny()
    engine = Engine(model, spec, max_sequences=1)
    low = Request("low", tuple(range(1, 40)), 12)
    engine.submit(low)
    said = [token for _ in range(5) for event in engine.step() for token in event.token_ids]
    engine.submit(Request("high", (4, 5), 4, priority=1))
    first = [event.id for event in engine.step()]
    assert first == ["high"]
    rest = [event for _ in range(40) for event in engine.step()]
    said += [token for event in rest if event.id == "low" for token in event.token_ids]
    assert said == greedy(model, low.prompt_ids, 12)


def test_lower_priorities_give_their_pages_back_first() -> None:
    spec, model = tiny()
    engine = Engine(model, spec, cache_tokens=7 * PAGE)
    for name, priority in (("low", 0), ("high", 1), ("middle", 0)):
        engine.submit(Request(name, (9, len(name)) * 8, 5 * PAGE, priority=priority))
    gone: list[str] = []
    while len(gone) < 2:
        engine.step()
        waiting = [s.request.id for s in engine._scheduler.waiting if s.said]
        gone += [name for name in waiting if name not in gone]
    assert gone == ["middle", "low"]


def test_nobody_waits_for_ever() -> None:
    """A low one is overtaken by a stream of higher ones only so often."""
    spec, model = tiny()
    engine = Engine(model, spec, max_sequences=1)
    engine.submit(Request("low", (1,), 1, priority=-1))
    ended = []
    for n in range(3 * OVERTAKING):
        engine.submit(Request(f"h{n}", (2,), 1))
        ended += [event.id for event in engine.step() if event.completion]
        if "low" in ended:
            break
    assert len(ended) == OVERTAKING


def test_a_long_prompt_does_not_hold_up_those_who_speak() -> None:
    spec, model = tiny(max_position_embeddings=1024)
    engine = Engine(model, spec, max_batch_tokens=16, speculation=None)
    speakers = {f"s{n}" for n in range(3)}
    for name in speakers:
        engine.submit(Request(name, (3, len(name)), 100))
    while not all(s.said for s in engine._sequences.values()):
        engine.step()
    engine.submit(Request("long", tuple(n % 59 for n in range(150)), 1))
    steps = 0
    while "long" in engine._sequences:
        heard = {event.id for event in engine.step() if event.token_ids}
        assert speakers <= heard
        steps += 1
    assert steps == math.ceil(150 / 4)  # a quarter of each step


def test_more_than_memory_waits_its_turn() -> None:
    spec, model = tiny()
    asked = [Request(f"r{n}", (n % 59, 7) * 10, 10) for n in range(40)]
    engine = Engine(model, spec, cache_tokens=3 * PAGE, max_batch_tokens=64)
    for request, done in zip(asked, engine.run(asked), strict=True):
        assert list(done.token_ids) == greedy(model, request.prompt_ids, 10)
    assert all(group.touched <= 3 for group in engine._pool.groups)


@pytest.mark.parametrize("name", ["max_sequences", "max_batch_tokens", "cache_tokens", "context"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_limits_that_cannot_be_meant(name: str, value: Any) -> None:
    spec, model = tiny()
    with pytest.raises(UsageError, match=name):
        Engine(model, spec, **{name: value})


@pytest.mark.parametrize(
    "wrong", [{"priority": 0.5}, {"top_logprobs": -1}, {"top_logprobs": 62}, {"top_logprobs": None}]
)
def test_numbers_of_a_request_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    spec, model = tiny()
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Engine(model, spec).submit(Request("a", (1,), 1, **wrong))


def test_groups_with_a_window_need_fewer_pages() -> None:
    spec, _ = windowed()
    whole, window = page_limits(spec, 10_000, sequences=4, chunk=64)
    assert whole == 625
    assert window == 4 * (2 + 2) + 4
    assert page_limits(spec, 100, sequences=4, chunk=64) == (7, 7)
