"""The engine: submit requests, step, and take what each step said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from puna.engine.advance import End, advance
from puna.engine.draft import USUAL, Speculation, judge
from puna.engine.native import fastest
from puna.engine.pages import PAGE, Chunk, PagePool, page_limits
from puna.engine.prefix import PrefixCache
from puna.engine.request import Completion, Event, Request
from puna.engine.runner import Maker, Runner
from puna.engine.scheduler import Scheduler
from puna.engine.sequence import Sequence as Running
from puna.engine.storage import value_bytes
from puna.errors import ContextError, UsageError
from puna.model import Decoder
from puna.spec import ModelSpec, kv_bytes_per_token

_CACHE_BYTES = 4 << 30
# Where chunks of a prompt begin in the deterministic mode of a runner that is not invariant.
_STRIDE = 256

Plan = list[tuple[Running, Chunk]]


class Engine:
    """Runs many requests over one model. One thread at a time; see `EngineThread`.

    Args:
        model: filled with weights.
        spec: of that model.
        max_sequences: requests that run at once; others wait.
        max_batch_tokens: tokens of one step; longer prompts are computed in chunks.
        cache_tokens: the most tokens whose keys and values are kept; by default 4 GiB worth,
            and never less than one full context.
        cache_dtype: what they are kept in; by default the model's dtype. int8 rounds each head's
            key and value to 8 bits.
        context: the longest sequence, where that is to be less than the model's context.
        speculation: how far to guess ahead where that pays; None never does.
        deterministic: what a request is answered does not depend, to the last bit, on what runs
            beside it, on `max_batch_tokens`, or on what was computed before. An invariant runner
            does that anyway. With another each sequence is computed by itself, in chunks that
            begin at fixed places, and nothing is guessed: that is slower.
        runner: makes what computes the steps; by default compiled code where it can.

    Raises:
        UsageError: a limit that leaves room for nothing.
        FitError: no memory for the cache.
    """

    def __init__(
        self,
        model: Decoder,
        spec: ModelSpec,
        *,
        max_sequences: int = 64,
        max_batch_tokens: int = 2048,
        cache_tokens: int | None = None,
        cache_dtype: torch.dtype | None = None,
        context: int | None = None,
        speculation: Speculation | None = USUAL,
        deterministic: bool = False,
        runner: Maker = fastest,
    ) -> None:
        _check_limits(
            max_sequences=max_sequences,
            max_batch_tokens=max_batch_tokens,
            cache_tokens=cache_tokens,
            context=context,
        )
        self._spec = spec
        self._context = min(context or spec.context, spec.context)
        kept = cache_dtype or model.dtype
        size = kv_bytes_per_token(spec, **value_bytes(kept))
        tokens = cache_tokens or max(self._context, _CACHE_BYTES // size)
        self._room = min(self._context, -(-tokens // PAGE) * PAGE)
        limits = page_limits(spec, tokens, sequences=max_sequences, chunk=max_batch_tokens)
        self._pool = PagePool(spec, limit=limits, dtype=kept, device=model.device)
        self._make_runner = partial(runner, model, spec, self._pool)
        self._runner = self._make_runner()
        self._alone = deterministic and not self._runner.invariant
        self._speculation = None if self._alone else speculation
        stride = _STRIDE if self._alone else None
        self._prefixes = PrefixCache(self._pool, spec, stride=stride)
        self._scheduler = Scheduler(
            self._pool,
            self._prefixes,
            max_sequences=max_sequences,
            max_batch_tokens=max_batch_tokens,
            stride=stride,
        )
        self._sequences: dict[str, Running] = {}
        self._came = 0

    @property
    def runner(self) -> Runner:
        """What computes the steps."""
        return self._runner

    @property
    def idle(self) -> bool:
        """True where nothing runs and nothing waits."""
        return not self._sequences

    def submit(self, request: Request) -> None:
        """Take a request; the coming steps work on it.

        Raises:
            ContextError: the prompt leaves no room in the context, or in the cache.
            UsageError: ids outside the vocabulary, no prompt, nothing to say, a name in use, a
                seed or a priority that is no whole number, more likeliest tokens than there are.
        """
        self._check(request)
        sequence = Running.of(request, self._context, self._came)
        self._came += 1
        self._sequences[request.id] = sequence
        self._scheduler.add(sequence)

    def cancel(self, request_id: str) -> None:
        """Forget a request at once; one that ended already, or never was, is no error."""
        if sequence := self._sequences.pop(request_id, None):
            self._scheduler.remove(sequence)

    def fail(self, error: str) -> list[Event]:
        """End every request with an error, and return their completions."""
        return [self._end(s, (), End("error", error)) for s in list(self._sequences.values())]

    def forget(self) -> None:
        """Reuse nothing of what was computed so far: to be called where weights have changed."""
        self._prefixes.forget()
        self._runner = self._make_runner()  # it may have taken the weights as they were

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """Run requests to their end and return their completions, in order.

        Raises:
            ContextError, UsageError: as `submit`; then none was run.
        """
        wanted = {request.id for request in requests}
        if len(wanted) != len(requests):
            raise UsageError("two requests have the same id")
        done: dict[str, Completion] = {}
        try:
            for request in requests:
                self.submit(request)
            while len(done) < len(wanted):
                for event in self.step():
                    if event.completion is not None and event.id in wanted:
                        done[event.id] = event.completion
        finally:
            for request in requests:
                self.cancel(request.id)
        return [done[request.id] for request in requests]

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Advance some requests by a chunk each, and return what was said and what ended."""
        self._guess()
        plan = self._scheduler.plan()
        if not plan:
            return []
        logits = self._forward(plan)
        for sequence, chunk in plan:  # only now: a step that is broken off has computed nothing
            self._scheduler.note(sequence, chunk)
        ready = [sequence for sequence, _ in plan if not sequence.missing]
        rows = torch.split(logits, [1 + len(sequence.draft) for sequence in ready])
        return [self._advance(sequence, own) for sequence, own in zip(ready, rows, strict=True)]

    def _guess(self) -> None:
        """Draft what may come next for those that lack one token, unless there are many."""
        running = self._scheduler.running
        for sequence in running:
            sequence.draft = []
            if self._speculation is None or not self._speculation.ahead(len(running)):
                continue
            if sequence.missing == 1:
                sequence.draft = self._speculation.draft(sequence, self._spec.vocab)

    def _forward(self, plan: Plan) -> Tensor:
        """Compute all chunks; return logits [R, V] of those that are due a token."""
        if self._alone and len(plan) > 1:
            return torch.cat([self._forward([one]) for one in plan])
        ids: list[int] = []
        due: list[int] = []
        for sequence, chunk in plan:
            end = chunk.start + chunk.count
            known = sequence.tokens[chunk.start : end]
            ids.extend(known if len(known) == chunk.count else known + sequence.draft)
            if end >= len(sequence.tokens):
                due.extend(range(len(ids) - 1 - len(sequence.draft), len(ids)))
        return self._runner.run(ids, [chunk for _, chunk in plan], due)

    def _advance(self, sequence: Running, logits: Tensor) -> Event:
        drafted, before = len(sequence.draft), sequence.computed
        new, end = advance(sequence, logits)
        judge(sequence.drafting, drafted, sequence.computed - before)
        sequence.draft = []
        if end is not None:
            return self._end(sequence, new, end)
        return Event(sequence.request.id, new)

    def _end(self, sequence: Running, new: tuple[int, ...], end: End) -> Event:
        del self._sequences[sequence.request.id]
        self._scheduler.remove(sequence)
        return Event(sequence.request.id, new, sequence.complete(end.finish, end.error))

    def _check(self, request: Request) -> None:
        ids, room, vocab = request.prompt_ids, self._room, self._spec.vocab
        if request.id in self._sequences:
            raise UsageError(f"a request {request.id!r:.60} is running already")
        if not ids:
            raise UsageError("the prompt is empty", remedy="give at least one token")
        _check_numbers(request, vocab)
        if not 0 <= min(ids) <= max(ids) < vocab:
            raise UsageError(f"ids must lie between 0 and {vocab - 1}")
        if len(ids) >= room or min(len(ids) + request.max_tokens, self._context) > room:
            raise ContextError(prompt_tokens=len(ids), max_tokens=request.max_tokens, context=room)


def _check_limits(**limits: int | None) -> None:
    for name, limit in limits.items():
        if limit is not None and (type(limit) is not int or limit < 1):
            raise UsageError(f"{name} must be at least 1, not {limit!r:.40}")


def _check_numbers(request: Request, vocab: int) -> None:
    """See that the numbers of a request are such as can be meant."""
    if type(request.max_tokens) is not int or request.max_tokens < 1:
        raise UsageError(f"max_tokens must be at least 1, not {request.max_tokens!r:.40}")
    if request.seed is not None and type(request.seed) is not int:
        raise UsageError(f"seed must be a whole number, not {request.seed!r:.40}")
    if type(request.priority) is not int:
        raise UsageError(f"priority must be a whole number, not {request.priority!r:.40}")
    if type(request.top_logprobs) is not int or not 0 <= request.top_logprobs <= vocab:
        raise UsageError(f"top_logprobs must be 0 to {vocab}, not {request.top_logprobs!r:.40}")
