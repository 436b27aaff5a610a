"""An engine in a thread of its own, for many callers at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from puna.engine.engine import Engine
from puna.engine.request import Event, Request
from puna.errors import PunaError

Sink = Callable[[Event], None]


class EngineThread:
    """Steps an engine while there is work; callers of any thread submit and cancel.

    A sink is called in the engine's thread, once per event of its request, and must be quick. A
    request that the engine refuses raises in `submit`, in the caller's own thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inbox: queue.SimpleQueue[Callable[[], bool]] = queue.SimpleQueue()
        self._sinks: dict[str, Sink] = {}
        self._thread = threading.Thread(target=self._loop, name="puna-engine", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """Requests that have not ended."""
        return len(self._sinks)

    def submit(self, request: Request, sink: Sink) -> None:
        """Start a request whose events go to `sink`.

        Raises:
            ContextError, UsageError: as `Engine.submit`.
        """

        def take() -> None:
            self._engine.submit(request)
            self._sinks[request.id] = sink

        self._call(take)

    def cancel(self, request_id: str) -> None:
        """Forget a request; its sink hears nothing more. Returns at once."""

        def forget() -> bool:
            self._engine.cancel(request_id)
            self._sinks.pop(request_id, None)
            return True

        self._inbox.put(forget)

    def close(self) -> None:
        """Stop after the step that is running; requests that have not ended end with an error."""
        if self._thread.is_alive():
            self._inbox.put(lambda: False)
            self._thread.join()

    def _call(self, act: Callable[[], None]) -> None:
        """Run `act` between two steps and hand its error to the caller."""
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def run() -> bool:
            try:
                act()
            except PunaError as error:
                answer.put(error)
            else:
                answer.put(None)
            return True

        self._inbox.put(run)
        while True:
            try:
                error = answer.get(timeout=1.0)
            except queue.Empty:
                if not self._thread.is_alive():
                    raise PunaError("the engine has been closed") from None
            else:
                break
        if error is not None:
            raise error

    def _loop(self) -> None:
        going = True
        while going:
            try:
                going = self._inbox.get(block=self._engine.idle)()
                continue
            except queue.Empty:
                pass
            try:
                events = self._engine.step()
            except Exception as error:  # out of memory and the like: the server must live on
                events = self._engine.fail(f"{type(error).__name__}: {error}")
            self._tell(events)
        self._tell(self._engine.fail("the engine is shutting down"))

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            done = event.completion is not None
            sink = self._sinks.pop(event.id, None) if done else self._sinks.get(event.id)
            if sink is not None:
                sink(event)
