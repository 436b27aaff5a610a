"""How to generate, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from puna.engine import Sampling
from puna.errors import UsageError


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model said: text and ids without the prompt, and why it ended."""

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Score:
    """Log probabilities of a continuation, in nats; `greedy` tells if greedy would say it."""

    total: float
    tokens: tuple[float, ...]
    greedy: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an engine takes on: the longest sequence in tokens, and sequences at once.

    What is None follows from the model and from the memory that is free.
    """

    context: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        for name, size in (("context", self.context), ("batch", self.batch)):
            if size is not None and (type(size) is not int or size < 1):
                raise UsageError(f"{name} must be a whole number above 0, not {size!r:.40}")


@dataclass(frozen=True, slots=True)
class Options:
    """How to generate; the same fields for prompts and for chat.

    `temperature=0` is greedy and deterministic; otherwise `seed` makes a run repeatable. `stop`
    strings end the text and are not part of it. `top_k=0`, `top_p=1`, `min_p=0` and
    `repetition_penalty=1` switch these off.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: str | Sequence[str] | None = None
    seed: int | None = None

    def sampling(self) -> Sampling:
        """Return the part that the sampler reads."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings.

        Raises:
            UsageError: neither a string nor several.
        """
        if self.stop is None:
            return ()
        if not isinstance(self.stop, Sequence):
            raise UsageError(f"stop must be a string or a list of strings, not {self.stop!r:.40}")
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def options_of(options: Options | None, fields: Mapping[str, Any]) -> Options:
    """Return the options given as a record or as keywords.

    Raises:
        UsageError: both are given, or a keyword that is no option.
    """
    if options is not None and fields:
        raise UsageError("give options as a record or as keywords, not both")
    if options is not None:
        return options
    unknown = sorted(set(fields) - set(Options.__dataclass_fields__))
    if unknown:
        known = ", ".join(Options.__dataclass_fields__)
        raise UsageError(f"unknown option {unknown[0]!r}", remedy=f"known: {known}")
    return Options(**fields)
