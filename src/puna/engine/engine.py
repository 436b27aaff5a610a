"""The engine: submit requests, step, and take what each step said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from puna.engine.pages import PAGE, Chunk, PagePool
from puna.engine.request import Completion, Event, Finish, Request
from puna.engine.runner import Runner, TorchRunner
from puna.engine.sampling import pick
from puna.engine.scheduler import Scheduler
from puna.engine.sequence import Sequence as Running
from puna.errors import ContextError, UsageError
from puna.model import Decoder
from puna.spec import ModelSpec, kv_bytes_per_token

_CACHE_BYTES = 4 << 30


class Engine:
    """Runs many requests over one model. One thread at a time; see `EngineThread`.

    Args:
        model: filled with weights.
        spec: of that model.
        max_sequences: requests that run at once; others wait.
        max_batch_tokens: tokens of one step; longer prompts are computed in chunks.
        cache_tokens: the most tokens whose keys and values are kept; by default 4 GiB worth,
            and never less than one full context.
        context: the longest sequence, where that is to be less than the model's context.
    """

    def __init__(
        self,
        model: Decoder,
        spec: ModelSpec,
        *,
        max_sequences: int = 64,
        max_batch_tokens: int = 2048,
        cache_tokens: int | None = None,
        context: int | None = None,
    ) -> None:
        if min(max_sequences, max_batch_tokens) < 1:
            raise UsageError("an engine needs room for one sequence and one token at least")
        self._spec = spec
        self._context = min(context or spec.context, spec.context)
        size = kv_bytes_per_token(spec, bytes_per_value=model.dtype.itemsize)
        tokens = cache_tokens or max(self._context, _CACHE_BYTES // size)
        self._pool = PagePool(
            spec, limit=-(-tokens // PAGE), dtype=model.dtype, device=model.device
        )
        self._runner: Runner = TorchRunner(model, self._pool)
        self._scheduler = Scheduler(
            self._pool, max_sequences=max_sequences, max_batch_tokens=max_batch_tokens
        )
        self._sequences: dict[str, Running] = {}

    @property
    def idle(self) -> bool:
        """True where nothing runs and nothing waits."""
        return not self._sequences

    def submit(self, request: Request) -> None:
        """Take a request; the coming steps work on it.

        Raises:
            ContextError: the prompt leaves no room in the context, or in the cache.
            UsageError: ids outside the vocabulary, no prompt, nothing to say, a name in use, a
                seed that is no whole number.
        """
        self._check(request)
        sequence = Running.of(request, self._context)
        self._sequences[request.id] = sequence
        self._scheduler.waiting.append(sequence)

    def cancel(self, request_id: str) -> None:
        """Forget a request at once; one that ended already, or never was, is no error."""
        if sequence := self._sequences.pop(request_id, None):
            self._scheduler.remove(sequence)

    def fail(self, error: str) -> list[Event]:
        """End every request with an error, and return their completions."""
        return [self._end(s, (), "error", error) for s in list(self._sequences.values())]

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
        plan = self._scheduler.plan()
        if not plan:
            return []
        logits = self._forward(plan)
        for sequence, chunk in plan:  # only now: a step that is broken off has computed nothing
            sequence.computed += chunk.count
        ready = [sequence for sequence, _ in plan if sequence.computed == len(sequence.tokens)]
        return [self._advance(sequence, row) for sequence, row in zip(ready, logits, strict=True)]

    def _forward(self, plan: Iterable[tuple[Running, Chunk]]) -> Tensor:
        """Compute all chunks; return logits [R, V] of those that are due a token."""
        ids: list[int] = []
        due: list[int] = []
        chunks = []
        for sequence, chunk in plan:
            ids.extend(sequence.tokens[chunk.start : chunk.start + chunk.count])
            chunks.append(chunk)
            if chunk.start + chunk.count == len(sequence.tokens):
                due.append(len(ids) - 1)
        return self._runner.run(ids, chunks, due)

    def _advance(self, sequence: Running, logits: Tensor) -> Event:
        request = sequence.request
        if not bool(logits.isfinite().all()):
            return self._end(sequence, (), "error", "the model computed values that are not finite")
        try:
            token = pick(logits, request.sampling, sequence.tokens, sequence.generator)
        except Exception as error:  # what one request asks for must not end the others
            return self._end(sequence, (), "error", f"{type(error).__name__}: {error}")
        if sequence.first is None:
            sequence.first = time.perf_counter() - sequence.came
        if token in request.stop_ids:
            return self._end(sequence, (), "stop")
        sequence.tokens.append(token)
        if request.logprobs:
            sequence.logprobs.append(float(logits.log_softmax(-1)[token]))
        try:
            met = request.watch is not None and request.watch((token,))
        except Exception as error:  # a watch is its owner's code; only its own request may fail
            return self._end(sequence, (token,), "error", f"{type(error).__name__}: {error}")
        if met:
            return self._end(sequence, (token,), "stop")
        if len(sequence.tokens) >= sequence.span:
            return self._end(sequence, (token,), "length")
        return Event(request.id, (token,))

    def _end(
        self, sequence: Running, new: tuple[int, ...], finish: Finish, error: str | None = None
    ) -> Event:
        del self._sequences[sequence.request.id]
        self._scheduler.remove(sequence, wipe=finish == "error")
        return Event(sequence.request.id, new, sequence.complete(finish, error))

    def _check(self, request: Request) -> None:
        ids, context = request.prompt_ids, self._context
        if request.id in self._sequences:
            raise UsageError(f"a request {request.id!r:.60} is running already")
        if not ids:
            raise UsageError("the prompt is empty", remedy="give at least one token")
        if type(request.max_tokens) is not int or request.max_tokens < 1:
            raise UsageError(f"max_tokens must be at least 1, not {request.max_tokens!r:.40}")
        if request.seed is not None and type(request.seed) is not int:
            raise UsageError(f"seed must be a whole number, not {request.seed!r:.40}")
        if not 0 <= min(ids) <= max(ids) < self._spec.vocab:
            raise UsageError(f"ids must lie between 0 and {self._spec.vocab - 1}")
        room = min(context, self._pool.limit * PAGE)
        if len(ids) >= room or min(len(ids) + request.max_tokens, context) > room:
            raise ContextError(prompt_tokens=len(ids), max_tokens=request.max_tokens, context=room)
