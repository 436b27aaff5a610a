"""A request on its way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from puna.engine.pages import Tables
from puna.engine.request import Completion, Finish, Request, Timing, Usage

# A request is overtaken by at most so many that came later, for each step of their priority.
OVERTAKING = 64


@dataclass(slots=True)
class Drafting:
    """How speculation went for a sequence: tokens proposed and accepted, and what to do next.

    `trust` is the share of a draft that was accepted lately; `quiet` the tokens to come for which
    nothing is proposed.
    """

    proposed: int = 0
    accepted: int = 0
    trust: float = 0.5
    quiet: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """The mutable state of one request.

    `tokens` is prompt and answer; keys and values of the first `computed` are in the pages of
    `tables`, one for each group of layers, and those of the `draft` that may come next behind
    them. `span` is the most tokens it can come to, fixed at admission. `rank` says who goes
    first: the lowest. `digests` are the names of its pages, as far as they were asked for, and
    `forks` the pages after which another may go on in its own way.
    """

    request: Request
    span: int
    rank: tuple[int, int]
    tokens: list[int]
    generator: torch.Generator | None
    came: float = field(default_factory=time.perf_counter)
    first: float | None = None
    computed: int = 0
    cached: int | None = None
    tables: Tables = ()
    digests: list[bytes] = field(default_factory=list)
    forks: set[int] = field(default_factory=set)
    draft: list[int] = field(default_factory=list)
    drafting: Drafting = field(default_factory=Drafting)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, context: int, arrival: int) -> Sequence:
        """Return a sequence that has computed nothing yet; `arrival` numbers those that came."""
        generator = None
        if not request.sampling.greedy:
            generator = torch.Generator()
            if request.seed is None:
                generator.seed()
            else:
                generator.manual_seed(request.seed % (1 << 63))
        span = min(len(request.prompt_ids) + request.max_tokens, context)
        rank = (arrival - OVERTAKING * request.priority, arrival)
        return cls(request, span, rank, list(request.prompt_ids), generator)

    @property
    def said(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.request.prompt_ids)

    @property
    def running(self) -> bool:
        """True where it holds pages, or is about to."""
        return bool(self.tables)

    @property
    def missing(self) -> int:
        """Tokens that are not computed."""
        return len(self.tokens) - self.computed

    def complete(self, finish: Finish, error: str | None = None) -> Completion:
        """Return what came of the request."""
        prompt = len(self.request.prompt_ids)
        drafting = self.drafting
        return Completion(
            id=self.request.id,
            token_ids=tuple(self.tokens[prompt:]),
            finish=finish,
            usage=Usage(prompt, self.said, self.cached or 0, drafting.proposed, drafting.accepted),
            timing=Timing(self.first, time.perf_counter() - self.came),
            logprobs=tuple(self.logprobs),
            top_logprobs=tuple(self.top_logprobs),
            error=error,
        )
