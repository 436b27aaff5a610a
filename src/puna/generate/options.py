"""How to generate, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from puna.engine import Sampling
from puna.errors import UsageError
from puna.generate.grammar import Grammar, grammar_of
from puna.plan import Cache, check_cache

# More of them say nothing, and each costs a line of every answer.
_MOST_LOGPROBS = 100


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model said: text and ids without the prompt, and why it ended.

    `logprobs` and `top_logprobs` are empty unless asked for: per token said its log probability
    in nats, and the likeliest ids at its place with theirs.
    """

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int
    seconds: float
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """Log probabilities of a continuation, in nats; `greedy` tells if greedy would say it."""

    total: float
    tokens: tuple[float, ...]
    greedy: bool


@dataclass(frozen=True, slots=True)
class Running:
    """How an engine runs.

    Args:
        context: the longest sequence in tokens; None follows from the model and the free memory.
        batch: sequences at once; None follows from the free memory.
        cache: what keys and values are kept in: `auto`, the model's dtype, or `int8`.
        deterministic: see `puna.engine.Engine`.
        speculation: whether to guess ahead where that pays, which changes no answer.
    """

    context: int | None = None
    batch: int | None = None
    cache: Cache = "auto"
    deterministic: bool = False
    speculation: bool = True

    def __post_init__(self) -> None:
        check_cache(self.cache)
        for name, size in (("context", self.context), ("batch", self.batch)):
            if size is not None and (type(size) is not int or size < 1):
                raise UsageError(f"{name} must be a whole number above 0, not {size!r:.40}")


@dataclass(frozen=True, slots=True)
class Options:
    """How to generate; the same fields for prompts and for chat.

    Args:
        max_tokens: the most to say.
        temperature: 0 is greedy and deterministic; otherwise `seed` makes a run repeatable.
        top_p, top_k, min_p, typical_p, repetition_penalty, frequency_penalty, presence_penalty:
            see `puna.engine.Sampling`, which says in which order they apply; as they stand here
            they are off.
        logit_bias: by id, what is added to its logit.
        stop: strings that end the text and are not part of it.
        seed: any whole number.
        logprobs: whether to keep the log probability of every token said, before sampling.
        top_logprobs: how many of the likeliest tokens to keep at each place, at most 100.
        schema: JSON schema, as an object or as JSON, that the answer is valid under.
        regex: what the whole answer matches.
        choice: texts of which the answer is one.
        grammar: what the answer is a sentence of, in Lark's notation. At most one of the four
            may be given; they need llguidance (`pip install 'puna[structured]'`).
        priority: a whole number; higher is computed first.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = None
    stop: str | Sequence[str] | None = None
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    schema: Mapping[str, Any] | str | None = None
    regex: str | None = None
    choice: Sequence[str] | None = None
    grammar: str | None = None
    priority: int = 0

    def sampling(self) -> Sampling:
        """Return the part that the sampler reads.

        Raises:
            UsageError: a value that cannot be meant.
        """
        bias = self.logit_bias or {}
        if not isinstance(bias, Mapping):
            raise UsageError(f"logit_bias must map ids to numbers, not {bias!r:.40}")
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            typical_p=self.typical_p,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=tuple(bias.items()),
        )

    def likeliest(self) -> int:
        """Return how many of the likeliest tokens to keep.

        Raises:
            UsageError: not a number of them.
        """
        count = self.top_logprobs
        if type(count) is not int or not 0 <= count <= _MOST_LOGPROBS:
            raise UsageError(f"top_logprobs must lie between 0 and {_MOST_LOGPROBS}, not {count}")
        return count

    def form(self) -> Grammar | None:
        """Return what the answer must look like, if it is asked to look like something.

        Raises:
            UsageError: it is asked for twice, or cannot be meant.
        """
        return grammar_of(
            schema=self.schema, regex=self.regex, choice=self.choice, grammar=self.grammar
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


def seed_of(seed: int | None, index: int) -> int | None:
    """Return the seed of sample `index` where several are asked for with one seed.

    The first sample has the seed itself; the others have numbers drawn from it, so that they are
    not the samples of the next seed.
    """
    if seed is None or index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


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
