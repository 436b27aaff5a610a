"""What is asked of the engine, and what it answers: ids, never text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from puna.engine.sampling import Sampling

Finish = Literal["stop", "length", "error"]


class Watch(Protocol):
    """Looks on while a request grows; the owner of text ends it where a stop string was met."""

    def __call__(self, new_ids: Sequence[int]) -> bool:
        """Take the ids that are new; return True where the request must end."""


class Constraint(Protocol):
    """What a request may say next, where its owner has a grammar for it; stateful, one request's.

    The owner of text makes it; the engine asks before each pick and tells what was picked.
    """

    def allowed(self) -> Tensor | None:
        """Return which ids may come next, bool [vocab] on the CPU; None where all may."""

    def forced(self) -> Sequence[int]:
        """Return ids of which it is sure that they come next: they need no pick."""

    def take(self, token: int) -> None:
        """Hear that the request now ends in `token`, which was allowed."""

    @property
    def done(self) -> bool:
        """True where nothing more may be said."""


@dataclass(frozen=True, slots=True)
class Request:
    """Continue `prompt_ids` by up to `max_tokens`.

    Args:
        id: a name that no other request in the engine has.
        prompt_ids: at least one id, fewer than the model's context.
        max_tokens: the most to say; the end of the context ends it earlier.
        sampling: how tokens are picked.
        seed: makes sampling repeatable, whatever else runs beside it; None draws one.
        stop_ids: ids that end the request and are not part of it.
        adapter: the slot of an adapter, or None for the bare model.
        watch: asked after every token whether to end.
        logprobs: keep the log probability of every token said, before the sampler bends it.
        top_logprobs: of how many of the likeliest tokens to keep them as well, at each place.
        constraint: what may be said, where that is not everything.
        priority: higher is computed first, and gives its pages back last.
    """

    id: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()
    adapter: int | None = None
    watch: Watch | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    constraint: Constraint | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens; a stop id that ended the request is not counted.

    Of the prompt's tokens, `cached_tokens` were not computed again. Of the tokens that were
    drafted ahead, which is no part of the answer's count, `accepted_tokens` became the answer's.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds since the request came: to its first token (None if it said none), to its end."""

    first: float | None
    total: float


@dataclass(frozen=True, slots=True)
class Completion:
    """A request that ended: by `stop`, at its `length`, or by an `error` that says why.

    `top_logprobs` has, for each token said, the likeliest ids and their log probabilities.
    """

    id: str
    token_ids: tuple[int, ...]
    finish: Finish
    usage: Usage
    timing: Timing
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What one step did for one request: the ids it said, and its completion if it ended."""

    id: str
    token_ids: tuple[int, ...]
    completion: Completion | None = None
