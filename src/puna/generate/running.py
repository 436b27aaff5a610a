"""Requests driven to their end by the thread that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from puna.engine import Completion, Engine, Request
from puna.errors import PunaError
from puna.generate.options import Generation
from puna.text import TextWatch

Asked = tuple[Request, TextWatch | None]


class Runs:
    """Steps an engine until what was asked has ended; streams may be open beside it.

    Args:
        engine: called when one is first needed.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._ended: dict[str, Completion] = {}  # by request, until its own caller takes it

    def whole(self, asked: Sequence[Asked]) -> list[Generation]:
        """Run requests side by side, and return what came of each, in order.

        Raises:
            ContextError, UsageError: as `Engine.submit`; then none was run.
            PunaError: one that failed.
        """
        ids = [request.id for request, _ in asked]
        try:
            for request, _ in asked:
                self._engine().submit(request)
            while not all(id in self._ended for id in ids):
                self._step()
            return [
                _generation(self._ended[id], watch)
                for id, (_, watch) in zip(ids, asked, strict=True)
            ]
        finally:
            self._forget(ids)

    def stream(self, request: Request, watch: TextWatch) -> Iterator[str]:
        """Run one request and yield its text as it becomes final. See `whole` for errors."""
        self._engine().submit(request)
        try:
            while request.id not in self._ended:
                self._step()
                if text := watch.take():
                    yield text
            _raise_if_failed(self._ended[request.id])
            if rest := watch.finish():
                yield rest
        finally:
            self._forget([request.id])

    def _step(self) -> None:
        """Advance every request; what ended waits for its caller, who may be a stream elsewhere."""
        for event in self._engine().step():
            if event.completion is not None:
                self._ended[event.id] = event.completion

    def _forget(self, ids: Sequence[str]) -> None:
        for id in ids:
            self._engine().cancel(id)
            self._ended.pop(id, None)


def _generation(completion: Completion, watch: TextWatch | None) -> Generation:
    _raise_if_failed(completion)
    return Generation(
        text=watch.finish() if watch else "",
        ids=completion.token_ids,
        finish="stop" if completion.finish == "stop" else "length",
        prompt_tokens=completion.usage.prompt_tokens,
        seconds=completion.timing.total,
        logprobs=completion.logprobs,
        top_logprobs=completion.top_logprobs,
    )


def _raise_if_failed(completion: Completion) -> None:
    if completion.finish == "error":
        raise PunaError(completion.error or "the request failed")
