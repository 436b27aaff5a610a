"""One batch of rows put to a model: what it says, or how likely it finds what is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from puna.errors import ContextError, DataError, PunaError
from puna.evaluate.prompts import BLOCK_END, joined, prompt_of
from puna.evaluate.task import Row, Task

if TYPE_CHECKING:
    from puna.generate import Generation, LanguageModel, Score

Pair = tuple[str | tuple[int, ...], str]
T = TypeVar("T")

_Way = Literal["chat", "text", "weigh"]
_STOP = {"chat": None, "text": BLOCK_END}  # a turn has an end of its own


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one row.

    Args:
        said: the answer, the choice, or nothing for a continuation.
        right: for a continuation, whether greedy decoding would say it.
        right_by_length: for choices, by nats per character.
        nats, tokens: for a continuation, what all of it costs and how many tokens it has.
        too_long: why the row could not be asked whole; it is then wrong.
    """

    said: str = ""
    right: bool = False
    right_by_length: bool = False
    nats: float = 0.0
    tokens: int = 0
    too_long: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """A model, and how it is asked."""

    lm: LanguageModel
    task: Task
    shots: Sequence[Row]
    max_tokens: int

    def ask(self, rows: Sequence[Row]) -> list[Outcome]:
        """Return what comes of each row, in order; none is cut to fit the context.

        Raises:
            PunaError: a row that the model cannot be asked; says which.
        """
        found: dict[int, Outcome] = {}
        for way in get_args(_Way):
            places = [index for index, row in enumerate(rows) if _way(row) == way]
            group = [rows[index] for index in places]
            outcomes = self._weigh(group) if way == "weigh" else self._speak(group, _STOP[way])
            found.update(zip(places, outcomes, strict=True))
        return [found[index] for index in range(len(rows))]

    def _speak(self, rows: Sequence[Row], stop: str | None) -> list[Outcome]:
        context = self.lm.spec.context
        prompts = [self._ids(row) for row in rows]
        fitting = [ids for ids in prompts if len(ids) < context]
        done = iter(
            self.lm.generate_many(fitting, max_tokens=self.max_tokens, temperature=0.0, stop=stop)
        )
        return [
            self._judge(row, next(done))
            if len(ids) < context
            else Outcome(too_long=_no_room(len(ids), context))
            for row, ids in zip(rows, prompts, strict=True)
        ]

    def _judge(self, row: Row, done: Generation) -> Outcome:
        if done.finish == "length" and len(done.ids) < self.max_tokens:
            reason = f"the context of {self.lm.spec.context} tokens ended within the answer"
            return Outcome(done.text, too_long=reason)
        return Outcome(done.text, row.accepts(done.text))

    def _weigh(self, rows: Sequence[Row]) -> list[Outcome]:
        pairs = [self._pairs(row) for row in rows]
        try:
            scores = iter(self.lm.score_many([pair for row in pairs for pair in row]))
            found: list[list[Score] | ContextError] = [[next(scores) for _ in p] for p in pairs]
        except PunaError:  # one by one, to know which row it is
            found = [self._alone(row, pair) for row, pair in zip(rows, pairs, strict=True)]
        return [self._compare(row, scores) for row, scores in zip(rows, found, strict=True)]

    def _alone(self, row: Row, pairs: Sequence[Pair]) -> list[Score] | ContextError:
        try:
            return self._named(row, lambda: self.lm.score_many(pairs))
        except ContextError as error:
            return error

    def _compare(self, row: Row, scores: list[Score] | ContextError) -> Outcome:
        if isinstance(scores, ContextError):
            return Outcome(too_long=_no_room(scores.prompt_tokens, scores.context))
        if not all(math.isfinite(score.total) for score in scores):
            raise PunaError(
                "the model gave a log probability that is not finite",
                where=self.task.where(row),
                remedy="load it in float32, or check its weights",
            )
        if row.choices is None:
            (score,) = scores
            return Outcome("", score.greedy, nats=-score.total, tokens=len(score.tokens))
        totals = {c: score.total for c, score in zip(row.choices, scores, strict=True)}
        likeliest = max(totals, key=totals.__getitem__)
        by_length = max(totals, key=lambda choice: totals[choice] / len(choice))
        return Outcome(likeliest, likeliest == row.answer, by_length == row.answer)

    def _pairs(self, row: Row) -> list[Pair]:
        prompt = prompt_of(row, self.shots)
        if not isinstance(prompt, str):
            ids = self._ids(row)
            return [(ids, text) for text in row.choices or (row.continuation or "",)]
        if row.choices is None:
            return [(prompt, row.continuation or "")]
        return [(prompt, joined(prompt, choice)) for choice in row.choices]

    def _ids(self, row: Row) -> tuple[int, ...]:
        prompt = prompt_of(row, self.shots)
        ids = self._named(
            row,
            lambda: self.lm.encode(prompt) if isinstance(prompt, str) else self.lm.render(prompt),
        )
        if not ids:
            raise DataError("the prompt has no tokens", where=self.task.where(row))
        return ids

    def _named(self, row: Row, call: Callable[[], T]) -> T:
        """Call, and let an error tell the row."""
        try:
            return call()
        except PunaError as error:
            place = self.task.where(row)
            error.where = f"{place} ({error.where})" if error.where else place
            raise


def _way(row: Row) -> _Way:
    if row.kind in {"choices", "continuation"}:
        return "weigh"
    return "text" if isinstance(row.prompt, str) else "chat"


def _no_room(tokens: int, context: int) -> str:
    return f"{tokens} tokens, but the model's context is {context}"
