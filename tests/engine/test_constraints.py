"""What a grammar asks of the engine: masks, forced ids, an end, and faults that stay its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from puna.engine import Engine, Request, Sampling, Speculation
from tests.engine.parts import Looking, greedy, looking
from tests.unit.tiny import tiny

V = 61
FORCED = (10, 11, 12)


class Pattern:
    """A list of places, each a set of ids that may stand there; one alone is forced."""

    def __init__(self, *places: Sequence[int] | None, forces: bool = True) -> None:
        self.places, self.forces = places, forces
        self.heard: list[int] = []

    def allowed(self) -> Tensor | None:
        ids = self.places[len(self.heard)]
        if ids is None:
            return None
        mask = torch.zeros(V, dtype=torch.bool)
        mask[list(ids)] = True
        return mask

    def forced(self) -> Sequence[int]:
        ids = []
        for place in self.places[len(self.heard) :] if self.forces else ():
            if place is None or len(place) != 1:
                break
            ids.append(place[0])
        return ids

    def take(self, token: int) -> None:
        place = self.places[len(self.heard)]
        assert place is None or token in place
        self.heard.append(token)

    @property
    def done(self) -> bool:
        return len(self.heard) == len(self.places)


PLACES = ([3, 5, 7], [10], [11], [12], range(20, 40), None, [10], [11], None, [1, 2])


def run(*requests: Request, **more: Any) -> Any:
    spec, model = tiny()
    return Engine(model, spec, **more).run(requests)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.1)])
@pytest.mark.parametrize("speculation", [None, Speculation()], ids=["plain", "drafts"])
def test_forced_ids_say_what_masks_say(sampling: Sampling, speculation: Any) -> None:
    def ask(forces: bool) -> Request:
        return Request("a", (1, 2), 50, sampling, 3, constraint=Pattern(*PLACES, forces=forces))

    made: list[Looking] = []
    (masked,) = run(ask(False), speculation=None)
    (forced,) = run(ask(True), runner=looking(made), speculation=speculation)
    assert masked.token_ids == forced.token_ids
    assert masked.finish == forced.finish == "stop"
    for token, place in zip(forced.token_ids, PLACES, strict=True):
        assert place is None or token in place
    # The prompt, then one step for each that was picked but the last.
    assert len(made[0].steps) == 5


def test_what_is_forced_first_and_last() -> None:
    pattern = Pattern([4], [5], None, [6], [7])
    made: list[Looking] = []
    (done,) = run(Request("a", (1, 2), 50, constraint=pattern), runner=looking(made))
    _, model = tiny()
    assert done.token_ids == (4, 5, greedy(model, (1, 2, 4, 5), 1)[0], 6, 7)
    assert list(done.token_ids) == pattern.heard
    assert [[c.count for c in chunks] for chunks in made[0].steps] == [[2], [2]]
    assert done.timing.first is not None


def test_where_log_probabilities_are_wanted_each_token_is_computed() -> None:
    def ask(forces: bool, **more: Any) -> Request:
        return Request("a", (1, 2), 50, constraint=Pattern(*PLACES, forces=forces), **more)

    (masked,) = run(ask(False, logprobs=True))
    (forced,) = run(ask(True, logprobs=True, top_logprobs=3))
    assert len(forced.logprobs) == len(PLACES) == len(forced.top_logprobs)
    assert forced.logprobs == pytest.approx(masked.logprobs, abs=1e-5)


def test_the_end_of_the_room_ends_what_is_forced() -> None:
    (done,) = run(Request("a", (1, 2), 3, constraint=Pattern(*PLACES)))
    assert (len(done.token_ids), done.finish) == (3, "length")
    (done,) = run(Request("a", (1, 2), 3, constraint=Pattern(None, [4], [5])))
    assert (len(done.token_ids), done.finish) == (3, "stop")


def test_what_is_done_at_once_says_nothing() -> None:
    (done,) = run(Request("a", (1, 2), 5, constraint=Pattern()))
    assert (done.token_ids, done.finish, done.timing.first) == ((), "stop", None)


def test_stop_ids_end_only_where_they_are_allowed() -> None:
    _, model = tiny()
    first = greedy(model, (1, 2), 1)[0]
    stop = frozenset({first})
    others, other = [n for n in range(V) if n != first], (first + 1) % V
    (done,) = run(Request("a", (1, 2), 9, stop_ids=stop, constraint=Pattern(others, None)))
    assert done.token_ids[0] != first
    (done,) = run(Request("a", (1, 2), 9, stop_ids=stop, constraint=Pattern(None, others)))
    assert (done.token_ids, done.finish) == ((), "stop")
    pattern = Pattern([other], [first], [5])
    (done,) = run(Request("a", (1, 2), 9, stop_ids=stop, constraint=pattern))
    assert (done.token_ids, done.finish) == ((other,), "stop")


def test_penalties_see_what_was_forced() -> None:
    sampling = Sampling(repetition_penalty=5.0)
    places: list[Any] = [[8], [9], [8], *[None] * 6]
    for speculation in (None, Speculation()):
        (forced,) = run(
            Request("a", (1, 2), 9, sampling, constraint=Pattern(*places)), speculation=speculation
        )
        (masked,) = run(
            Request("a", (1, 2), 9, sampling, constraint=Pattern(*places, forces=False))
        )
        assert forced.token_ids == masked.token_ids


def test_a_draft_that_is_wrong_first_and_right_later_counts_for_nothing() -> None:
    """What is forced may be what was guessed, behind a token that was not."""

    class Half:
        def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
            return [(first + 1) % V, 10, 11, 12][:count]

    _, model = tiny()
    places: list[Any] = [None, None, [10], [11], [12], None, None, None]
    first = greedy(model, (1, 2), 2)[1]
    (plain,) = run(Request("a", (1, 2), 9, constraint=Pattern(*places)), speculation=None)
    (done,) = run(
        Request("a", (1, 2), 9, constraint=Pattern(*places)),
        speculation=Speculation(drafter=Half()),
    )
    assert done.usage.drafted_tokens > 0
    assert done.token_ids == plain.token_ids


class Broken(Pattern):
    """Fails in one of its methods."""

    def __init__(self, method: str, what: Any) -> None:
        super().__init__(None, None, None)
        self.method, self.what = method, what

    def __getattribute__(self, name: str) -> Any:
        if name != "method" and name == self.method:
            what = self.what
            if not isinstance(what, Exception):
                return (lambda *_: what) if name != "done" else what

            def fail(*_: Any) -> Any:
                raise what

            return fail if name != "done" else fail()
        return super().__getattribute__(name)


NOTHING = torch.zeros(V, dtype=torch.bool)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Broken("allowed", ValueError("no mask")), "no mask"),
        (lambda: Broken("forced", ValueError("no ids")), "no ids"),
        (lambda: Broken("take", ValueError("cannot take")), "cannot take"),
        (lambda: Broken("done", ValueError("never done")), "never done"),
        (lambda: Broken("allowed", NOTHING), "the grammar allows nothing here"),
        (lambda: Broken("allowed", torch.ones(7, dtype=torch.bool)), "size"),
        (lambda: Broken("forced", [61]), "lie below 61"),
        (lambda: Broken("forced", [-1]), "lie below 61"),
    ],
)
def test_a_fault_ends_its_own_request_alone(make: Callable[[], Broken], message: str) -> None:
    _, model = tiny()
    bad, good = run(Request("bad", (1, 2), 6, constraint=make()), Request("good", (3,), 6))
    assert bad.finish == "error"
    assert message in (bad.error or "")
    assert list(good.token_ids) == greedy(model, (3,), 6)


def test_the_likeliest_tokens_are_told() -> None:
    _, model = tiny()
    (done,) = run(Request("a", (5, 9), 4, Sampling(temperature=2.0), seed=1, top_logprobs=3))
    assert len(done.top_logprobs) == len(done.logprobs) == 4
    for place, token in enumerate(done.token_ids):
        best = greedy(model, (5, 9, *done.token_ids[:place]), 1)[0]
        ids, chances = zip(*done.top_logprobs[place], strict=True)
        assert ids[0] == best
        assert list(chances) == sorted(chances, reverse=True)
        if token in ids:
            assert chances[ids.index(token)] == done.logprobs[place]
