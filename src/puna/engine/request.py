"""What is asked of the engine, and what it answers: ids, never text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from puna.engine.sampling import Sampling

Finish = Literal["stop", "length", "error"]


class Watch(Protocol):
    """Looks on while a request grows; the owner of text ends it where a stop string was met."""

    def __call__(self, new_ids: Sequence[int]) -> bool:
        """Take the ids that are new; return True where the request must end."""


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


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens; a stop id that ended the request is not counted."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds since the request came: to its first token (None if it said none), to its end."""

    first: float | None
    total: float


@dataclass(frozen=True, slots=True)
class Completion:
    """A request that ended: by `stop`, at its `length`, or by an `error` that says why."""

    id: str
    token_ids: tuple[int, ...]
    finish: Finish
    usage: Usage
    timing: Timing
    logprobs: tuple[float, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What one step did for one request: the ids it said, and its completion if it ended."""

    id: str
    token_ids: tuple[int, ...]
    completion: Completion | None = None
