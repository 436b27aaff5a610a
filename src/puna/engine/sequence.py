"""A request on its way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from puna.engine.request import Completion, Finish, Request, Timing, Usage


@dataclass(slots=True, eq=False)
class Sequence:
    """The mutable state of one request.

    `tokens` is prompt and answer; keys and values of the first `computed` are in `pages`. `span`
    is the most tokens it can come to, fixed at admission.
    """

    request: Request
    span: int
    tokens: list[int]
    generator: torch.Generator | None
    came: float = field(default_factory=time.perf_counter)
    first: float | None = None
    computed: int = 0
    pages: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, context: int) -> Sequence:
        """Return a sequence that has computed nothing yet."""
        generator = None
        if not request.sampling.greedy:
            generator = torch.Generator()
            if request.seed is None:
                generator.seed()
            else:
                generator.manual_seed(request.seed % (1 << 63))
        span = min(len(request.prompt_ids) + request.max_tokens, context)
        return cls(request, span, list(request.prompt_ids), generator)

    @property
    def said(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.request.prompt_ids)

    def complete(self, finish: Finish, error: str | None = None) -> Completion:
        """Return what came of the request."""
        return Completion(
            id=self.request.id,
            token_ids=tuple(self.tokens[len(self.request.prompt_ids) :]),
            finish=finish,
            usage=Usage(len(self.request.prompt_ids), self.said),
            timing=Timing(self.first, time.perf_counter() - self.came),
            logprobs=tuple(self.logprobs),
            error=error,
        )
